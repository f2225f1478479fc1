"""Numbers of the papers, to stand beside ours: top-1 in percent by encoder, data set and arm; exponents of laws.

The first are He et al.'s (2023): their generator, their draws of prompts, and the best epoch on the test set, while ours is
the last one. So a difference of a point is no news.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

_FILE = Path(__file__).parent / "published.json"
_LAWS = Path(__file__).parent / "published_laws.json"


@functools.cache
def _body() -> dict[str, Any]:
  return json.loads(_FILE.read_text())


def source() -> str:
  return _body()["source"]


def value(encoder: str, dataset: str, arm: str) -> float | None:
  """`arm` is "zero-shot", or what is learnt from and the loss: LE+CF+SCE."""
  return _body()["values"].get(encoder, {}).get(dataset, {}).get(arm)


@functools.cache
def _laws() -> dict[str, Any]:
  return json.loads(_LAWS.read_text())


def source_of_laws() -> str:
  return _laws()["source"]


def exponent(test: str, model: str, generator: str, prompts: str) -> float | None:
  """Of the validation loss against unique images. `test` is a reference, `prompts` a strategy; without a generator, of real images."""
  found = _laws()
  if model != found["model"] or (generator and found["generator"] not in generator):
    return None
  return found["exponents"].get(test, {}).get(prompts if generator else "real")
