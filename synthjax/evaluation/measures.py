"""The evaluators of a classifier: its answers on a test, and what frozen features are good for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from synthjax.data.pictures import Pictures
from synthjax.data.source import Source
from synthjax.evaluation import probes
from synthjax.evaluation.accuracy import Tally
from synthjax.runtime import residents

PROBES = ("knn", "linear_probe")
Predicts = Callable[..., np.ndarray]  # (pictures, features=False) -> logits or features
_held: dict[tuple[str, int], Pictures] = {}


def held(source: Source, size: int) -> Pictures:
  """A test's pictures, decoded once for all learners."""
  key = source.digest, size
  if key not in _held:
    _held[key] = Pictures(source, size)
  return _held[key]


def _let_go() -> bool:
  held_any = bool(_held)
  _held.clear()
  return held_any


residents.register(residents.PICTURES, _let_go)


def classified(predicts: Predicts, asked: Pictures, restricted: bool = False) -> Tally:
  """Restricted: a class that the test lacks is never the answer, as ImageNet-R and -A are scored."""
  logits = predicts(asked)
  if restricted:
    logits[:, np.setdiff1d(np.arange(logits.shape[1]), asked.labels)] = -np.inf
  return Tally.empty(logits.shape[1]).update(logits, asked.labels)


def probed(
  predicts: Predicts, probe: str, known: Pictures, asked: Pictures, classes: int, neighbours: int
) -> Tally:
  seen, new = predicts(known, features=True), predicts(asked, features=True)
  if probe == "knn":
    scores = probes.nearest(seen, known.labels, new, classes, neighbours)
  else:
    scores = probes.linear(seen, known.labels, new, classes)
  return Tally.empty(classes).update(scores, asked.labels)
