"""Precision, recall, density and coverage, by nearest neighbours (Kynkaanniemi et al. 2019, Naeem et al. 2020).

The ball of an image reaches to the k-th nearest other image of its own set (k = 5), by Euclidean distance of features, and
an image is in it if its distance is smaller (strictly) than that radius.

precision  share of synthetic images that are in the ball of any real image: how many look real
recall     share of real images that are in the ball of any synthetic image: how much of what is real is reached
density    how many balls of real images a synthetic image is in, on average, over k: may exceed 1; unlike precision it is
           not made large by one stray real image, whose ball is wide
coverage   share of real images in whose ball there is any synthetic image: for recall's question, by balls of real images

All depend on the numbers of images, which must be equal. Of two equal sets precision, recall and coverage are 1, unless an
image has k copies: then its ball is empty. Squared distances are rounded to about 2^-40 of the largest,
so that equal features are at distance 0 and equal distances tie, however the work was cut into blocks.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from synthjax.evaluation.set_metrics import features as checks

Array = np.ndarray
NEIGHBOURS = 5
_BITS = 40


@dataclasses.dataclass(frozen=True)
class Prdc:
  precision: float
  recall: float
  density: float
  coverage: float


def prdc(real_NxD: Array, synthetic_NxD: Array, k: int = NEIGHBOURS) -> Prdc:
  """Of equal numbers of real and synthetic images, k + 1 at least."""
  real, synthetic = _placed(*checks.checked_pair(real_NxD, synthetic_NxD, least=k + 1, equal_numbers=True))
  radius_of_real, radius_of_synthetic = _radii(real, k), _radii(synthetic, k)
  balls_with, is_reached, is_covered = np.zeros(len(synthetic), np.int64), [], []
  for rows in checks.blocks(len(real), len(synthetic)):  # real images in rows, synthetic ones in columns
    apart = _squared_distances(real, synthetic, rows)
    is_in_real_ball = apart < radius_of_real[rows, None]
    balls_with += is_in_real_ball.sum(axis=0)
    is_covered.append(is_in_real_ball.any(axis=1))
    is_reached.append((apart < radius_of_synthetic).any(axis=1))
  return Prdc(
    precision=float((balls_with > 0).mean()),
    recall=float(np.concatenate(is_reached).mean()),
    density=float(balls_with.mean() / k),
    coverage=float(np.concatenate(is_covered).mean()),
  )


@dataclasses.dataclass(frozen=True)
class _Placed:
  """Features around the mean of the real ones, in a unit of length whose square is what squared distances are rounded to."""

  features_NxD: Array
  squared_N: Array

  def __len__(self) -> int:
    return len(self.squared_N)


def _placed(*sets: Array) -> list[_Placed]:
  centre = sets[0].mean(axis=0, dtype=np.float64)
  centred = [x - centre for x in sets]
  _, exponent = np.frexp(np.sqrt(max(checks.squared_lengths(x).max() for x in centred)))
  for x in centred:
    np.ldexp(x, _BITS // 2 - exponent, out=x)  # exact
  return [_Placed(x, checks.squared_lengths(x)) for x in centred]


def _squared_distances(x: _Placed, y: _Placed, rows: slice) -> Array:
  """Of these rows of x to all of y."""
  squares = x.features_NxD[rows] @ y.features_NxD.T
  squares *= -2
  squares += x.squared_N[rows, None]
  squares += y.squared_N
  return np.rint(squares, out=squares)


def _radii(x: _Placed, k: int) -> Array:
  """Squared. The nearest of all is the image itself, at distance 0."""
  found: list[Array] = []
  for rows in checks.blocks(len(x), len(x)):
    squares = _squared_distances(x, x, rows)
    squares.partition(k, axis=1)
    found.append(squares[:, k].copy())
  return np.concatenate(found)
