"""Writes synthjax/config.pyi, by which an editor completes the constructors of a config: `python -m synthjax.spec.stubs`."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path

from synthjax.spec import benchmark_fields, config, fields, group, metric_fields, tasks

FILE = Path(__file__).parents[1] / "config.pyi"
# Constructor -> the group whose fields it takes, which of them it takes by place or sets itself, and how the first is written.
CONSTRUCTORS: dict[str, tuple[type[group.Group], str, str]] = {
  "prompt_list": (fields.Prompts, "strategy", "strategy: str"),
  "image_set": (fields.Sampling, "prompts", "prompts: str"),
  "imported_set": (fields.Import, "source", "source: str"),
  "real_images": (fields.Real, "source", "source: str"),
  "network": (fields.Network, "task", "task: str"),
  "encoder": (fields.Encoder, "weights", 'weights: str = "embedded:clip"'),
  "image_filter": (fields.Filter, "rule", "rule: str"),
  "set_metrics": (metric_fields.SetMetrics, "encoder", 'encoder: str = "clip"'),
  "photograph_copies": (fields.Filter, "rule", ""),
  "arm": (fields.Tuning, "images", 'images: str = ""'),
  "learner": (fields.Learning, "images", 'images: str = ""'),
  "sampling_case": (benchmark_fields.SamplingCase, "generator", "generator: str"),
  "encoding_case": (benchmark_fields.EncodingCase, "weights", "weights: str"),
  "training_case": (benchmark_fields.TrainingCase, "model", "model: str"),
}
_HEAD = """\
# Written by `python -m synthjax.spec.stubs` from synthjax/spec/fields.py; do not edit.
from collections.abc import Iterable, Iterator
from typing import Any, Literal

from ml_collections import ConfigDict

from synthjax.runtime.errors import UserError as UserError

BY_SHOTS: float

def study_config(labels: str = "digits") -> Any: ...  # a ConfigDict, whose groups are attributes
def matrix(studies: dict[str, Any]) -> Any: ...
def sweep(**axes: Iterable[Any]) -> Iterator[dict[str, Any]]: ...
def grid(
  images: str = "",
  *,
  real: str = "",
  learner: str = "",
  combine: Literal["product", "around"] = "product",
  **given: Any,
) -> ConfigDict: ...
def log(low: int, high: int, count: int) -> tuple[int, ...]: ...
"""


def text() -> str:
  return _HEAD + "\n".join("".join(_constructor(name)) for name in CONSTRUCTORS)


def _constructor(name: str) -> Iterator[str]:
  of, own, first = CONSTRUCTORS[name]
  docstring = textwrap.dedent(getattr(config, name).__doc__ or "").strip()
  yield f"def {name}(\n"
  if first:
    yield f"  {first},\n"
  yield "  *,\n"
  yield from _arguments(field for field in group.fields(of).values() if field.name != own)
  for task, group_of_task in tasks.SHIPPED.items() if of is fields.Learning else ():
    yield f"  # of task {task}\n"
    yield from _arguments(group.own_fields(group_of_task).values())
  yield f') -> ConfigDict:\n  """{" ".join(docstring.split())}"""\n'


def _arguments(known: Iterable[group.Field]) -> Iterator[str]:
  for field in known:
    yield f"  {field.name}: {_type(field)} = ...,\n"


def _type(field: group.Field) -> str:
  if field.choices:
    return f"Literal[{', '.join(map(_quoted, field.choices))}]"
  return "tuple[Any, ...]" if field.type is tuple else field.type.__name__


def _quoted(choice: str) -> str:
  return f'"{choice}"'


if __name__ == "__main__":
  FILE.write_text(text())
