"""How arms and learners learn, in words for a page."""

from __future__ import annotations

from collections.abc import Sequence

from synthjax.runtime.progress import readable
from synthjax.spec.fields import Classify, Learning, Tuning

_LOSSES = {
  "CE": "cross entropy",
  "SCE": "half cross entropy, half the zero-shot classifier's soft targets",
}


def zero_shot(templates: Sequence[str]) -> str:
  prompts = f"the prompt '{templates[0]}'" if len(templates) == 1 else f"{len(templates)} prompts a class"
  return f"CLIP's zero-shot classifier from {prompts}; nothing is learnt"


def tuning(fields: Tuning, synthetic: str, kept_by: str, real: str, tuned_percent: float) -> str:
  """`synthetic` and `real` say which images, "" = none: images of set LE, 16 real."""
  parts = []
  if synthetic:
    parts.append(synthetic + (f", kept by {kept_by}" if kept_by else ""))
  if real:
    parts.append(f"{real} ones" if synthetic else f"{real} images")
  joined = " and ".join(parts) + (f", {fields.order}" if len(parts) == 2 else "")
  how = "Tip-Adapter-F" if fields.adapter else _LOSSES[fields.loss]
  tower = "; batch norms follow the images" if fields.batch_norm != "frozen" else ""
  tower += f"; {readable(tuned_percent)} % of the parameters learn" if fields.learns else ""
  return f"{joined}; {how}{tower}"


def learning(fields: Learning, synthetic: str) -> str:
  """`synthetic`: the image set, as the config names it; "" = none."""
  real = f"real images of {fields.real}" if fields.real else ""
  parts = " and ".join(filter(None, [real, synthetic and f"synthetic ones of {synthetic}"]))
  norms = f", {fields.norm} norms" if real and synthetic and isinstance(fields, Classify) else ""
  init = f", initialised from {fields.init.partition(':')[2]}" if fields.init else ""
  return f"{fields.model} on {parts}{norms}{init}"
