"""Whether the hub can be reached, which only matters where something is still to be fetched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from etils import epath
from huggingface_hub import constants

from synthjax.doctor.finding import Finding
from synthjax.weights import hub

_SECONDS = 5.0
_FIELDS = ("generator", "weights", "writer")  # of a config, that may name a repository
_WRITERS = ("t5:", "lm:", "inception:", "dinov2:")


def of_hub(config: Mapping[str, Any] | None, root: epath.Path) -> Finding:
  wanted = sorted({r for r in _references(config or {}) if hub.to_fetch(r, root, {})})
  if hub.is_reachable(_SECONDS):
    return Finding("hub", f"{constants.ENDPOINT} answers")
  figure = f"{constants.ENDPOINT} is not reachable"
  if wanted:
    fix = f"fetch {', '.join(wanted)} where there is a network, and share HF_HOME"
    return Finding("hub", figure, fix, essential=True)
  return Finding("hub", f"{figure}; {'nothing of this config' if config else 'what it has'} can be fetched")


def _references(node: Mapping[str, Any]) -> Iterator[str]:
  for name, value in node.items():
    if isinstance(value, Mapping):
      yield from _references(value)
    elif name in _FIELDS and isinstance(value, str):
      yield next((value.removeprefix(w) for w in _WRITERS if value.startswith(w)), value)
