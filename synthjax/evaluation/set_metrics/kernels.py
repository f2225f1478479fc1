"""Squared maximum mean discrepancies of two sets of features: KID and CMMD.

Both estimate E k(x, x') + E k(y, y') - 2 E k(x, y) for independent x, x' of one set and y, y' of the other.

KID (Binkowski et al. 2018): k(x, y) = (x.y / d + 1)^3 in d dimensions, on features as they are. The unbiased estimate (no
    pair of an image with itself) on 100 subsets of min(1000, n) images of each set, drawn without replacement by the seed, and
    their mean and standard deviation over subsets. Unbiased, it is below 0 as often as above where two sets do not
    differ, and it is not 0 for a set and itself. Numbers may differ. It is usually given in Inception's features.
CMMD (Jayasumana et al. 2024): k(x, y) = exp(-gamma |x - y|^2), gamma = 1 / (2 x 10^2), on features of length 1, times 1000.
    The biased estimate over all pairs, those of an image with itself too, so that it is 0 for a set and itself and never below.
    Its own encoder is CLIP ViT-L/14 at 336 px. On unit vectors gamma |x - y|^2 is at most .02, where the exponential is all
    but linear: CMMD is nearly 10 |difference of the means|^2, and so hardly sees how diverse a set is.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from synthjax.evaluation.set_metrics import features as checks

Array = np.ndarray
SUBSETS, SUBSET = 100, 1000
_GAMMA, _SCALE = 1 / (2 * 10**2), 1000


@dataclasses.dataclass(frozen=True)
class Kid:
  """Over the subsets."""

  mean: float
  std: float


def kid(
  real_NxD: Array, synthetic_MxD: Array, seed: int = 0, subsets: int = SUBSETS, subset: int = SUBSET
) -> Kid:
  """Two images of each at least. Where a subset is all of both sets there is one, whose standard deviation is 0."""
  real, synthetic = checks.checked_pair(real_NxD, synthetic_MxD, least=2)
  size = min(subset, len(real), len(synthetic))
  draws = np.random.default_rng(seed)
  found: list[float] = []
  for _ in range(1 if size == len(real) == len(synthetic) else subsets):
    x, y = (s[draws.choice(len(s), size, replace=False)].astype(np.float64) for s in (real, synthetic))
    within = sum((k.sum() - np.trace(k)) / (size * (size - 1)) for k in (_cubic(x, x), _cubic(y, y)))
    found.append(float(within - 2 * _cubic(x, y).mean()))
  return Kid(float(np.mean(found)), float(np.std(found)))


def cmmd(real_NxD: Array, synthetic_MxD: Array) -> float:
  real, synthetic = checks.checked_pair(real_NxD, synthetic_MxD)
  x, y = checks.unit(real, checks.REAL), checks.unit(synthetic, checks.SYNTHETIC)
  return max(float(_SCALE * (_mean_within(x) + _mean_within(y) - 2 * _mean_between(x, y))), 0.0)


def _cubic(x_NxD: Array, y_MxD: Array) -> Array:
  kernel = x_NxD @ y_MxD.T
  kernel /= x_NxD.shape[1]
  kernel += 1
  return kernel**3


def _mean_between(x_NxD: Array, y_MxD: Array) -> float:
  return sum(_gaussian_sum(x_NxD[rows], y_MxD) for rows in checks.blocks(len(x_NxD), len(y_MxD))) / (
    len(x_NxD) * len(y_MxD)
  )


def _mean_within(x_NxD: Array) -> float:
  """Each pair of two blocks is looked at once and counts twice."""
  total = 0.0
  for rows in checks.blocks(n := len(x_NxD), n):
    total += _gaussian_sum(x_NxD[rows], x_NxD[rows]) + 2 * _gaussian_sum(x_NxD[rows], x_NxD[rows.stop :])
  return total / n**2


def _gaussian_sum(x_NxD: Array, y_MxD: Array) -> float:
  """Of unit vectors, |x - y|^2 = 2 - 2 x.y."""
  kernel = x_NxD @ y_MxD.T
  kernel -= 1
  kernel *= 2 * _GAMMA
  return float(np.exp(kernel, out=kernel).sum())
