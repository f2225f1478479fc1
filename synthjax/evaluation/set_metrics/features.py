"""The features that a metric of a set takes: checked, cut into blocks of rows, and grouped by class.

A metric computes in float64 whatever the type of its features, and never holds a matrix of all pairs of images: rows are
taken in blocks of at most 128 MiB of pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np

from synthjax.runtime.errors import UserError

Array = np.ndarray
T = TypeVar("T")
BLOCK = 1 << 24  # numbers of a block
REAL, SYNTHETIC = "real images", "synthetic images"  # in errors


def checked(features_NxD: Array, of: str, least: int = 1) -> Array:
  """The features as they are, if they are at least `least` rows of finite numbers; `of` says of what, in errors."""
  features = np.asarray(features_NxD)
  if features.ndim != 2 or features.dtype.kind not in "fiu":
    raise UserError(
      f"the features of {of} are {features.dtype}{list(features.shape)}, not numbers [n, d]; take the vector that an encoder gives of each image"
    )
  if len(features) < least:
    raise UserError(
      f"{len(features)} {of} are too few for this metric, which needs {least}; add images, or leave it out"
    )
  lost = sum(
    int((~np.isfinite(features[rows])).any(axis=1).sum()) for rows in blocks(len(features), features.shape[1])
  )
  if lost:
    raise UserError(
      f"{lost} of {len(features)} features of {of} are not finite; encode these images again, or check the encoder's weights"
    )
  return features


def checked_pair(
  real_NxD: Array, synthetic_MxD: Array, least: int = 1, equal_numbers: bool = False
) -> tuple[Array, Array]:
  """Features of real and of synthetic images, by one encoder."""
  real, synthetic = checked(real_NxD, REAL, least), checked(synthetic_MxD, SYNTHETIC, least)
  if real.shape[1] != synthetic.shape[1]:
    raise UserError(
      f"real features have {real.shape[1]} dimensions and synthetic ones {synthetic.shape[1]}; encode both with the same encoder"
    )
  if equal_numbers and len(real) != len(synthetic):
    raise UserError(
      f"{len(real)} real images are compared with {len(synthetic)} synthetic ones, and this metric depends on their numbers; take {min(len(real), len(synthetic))} of each"
    )
  return real, synthetic


def unit(features_NxD: Array, of: str) -> Array:
  """Rows of length 1, in float64."""
  features = features_NxD.astype(np.float64)
  lengths = np.sqrt(squared_lengths(features))[:, None]
  if zeros := int((lengths == 0).sum()):
    raise UserError(
      f"{zeros} of {len(features)} features of {of} are zero and have no direction; encode these images again, or check the encoder's weights"
    )
  features /= lengths
  return features


def squared_lengths(x_NxD: Array) -> Array:
  return np.einsum("nd,nd->n", x_NxD, x_NxD)


def blocks(n: int, columns: int) -> Iterator[slice]:
  """Of n rows, as many at a time as keep a block of so many columns small."""
  size = max(BLOCK // max(columns, 1), 1)
  return (slice(start, min(start + size, n)) for start in range(0, n, size))


def subsample(n: int, size: int, seed: int) -> Array:
  """Places of `size` of n images, ascending: the same for the same three numbers."""
  if not 1 <= size <= n:
    raise UserError(f"a subsample of {size} of {n} images cannot be; ask for 1 to {n}")
  return np.sort(np.random.default_rng(seed).choice(n, size, replace=False))


def by_share(labels_N: Array, size: int, seed: int) -> Array:
  """Places of `size` of the images, ascending, each class by its share of them: the same for the same labels and seed."""
  labels = np.asarray(labels_N)
  if not 1 <= size <= len(labels):
    raise UserError(f"a subsample of {size} of {len(labels)} images cannot be; ask for 1 to {len(labels)}")
  draws, at = np.random.default_rng(seed), np.empty(len(labels))
  for label in np.unique(labels):
    own = np.flatnonzero(labels == label)
    at[own] = (draws.permutation(len(own)) + 0.5) / len(own)
  return np.sort(np.argsort(at, kind="stable")[:size])


def by_class(metric: Callable[..., T], class_ids: Sequence[str], *sets: tuple[Array, Array]) -> dict[str, T]:
  """The metric of each class's images alone. A set is (features [n, d], labels [n]); a label is a place in `class_ids`.

  A class that a set has no image of is an error, and so is whatever the metric refuses: the line names the class.
  """
  found: dict[str, T] = {}
  places = [_places_of_class(np.asarray(labels), len(class_ids)) for _, labels in sets]
  for label, name in enumerate(class_ids):
    try:
      if any(not len(by_label[label]) for by_label in places):
        raise UserError("a set has no image of it; add images, or leave the class out")
      found[name] = metric(*(features[own[label]] for (features, _), own in zip(sets, places, strict=True)))
    except UserError as e:
      raise UserError(f"class {name}: {e}") from None
  return found


def _places_of_class(labels_N: Array, classes: int) -> list[Array]:
  check_labels(labels_N, classes)
  order = np.argsort(labels_N, kind="stable")
  return np.split(order, np.searchsorted(labels_N[order], np.arange(1, classes)))


def check_labels(labels_N: Array, classes: int) -> None:
  if outside := int(((labels_N < 0) | (labels_N >= classes)).sum()):
    raise UserError(
      f"{outside} of {len(labels_N)} labels are none of the {classes} classes; read the images with these classes"
    )
