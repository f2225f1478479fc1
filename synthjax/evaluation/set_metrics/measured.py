"""The metrics of one image set by name, over all images and of each class where there are enough.

A metric of a set and real images takes as many of the one as of the other; so does each class.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from synthjax.evaluation.set_metrics import answers, diversity, frechet, kernels, neighbours
from synthjax.evaluation.set_metrics import features as checks
from synthjax.runtime.errors import UserError

Array = np.ndarray
_Numbers = dict[str, float]


@dataclasses.dataclass(frozen=True)
class Images:
  """Of one encoder."""

  features_NxD: Array
  labels_N: Array  # places in the classes

  def __len__(self) -> int:
    return len(self.labels_N)

  def drawn(self, size: int, seed: int) -> Images:
    """So many, each class by its share; all where there are no more."""
    if size >= len(self):
      return self
    places = checks.by_share(self.labels_N, size, seed)
    return Images(self.features_NxD[places], self.labels_N[places])


@dataclasses.dataclass(frozen=True)
class Measure:
  """A number of a set, over `n` of its images."""

  value: float
  n: int
  by_class: Mapping[str, float] = dataclasses.field(default_factory=dict)

  def to_json(self) -> dict[str, Any]:
    return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class Given:
  """What metrics are computed from. What is made by a network is made when it is asked for; a metric that lacks what it
  needs must not be asked for."""

  synthetic: Images
  class_ids: Sequence[str]
  seed: int = 0
  neighbours: int = neighbours.NEIGHBOURS
  real: Images | None = None
  answers: Callable[[], Array] | None = None  # places in the classes, of each synthetic image
  texts: Callable[[], Array] | None = None  # features [n, D] of the text of each
  lpips: Callable[[], diversity.Spread] | None = None


def measure(metric: str, given: Given) -> dict[str, Measure]:
  """One metric may be several numbers, each with a name of its own."""
  return _METRICS[metric](given)


def least(metric: str, k: int) -> int:
  """Images of a set that it needs."""
  return k + 1 if metric == "prdc" else 2 if metric in ("frechet", "kid") else 1


def least_of_class(metric: str) -> int:
  """Images of every class that it needs."""
  return 2 if metric in ("spread", "lpips") else 1 if metric == "recognizability" else 0


# --- of a set alone --------------------------------------------------------------------------------


def _recognizability(given: Given) -> dict[str, Measure]:
  assert given.answers
  found = answers.recognizability(given.synthetic.labels_N, given.answers(), given.class_ids)
  n = len(given.synthetic)
  return {
    "recognizability_top1": Measure(found.top1, n),
    "recognizability_macro_f1": Measure(found.macro_f1, n, found.f1_by_class),
  }


def _clip_score(given: Given) -> dict[str, Measure]:
  assert given.texts
  texts = given.texts()
  paired = {
    name: answers.clip_score(given.synthetic.features_NxD[own], texts[own])
    for name, own in _places(given.class_ids, given.synthetic).items()
    if len(own)
  }
  whole = answers.clip_score(given.synthetic.features_NxD, texts)
  return {"clip_score": Measure(whole, len(given.synthetic), paired)}


def _spread(given: Given) -> dict[str, Measure]:
  own = given.synthetic
  found = diversity.spread(own.features_NxD, own.labels_N, given.class_ids)
  return {"spread": Measure(found.mean, len(own), found.by_class)}


def _vendi(given: Given) -> dict[str, Measure]:
  own, features = given.synthetic, given.synthetic.features_NxD
  by_class = {c: diversity.vendi(features[p]) for c, p in _places(given.class_ids, own).items() if len(p)}
  return {"vendi": Measure(diversity.vendi(features), len(own), by_class)}


def _lpips(given: Given) -> dict[str, Measure]:
  assert given.lpips
  found = given.lpips()
  return {"lpips": Measure(found.mean, len(given.synthetic), found.by_class)}


# --- beside real images ----------------------------------------------------------------------------


def _frechet(given: Given) -> dict[str, Measure]:
  return _beside(given, "frechet", lambda x, y: {"frechet": frechet.between(x, y)})


def _kid(given: Given) -> dict[str, Measure]:
  def kid(real: Array, synthetic: Array) -> _Numbers:
    found = kernels.kid(real, synthetic, given.seed)
    return {"kid": found.mean, "kid_std": found.std}

  return _beside(given, "kid", kid)


def _cmmd(given: Given) -> dict[str, Measure]:
  return _beside(given, "cmmd", lambda x, y: {"cmmd": kernels.cmmd(x, y)})


def _prdc(given: Given) -> dict[str, Measure]:
  return _beside(given, "prdc", lambda x, y: dataclasses.asdict(neighbours.prdc(x, y, given.neighbours)))


def _beside(given: Given, metric: str, numbers: Callable[[Array, Array], _Numbers]) -> dict[str, Measure]:
  assert given.real
  n = min(len(given.real), len(given.synthetic))
  if n < (need := least(metric, given.neighbours)):
    raise UserError(
      f"{metric} needs {need} synthetic and {need} real images, and has {n}; add images, or leave it out"
    )
  real, synthetic = (images.drawn(n, given.seed) for images in (given.real, given.synthetic))
  whole = numbers(real.features_NxD, synthetic.features_NxD)
  by_class: dict[str, _Numbers] = {}
  of_real, of_synthetic = (_places(given.class_ids, images) for images in (real, synthetic))
  for name in given.class_ids:
    own = of_real[name], of_synthetic[name]
    size = min(map(len, own))
    if size >= need:
      x, y = (places[checks.subsample(len(places), size, given.seed)] for places in own)
      by_class[name] = numbers(real.features_NxD[x], synthetic.features_NxD[y])
  return {
    number: Measure(value, n, {c: found[number] for c, found in by_class.items()})
    for number, value in whole.items()
  }


def _places(class_ids: Sequence[str], images: Images) -> dict[str, Array]:
  """Of each class; empty where it has none."""
  return {name: np.flatnonzero(images.labels_N == k) for k, name in enumerate(class_ids)}


_METRICS: Mapping[str, Callable[[Given], dict[str, Measure]]] = {
  "recognizability": _recognizability,
  "clip_score": _clip_score,
  "spread": _spread,
  "vendi": _vendi,
  "lpips": _lpips,
  "frechet": _frechet,
  "kid": _kid,
  "cmmd": _cmmd,
  "prdc": _prdc,
}


def names(metrics: Iterable[str]) -> tuple[str, ...]:
  """The numbers that these metrics are."""
  several = {
    "recognizability": ("recognizability_top1", "recognizability_macro_f1"),
    "kid": ("kid", "kid_std"),
    "prdc": ("precision", "recall", "density", "coverage"),
  }
  return tuple(number for metric in metrics for number in several.get(metric, (metric,)))
