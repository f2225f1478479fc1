"""RF, real filtering (He et al. 2023, few-shot): a synthetic image goes when the real image nearest to it is of another class.

The paper names no distance and no threshold. The margin is how much nearer its own class must be: 0 = as near suffices,
so a tie stays; more than that is stricter, less is laxer.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from synthjax.spec.fields import COSINE

Array = np.ndarray
_ROWS = 4096  # at once


@dataclasses.dataclass(frozen=True)
class Nearest:
  """Of each synthetic image: the nearest real image of its own class, and of any other."""

  own: Array  # nearness: a cosine, or a distance's negative
  other: Array
  which_own: Array  # places among the real images; -1 = there is none
  which_other: Array

  @property
  def margin(self) -> Array:
    """Its score: by how much its own class is nearer."""
    return self.own - self.other


def nearest(features_N: Array, labels_N: Array, real_M: Array, labels_M: Array, metric: str) -> Nearest:
  n = len(features_N)
  own, other = np.full(n, -np.inf), np.full(n, -np.inf)
  which_own, which_other = np.full(n, -1), np.full(n, -1)
  reals = _ready(real_M, metric)
  for start in range(0, n, _ROWS):
    rows = slice(start, start + _ROWS)
    near = _nearness(_ready(features_N[rows], metric), reals, metric)
    is_own = labels_N[rows, None] == labels_M[None]
    for mask, best, which in ((is_own, own, which_own), (~is_own, other, which_other)):
      masked = np.where(mask, near, -np.inf)
      best[rows] = masked.max(axis=1, initial=-np.inf)
      which[rows] = np.where(mask.any(axis=1), masked.argmax(axis=1), -1)
  return Nearest(own, other, which_own, which_other)


def passing(margin: float) -> float:
  """What a score must exceed to be as large as the margin: a tie stays."""
  return float(np.nextafter(margin, -np.inf))


def _ready(features: Array, metric: str) -> Array:
  features = features.astype(np.float64)
  return features / np.linalg.norm(features, axis=1, keepdims=True) if metric == COSINE else features


def _nearness(one: Array, others: Array, metric: str) -> Array:
  if metric == COSINE:
    return np.round(one @ others.T, 12)  # equal features are equally near, however the product is blocked
  squares = (one**2).sum(1)[:, None] - 2 * one @ others.T + (others**2).sum(1)
  return -np.round(np.sqrt(np.maximum(squares, 0)), 9)
