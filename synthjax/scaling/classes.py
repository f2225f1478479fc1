"""The exponent of each class, how far it can be believed, and its group.

A class has few test images, so its error is (wrong + 1/2) / (images + 1), which is never 0, and its law is `a D^-k`, by Huber's
loss with one delta for all. Reliability is the correlation over classes of k from one half of the seeds with k from the other,
raised to the whole by Spearman and Brown's formula: what another experiment would find again.

easy     the law's error at the smallest size is at most EASY
poor     not easy, and ten times the images take off less than POOR of the error
scaling  the others
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from scipy import stats

from synthjax.runtime.errors import UserError
from synthjax.scaling import intervals
from synthjax.scaling.fitting import refine
from synthjax.scaling.intervals import Interval
from synthjax.scaling.laws import POWER

Array = np.ndarray
EASY = 0.1
POOR = 0.1
GROUPS = ("easy", "scaling", "poor")
_SPLITS = 20
_LEAST_CLASSES = 4  # for a correlation


@dataclasses.dataclass(frozen=True)
class Classes:
  """Of C classes, in the order given."""

  k_C: Array
  first_error_C: Array  # by the law, at the smallest size
  groups: list[str]
  reliability: float | None  # None with one seed


@dataclasses.dataclass(frozen=True)
class Correlation:
  """Spearman's, with an interval by the bootstrap over classes."""

  rho: float
  p: float
  interval: Interval


def per_class(
  sizes_M: Array, wrong_MxC: Array, images_C: Array, seeds_M: Array, delta: float = 0.1, seed: int = 0
) -> Classes:
  """How many of each class's test images were wrong, a row for each size and seed. Sizes are images a class, say."""
  x = np.asarray(sizes_M, np.float64)
  wrong, images, seeds = (
    np.asarray(wrong_MxC, np.float64),
    np.asarray(images_C, np.float64),
    np.asarray(seeds_M),
  )
  if (
    len(np.unique(x)) < len(POWER.parameters) + 2 or not (x > 0).all() or x.max() < 10 * x.min() * (1 - 1e-9)
  ):
    raise UserError(
      f"the exponents of classes need 4 sizes above 0 over a decade, and there are {len(np.unique(x))}"
    )
  if not ((wrong >= 0) & (wrong <= images)).all():
    raise UserError("a class has more wrong answers than test images, or less than 0")
  log_error = np.log((wrong + 0.5) / (images + 1)).T
  logs = np.log(x)[:, None]

  def k_of(rows: Array) -> tuple[Array, Array]:
    centre = logs[rows].mean(axis=0)
    centred, y = logs[rows] - centre, log_error[:, rows]
    slope = (y @ centred)[:, 0] / float(np.sum(centred**2))
    start = np.stack([y.mean(axis=1), -slope], axis=1)
    bounds = POWER.bounds(centred, y)
    thetas, _ = refine(POWER, centred, y, np.ones(y.shape), delta, start, bounds)
    return thetas[:, 1], POWER.log_value(thetas, np.log([[x.min()]]) - centre)[:, 0]

  k, first = k_of(np.arange(len(x)))
  error = np.exp(first)
  groups = [
    "easy" if e <= EASY else "poor" if 1 - 10.0**-slope < POOR else "scaling"
    for e, slope in zip(error, k, strict=True)
  ]
  return Classes(k, error, groups, _reliability(lambda rows: k_of(rows)[0], seeds, seed))


def _reliability(k_of: Callable[[Array], Array], seeds: Array, seed: int) -> float | None:
  each = np.unique(seeds)
  if len(each) < 2:
    return None
  rng, found = np.random.default_rng(seed), []
  for _ in range(_SPLITS):
    half = rng.permutation(each)[: len(each) // 2]
    a, b = k_of(np.flatnonzero(np.isin(seeds, half))), k_of(np.flatnonzero(~np.isin(seeds, half)))
    if np.ptp(a) > 0 and np.ptp(b) > 0:
      found.append(float(np.corrcoef(a, b)[0, 1]))
  if not found:
    return None
  r = max(float(np.mean(found)), 0.0)  # halves that contradict one another say nothing
  return 2 * r / (1 + r)


def correlation(
  k_C: Array, recognizability_C: Array, level: float = intervals.LEVEL, seed: int = 0
) -> Correlation:
  """Whether classes that the generator draws well are those that scale."""
  k, score = np.asarray(k_C, np.float64), np.asarray(recognizability_C, np.float64)
  if len(k) != len(score) or len(k) < _LEAST_CLASSES:
    raise UserError(
      f"a correlation over classes needs {_LEAST_CLASSES} of them with both numbers, and there are {len(k)} and {len(score)}"
    )
  if np.ptp(k) == 0 or np.ptp(score) == 0:
    raise UserError("a correlation needs numbers that differ between classes, and all are the same")
  rho, p = np.asarray(stats.spearmanr(k, score), np.float64)
  drawn = np.random.default_rng(seed).integers(len(k), size=(intervals.REPLICATES, len(k)))
  a, b = (stats.rankdata(v[drawn], axis=1) for v in (k, score))
  a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
  scale = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
  resampled = (a * b).sum(axis=1)[scale > 0] / scale[scale > 0]
  low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
  return Correlation(float(rho), float(p), Interval(float(low), float(high)))
