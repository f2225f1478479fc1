"""How different the images of a set are among themselves: without real images beside them.

vendi       Vendi score (Friedman and Dieng 2023): the exponential of the entropy, -sum v log v with 0 log 0 = 0, of the
            eigenvalues v of K / n, where K_ij is the cosine of the features of images i and j. From 1 (all alike) to
            min(n, d): how many images that have nothing in common would be as diverse. It grows with n, so compare sets
            of one number of images. Above d images the same eigenvalues are those of the d x d matrix U^T U / n of the
            unit features, and the n x n matrix is never made.
spread      Diversity within a class as Fan et al. (2024) describe it, the standard deviation of features inside a class,
            averaged. Here: over a class's images, the standard deviation (divided by n - 1) of each of the d dimensions, the
            mean over dimensions, then the mean over classes, each class alike; features as the encoder gives them. The
            paper's full text was not read by us: whether it divides by n, normalises features or takes the root of the
            summed variance is unverified, so compare sets here and not with its figures.
pairs       For LPIPS diversity, the mean distance of a fixed set of pairs of a class: which pairs those are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from synthjax.evaluation.set_metrics import features as checks
from synthjax.runtime.errors import UserError

Array = np.ndarray


@dataclasses.dataclass(frozen=True)
class Spread:
  mean: float
  by_class: Mapping[str, float]


def vendi(features_NxD: Array) -> float:
  unit_NxD = checks.unit(checks.checked(features_NxD, checks.SYNTHETIC), checks.SYNTHETIC)
  n, d = unit_NxD.shape
  small = unit_NxD @ unit_NxD.T if n <= d else unit_NxD.T @ unit_NxD
  values = np.linalg.eigvalsh(small / n)
  positive = values[values > 0]
  return float(np.exp(-(positive * np.log(positive)).sum()))


def spread(features_NxD: Array, labels_N: Array, class_ids: Sequence[str]) -> Spread:
  """Two images of each class at least."""
  checks.checked(features_NxD, checks.SYNTHETIC)
  found = checks.by_class(_spread_of_class, class_ids, (features_NxD, labels_N))
  return Spread(float(np.mean(list(found.values()))), found)


def _spread_of_class(features_NxD: Array) -> float:
  features = checks.checked(features_NxD, checks.SYNTHETIC, least=2)
  return float(features.std(axis=0, ddof=1, dtype=np.float64).mean())


def pairs(labels_N: Array, class_ids: Sequence[str], per_class: int, seed: int) -> dict[str, Array]:
  """Of each class `per_class` different pairs of its images, places [p, 2], the first the smaller; all where there are fewer.

  They depend on the number of the class's images and on the seed, not on other classes. Two images of each at least.
  """

  def drawn(places_n: Array) -> Array:
    n = len(places_n)
    if n < 2:
      raise UserError("a pair needs two images of it; add images, or leave the class out")
    every = n * (n - 1) // 2
    chosen = np.sort(np.random.default_rng(seed).choice(every, min(per_class, every), replace=False))
    return places_n[_pair_of(chosen)]

  labels = np.asarray(labels_N)
  return checks.by_class(drawn, class_ids, (np.arange(len(labels)), labels))


def _pair_of(number_P: Array) -> Array:
  """Pairs in the order (0, 1), (0, 2), (1, 2), (0, 3), ...: the number of (i, j) is j (j - 1) / 2 + i."""
  second = ((1 + np.sqrt(1 + 8 * number_P)) // 2).astype(np.int64)
  first = number_P - second * (second - 1) // 2
  return np.stack([first, second], axis=1)
