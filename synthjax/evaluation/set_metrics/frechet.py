"""Frechet distance of two sets of features (Heusel et al. 2017): FID in Inception's, FD-DINOv2 in DINOv2's.

    |m - n|^2 + tr(A) + tr(B) - 2 tr((A B)^(1/2))

m and A are the mean and the covariance (divided by n - 1) of one set, n and B of the other: the squared 2-Wasserstein
distance of the Gaussians that have them. It is biased upwards, the more the fewer the images, so only distances of equal
numbers of images compare; `between` refuses others, and `distance` takes any moments, such as those that someone published.

Up to d images in d dimensions a covariance is singular (in 2,048 dimensions, below 2,049 images). The distance stays
defined: the trace of the root is the sum of the square roots of the eigenvalues of A^(1/2) B A^(1/2), which is symmetric, and
eigenvalues that rounding alone makes count as 0. Nothing is added to the diagonals. Where both sets have at most d images,
the same trace is the sum of the singular values of X Y^T, of the centred features over the roots of n - 1: n x m rather than
d x d numbers, which is what makes distances of single classes cheap.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from synthjax.evaluation.set_metrics import features as checks
from synthjax.runtime.errors import UserError

Array = np.ndarray


@dataclasses.dataclass(frozen=True)
class Moments:
  """Of n features: their mean and their covariance, divided by n - 1."""

  mean_D: Array
  covariance_DxD: Array
  n: int


def moments(features_NxD: Array, of: str = "images") -> Moments:
  """In one pass for the mean and one for the covariance, which therefore does not suffer where the mean is large."""
  features = checks.checked(features_NxD, of, least=2)
  mean, (n, d) = features.mean(axis=0, dtype=np.float64), features.shape
  scatter = np.zeros((d, d))
  for rows in checks.blocks(n, d):
    centred = features[rows] - mean
    scatter += centred.T @ centred
  return Moments(mean, scatter / (n - 1), n)


def distance(one: Moments, other: Moments) -> float:
  if one.mean_D.shape != other.mean_D.shape:
    raise UserError(
      f"moments of {len(one.mean_D)} and of {len(other.mean_D)} dimensions; encode both sets with the same encoder"
    )
  root = _root(one.covariance_DxD)
  product = root @ other.covariance_DxD @ root
  trace_of_root = np.sqrt(_eigenvalues(np.linalg.eigvalsh((product + product.T) / 2))).sum()
  traces = np.trace(one.covariance_DxD) + np.trace(other.covariance_DxD)
  return _together(one.mean_D - other.mean_D, traces, trace_of_root)


def between(real_NxD: Array, synthetic_NxD: Array) -> float:
  """Of equal numbers of real and synthetic images, two at least."""
  real, synthetic = checks.checked_pair(real_NxD, synthetic_NxD, least=2, equal_numbers=True)
  n, d = real.shape
  if n > d:
    return distance(moments(real), moments(synthetic))
  means = [x.mean(axis=0, dtype=np.float64) for x in (real, synthetic)]
  x, y = ((x - mean) / np.sqrt(n - 1) for x, mean in zip((real, synthetic), means, strict=True))
  trace_of_root = np.linalg.svd(x @ y.T, compute_uv=False).sum()
  return _together(means[0] - means[1], (x**2).sum() + (y**2).sum(), trace_of_root)


def _together(difference_D: Array, traces: float, trace_of_root: float) -> float:
  return max(
    float(difference_D @ difference_D + traces - 2 * trace_of_root), 0.0
  )  # below 0 by rounding alone


def _root(symmetric_DxD: Array) -> Array:
  values, vectors = np.linalg.eigh(symmetric_DxD)
  return (vectors * np.sqrt(_eigenvalues(values))) @ vectors.T


def _eigenvalues(computed_D: Array) -> Array:
  """Of a matrix that has none below 0: what is no larger than rounding's share is 0, for its root would be large."""
  noise = computed_D.max(initial=0.0) * len(computed_D) * np.finfo(np.float64).eps
  return np.where(computed_D > noise, computed_D, 0.0)
