"""Repeats and leakage: how near each image comes to an earlier one of its set, or to any of other images.

Features of an encoder are compared by cosine. Thumbnails [N, S, S] are compared by the correlation of their gradients,
at whichever shift of up to two pixels they fit best: of the small world's real digits, copies that were shifted,
enlarged and encoded again reach 0.991, and no two different ones exceed 0.988, which grey values alone do not tell
apart (copies from 0.996, others up to 0.996).

The cost is N x M x D products, for thumbnails 25 x N x M x 1,568: on CPUs 10,000 x 10,000 of them take minutes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

Array = np.ndarray
_SHIFT = 2  # pixels of a thumbnail, each way
_ROWS = 2048  # at once
_FLAT = 1e-3  # the length of a gradient that is none


def nearest(features_N: Array, others_M: Array) -> tuple[Array, Array]:
  """(similarity, which of the others) of the most similar other image."""
  return _search(features_N, others_M, earlier=False)


def nearest_earlier(features_N: Array) -> tuple[Array, Array]:
  """Likewise among the images that come before each; -1 and similarity -1 for the first.

  So growth changes nothing about the images that were there, and of equal ones the first stays.
  """
  return _search(features_N, features_N, earlier=True)


def _search(features_N: Array, others_M: Array, earlier: bool) -> tuple[Array, Array]:
  best, which = np.full(len(features_N), -1.0), np.full(len(features_N), -1)
  for start in range(0, len(features_N), _ROWS):
    rows = slice(start, start + _ROWS)
    own = next(_views(features_N[rows], shifted=False))
    reach = min(start + _ROWS, len(others_M)) if earlier else len(others_M)
    for begin in range(0, reach, _ROWS):
      block = slice(begin, min(begin + _ROWS, reach))
      found = np.max([own @ view.T for view in _views(others_M[block], shifted=True)], axis=0)
      if earlier:
        places = np.arange(begin, block.stop)[None] >= np.arange(start, start + len(own))[:, None]
        found[places] = -1.0
      nearer = found.max(axis=1) > best[rows]
      which[rows][nearer] = begin + found.argmax(axis=1)[nearer]
      best[rows][nearer] = found.max(axis=1)[nearer]
  return best, which


def _views(features: Array, shifted: bool) -> Iterator[Array]:
  """Unit vectors [n, D], once for each shift that is tried."""
  if features.ndim == 2:
    yield _unit(features.astype(np.float32))
    return
  shifts = range(-_SHIFT, _SHIFT + 1) if shifted else (0,)
  side = features.shape[1] - 2 * _SHIFT
  for dy, dx in itertools.product(shifts, shifts):
    window = features[:, _SHIFT + dy : _SHIFT + dy + side, _SHIFT + dx : _SHIFT + dx + side]
    yield _unit(_gradient(window.astype(np.float32)))


def _gradient(grey_NxSxS: Array) -> Array:
  """Central differences both ways, [N, 2 S S]; light and contrast are gone from it."""
  padded = np.pad(grey_NxSxS, ((0, 0), (1, 1), (1, 1)), mode="edge")
  across = padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]
  down = padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]
  return np.concatenate([across, down], axis=1).reshape(len(grey_NxSxS), -1)


def _unit(rows_NxD: Array) -> Array:
  """A picture of one shade has no direction: it is like nothing, and its copies are found by their bytes."""
  return rows_NxD / np.maximum(np.linalg.norm(rows_NxD, axis=1, keepdims=True), _FLAT)
