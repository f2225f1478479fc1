"""Repeats and leakage: how near each image comes to an earlier one of its set, or to any of other images.

Features of an encoder are compared by cosine. Thumbnails [N, S, S] are compared by the correlation of their gradients,
at whichever shift of up to two pixels they fit best: of the small world's real digits, copies that were shifted,
enlarged and encoded again reach 0.991, and no two different ones exceed 0.988, which grey values alone do not tell
apart (copies from 0.996, others up to 0.996).

Of photographs that finds, at 0.95, copies that were encoded again, resized, recoloured or moved by a pixel of the
thumbnail, and hardly any that were cropped, framed or rotated; at 0.80 also most of those that were by little. Mirror
images are compared on request. tests/filters/test_photographs.py measures all of this.

The cost is N x M x D products, for thumbnails 25 x N x M x 1,568, twice that with mirror images: 10,000 x 10,000
of them take about 100 seconds of a CPU's core, or 200. Accelerators share it: each holds some of the rows, and the others
pass by in blocks. The features themselves stay in the host's memory, once.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from synthjax.runtime import devices

Array = np.ndarray
SIMILAR = 0.95  # where no threshold is given
_SHIFT = 2  # pixels of a thumbnail, each way
_ROWS = 2048  # at once
_OF_A_DEVICE, _OTHERS = 16384, 4096  # rows of each device, and others that pass by, at once
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
  if devices.platform() == "cpu":  # numpy's product of matrices is the faster one there
    return search_on_host(features_N, others_M, earlier)
  return search_on_devices(features_N, others_M, earlier, devices.local_mesh())


def search_on_host(features_N: Array, others_M: Array, earlier: bool) -> tuple[Array, Array]:
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


def search_on_devices(features_N: Array, others_M: Array, earlier: bool, mesh: Mesh) -> tuple[Array, Array]:
  """Likewise. Of a device's memory it takes one block of rows, one of others and the products of the two: some 500 MB."""
  best, which = np.full(len(features_N), -1.0), np.full(len(features_N), -1)
  n, at_once = len(features_N), _OF_A_DEVICE * mesh.size
  split, whole = devices.place(mesh, devices.BATCH), devices.place(mesh, devices.REPLICATED)
  for start in range(0, n, at_once):
    rows = jax.device_put(_padded(features_N[start : start + at_once], at_once), split)
    nothing = np.full(at_once, -1.0, np.float32), np.full(at_once, -1, np.int32)
    state = jax.device_put(nothing, split)
    reach = min(start + at_once, n) if earlier else len(others_M)
    for begin in range(0, reach, _OTHERS):
      block = jax.device_put(_padded(others_M[begin : begin + _OTHERS], _OTHERS), whole)
      state = _nearer(rows, block, *state, start, begin, reach, earlier=earlier)
    end = min(start + at_once, n)
    best[start:end], which[start:end] = (np.asarray(x)[: end - start] for x in state)
  return best, which


def device_bytes(shape: tuple[int, ...], dtype: np.dtype) -> int:
  """What the search takes of each device, by the compiler's own account, for features of this shape and type; 0 on CPUs."""
  if devices.platform() == "cpu":
    return 0
  mesh = devices.local_mesh()
  split, whole = devices.place(mesh, devices.BATCH), devices.place(mesh, devices.REPLICATED)

  def rows(n: int, shape: tuple[int, ...], dtype: Any, where: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((n, *shape), dtype, sharding=where)

  n = _OF_A_DEVICE * mesh.size
  state = rows(n, (), np.float32, split), rows(n, (), np.int32, split)
  features = rows(n, shape, dtype, split), rows(_OTHERS, shape, dtype, whole)
  return devices.memory_of(_nearer.lower(*features, *state, 0, 0, n, earlier=True).compile())


@functools.partial(jax.jit, static_argnames="earlier", donate_argnums=(2, 3))
def _nearer(
  rows_R: Any, block_B: Any, best_R: Any, which_R: Any, start: Any, begin: Any, reach: Any, *, earlier: bool
) -> tuple[Any, Any]:
  """The state after one more block of others, of which those from `reach` on are padding."""
  own = next(_views(rows_R, shifted=False, xp=jnp))
  found = jnp.full((len(rows_R), len(block_B)), -jnp.inf)
  for view in _views(block_B, shifted=True, xp=jnp):
    found = jnp.maximum(found, jnp.dot(own, view.T, precision="highest"))
  place = begin + jnp.arange(len(block_B))
  if earlier:
    found = jnp.where(place[None] >= start + jnp.arange(len(rows_R))[:, None], -1.0, found)
  found = jnp.where(place < reach, found, -jnp.inf)
  at, nearest = found.argmax(axis=1), found.max(axis=1)
  nearer = nearest > best_R
  return jnp.where(nearer, nearest, best_R), jnp.where(nearer, begin + at, which_R)


def _padded(rows: Array, n: int) -> Array:
  return np.pad(rows, [(0, n - len(rows)), *[(0, 0)] * (rows.ndim - 1)])


def _views(features: Any, shifted: bool, xp: ModuleType = np) -> Iterator[Any]:
  """Unit vectors [n, D], once for each shift that is tried."""
  if features.ndim == 2:
    yield _unit(features.astype(np.float32), xp)
    return
  shifts = range(-_SHIFT, _SHIFT + 1) if shifted else (0,)
  side = features.shape[1] - 2 * _SHIFT
  for dy, dx in itertools.product(shifts, shifts):
    window = features[:, _SHIFT + dy : _SHIFT + dy + side, _SHIFT + dx : _SHIFT + dx + side]
    yield _unit(_gradient(window.astype(np.float32), xp), xp)


def _gradient(grey_NxSxS: Any, xp: ModuleType) -> Any:
  """Central differences both ways, [N, 2 S S]; light and contrast are gone from it."""
  padded = xp.pad(grey_NxSxS, ((0, 0), (1, 1), (1, 1)), mode="edge")
  across = padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]
  down = padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]
  return xp.concatenate([across, down], axis=1).reshape(len(grey_NxSxS), -1)


def _unit(rows_NxD: Any, xp: ModuleType) -> Any:
  """A picture of one shade has no direction: it is like nothing, and its copies are found by their bytes."""
  return rows_NxD / xp.maximum(xp.linalg.norm(rows_NxD, axis=1, keepdims=True), _FLAT)
