"""Whether the hub can be reached, which only matters where something is still to be fetched."""

from __future__ import annotations

from etils import epath
from huggingface_hub import constants

from synthjax.doctor.finding import Finding
from synthjax.runtime import absence
from synthjax.spec.config import Config
from synthjax.study.graph import design
from synthjax.weights import hub

_SECONDS = 5.0


def of_hub(config: Config | None, root: epath.Path) -> Finding:
  """`config`: of a study that shall run here; its products say what they have to fetch, as they do for --plan."""
  wanted: set[str] = set()
  if config is not None:
    with absence.passed_over():
      study = design(config, root)
      wanted = {fetch.reference for _, product in study.titled for fetch in product.to_fetch()}
  if hub.is_reachable(_SECONDS):
    return Finding("hub", f"{constants.ENDPOINT} answers")
  figure = f"{constants.ENDPOINT} is not reachable"
  if wanted:
    fix = f"fetch {', '.join(sorted(wanted))} where there is a network, and share HF_HOME"
    return Finding("hub", figure, fix, essential=True)
  return Finding("hub", f"{figure}; {'nothing of this config' if config else 'what it has'} can be fetched")
