"""Repeats and leakage: how near each image comes to an earlier one of its set, or to any of other images.

Features of an encoder are compared by cosine. Thumbnails [N, S, S] are compared by the correlation of their gradients,
at whichever shift of up to two pixels they fit best: of the small world's real digits, copies that were shifted,
enlarged and encoded again reach 0.991, and no two different ones exceed 0.988, which grey values alone do not tell
apart (copies from 0.996, others up to 0.996).

Of photographs that finds, at 0.95, copies that were encoded again, resized, recoloured or moved by a pixel of the
thumbnail, and hardly any that were cropped, framed or rotated; at 0.80 also most of those that were by little. Mirror
images are compared on request. tests/filters/test_photographs.py measures all of this.

The cost is N x M x D products, for thumbnails 25 x N x M x 1,568, twice that with mirror images: 10,000 x 10,000
of them take about 100 seconds of a CPU's core, or 200.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

Array = np.ndarray
SIMILAR = 0.95  # where no threshold is given
_SHIFT = 2  # pixels of a thumbnail, each way
_ROWS = 2048  # at once
_FLAT = 1e-3  # the length of a gradient that is none
_MIDDLE = 0.85  # between the two thresholds that were measured


def nearest(features_N: Array, others_M: Array, mirrored: bool = False) -> tuple[Array, Array]:
  """(similarity, which of the others) of the most similar other image, or of the most similar mirror image of one."""
  return _search(features_N, _mirror(others_M) if mirrored else others_M, earlier=False)


def nearest_earlier(features_N: Array, mirrored: bool = False) -> tuple[Array, Array]:
  """Likewise among the images that come before each; -1 and similarity -1 for the first.

  So growth changes nothing about the images that were there, and of equal ones the first stays.
  """
  return _search(features_N, _mirror(features_N) if mirrored else features_N, earlier=True)


def is_thumbnails(features: Array) -> bool:
  """Whether they are pictures, of which a mirror image can be made."""
  return features.ndim == 3


def rescaled(similarity_N: Array, threshold: float, onto: float) -> Array:
  """Similarities by one encoder on the scale of another: its `threshold` comes to lie `onto` the other's, 1 and -1 stay.

  So whatever either of them finds lies above one threshold, and nothing else does.
  """
  above = onto + (similarity_N - threshold) * (1 - onto) / (1 - threshold)
  below = onto + (similarity_N - threshold) * (1 + onto) / (1 + threshold)
  found = similarity_N >= threshold
  return np.where(found, np.maximum(above, onto), np.minimum(below, np.nextafter(onto, -1)))


def missed(threshold: float, mirrored: bool) -> str:
  """What a search by thumbnails does not find of photographs, for whoever reads its result."""
  if threshold > _MIDDLE:
    moved = "most copies of photographs that were cropped, framed, rotated or shifted"
  else:
    moved = "most copies of photographs that were cropped or framed by more than 5 %, or rotated by more than 2 degrees"
  return f"not found by thumbnails: {moved}{'' if mirrored else ', and mirror images'}"


def _mirror(thumbnails: Array) -> Array:
  assert is_thumbnails(thumbnails), "an encoder's features have no mirror image"
  return thumbnails[:, :, ::-1]


def _search(features_N: Array, others_M: Array, earlier: bool) -> tuple[Array, Array]:
  best, which = np.full(len(features_N), -1.0), np.full(len(features_N), -1)
  for start in range(0, len(features_N), _ROWS):
    rows = slice(start, start + _ROWS)
    own = next(_views(features_N[rows], shifted=False))
    reach = min(start + _ROWS, len(others_M)) if earlier else len(others_M)
    for begin in range(0, reach, _ROWS):
      block = slice(begin, min(begin + _ROWS, reach))
      found = np.full((len(own), block.stop - block.start), -np.inf, np.float32)
      for view in _views(others_M[block], shifted=True):
        np.maximum(found, own @ view.T, out=found)
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
