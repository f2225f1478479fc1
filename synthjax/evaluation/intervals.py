"""What another choice of test images would change: 95 % intervals of an accuracy, and paired tests of two classifiers.

The images are the sample, the seeds are fixed: the mean over seeds of an accuracy is the chance that one of these very
networks, picked at random, is right on a new image. How much the networks differ among themselves is another question,
which the standard deviation over seeds answers.

wilson  Wilson's score interval. An image's mean over seeds lies between 0 and 1, and of all such variables with mean p
        the one that is either 0 or 1 has the largest variance, p (1 - p). So for several seeds it is too wide, if anything.
paired  d_i is the difference of the two means over seeds on image i; two classifiers share most images, so that their
        difference is known far better than either accuracy. Its interval is mean +- z standard errors of d with two images
        added, one won and one lost: for one seed Bonett and Price's (2012), which keeps its 95 % where few images differ.
        Its p-value is that of flipping the sign of each d_i, over all flips: for one seed that is McNemar's exact test, the
        sign test on the images on which the two differ. The sum's distribution is exact, not simulated, so a page
        drawn twice says the same. It needs no symmetry of d where n is large: the spread of the flipped sums is then
        that of the mean under the hypothesis that it is 0.
holm    The p-values of several comparisons, so that the chance of one false alarm among all of them stays at the level.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

Array = np.ndarray
_Z = 1.959963984540054  # of 95 %, two-sided
_LEAST = 1e-9  # the sums' rounding: a smaller p-value is given as this


@dataclasses.dataclass(frozen=True)
class Paired:
  """Of the first classifier against the second, on the same images; shares, not percent."""

  mean: float
  low: float
  high: float
  p: float


def wilson(share: float, n: int) -> tuple[float, float]:
  """Of a share of n images that is right."""
  centre, shrink = share + _Z**2 / (2 * n), 1 + _Z**2 / n
  half = _Z * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
  return max((centre - half) / shrink, 0.0), min((centre + half) / shrink, 1.0)


def paired(first_SxN: Array, second_TxN: Array) -> Paired:
  """Right or wrong, by seed and image; seeds may differ in number, images may not."""
  first, second = np.asarray(first_SxN, np.int64), np.asarray(second_TxN, np.int64)
  d_N = first.sum(axis=0) * len(second) - second.sum(axis=0) * len(first)  # whole numbers
  unit = len(first) * len(second)
  widened = np.append(d_N, [unit, -unit]) / unit
  centre, error = widened.mean(), widened.std() / math.sqrt(len(widened))
  low, high = max(centre - _Z * error, -1.0), min(centre + _Z * error, 1.0)
  return Paired(float(d_N.mean() / unit), float(low), float(high), _sign_flips(d_N))


def holm(p_values: Sequence[float]) -> list[float]:
  """Holm's (1979) correction, in the order given."""
  adjusted, largest = [0.0] * len(p_values), 0.0
  for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
    largest = max(largest, min((len(p_values) - rank) * p_values[i], 1.0))
    adjusted[i] = largest
  return adjusted


def _sign_flips(d_N: Array) -> float:
  """The share of all 2^N choices of signs whose sum is as far from 0, from the sum's characteristic function."""
  sizes = np.abs(d_N[d_N != 0])
  if not len(sizes):
    return 1.0
  sizes //= np.gcd.reduce(sizes)
  observed, reach = abs(int(np.sign(d_N[d_N != 0]) @ sizes)), int(sizes.sum())
  length = 1 << (2 * reach).bit_length()  # sums go from -reach to reach, modulo the length
  angles = 2 * np.pi / length * np.arange(length // 2 + 1)
  transform = np.ones(len(angles))
  for size, count in zip(*np.unique(sizes, return_counts=True), strict=True):
    transform *= np.cos(size * angles) ** count
  chances = np.fft.irfft(transform, length)
  return float(min(max(chances[observed : length - observed + 1].sum(), _LEAST), 1.0))
