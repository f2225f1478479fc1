"""A file of features: of a shard of an image set, or of all real images of a source. It is read as what was written."""

from __future__ import annotations

import dataclasses
import functools
import io
from collections.abc import Callable, Sequence

import numpy as np
from etils import epath

from synthjax.disk import checksums, workdir
from synthjax.runtime.errors import UserError
from synthjax.store.image_ids import PackedIds

Array = np.ndarray
_ARRAYS = {  # dimensions, kinds of dtype
  "features": ((2, 3), "fu"),  # or thumbnails
  "labels": ((1,), "iu"),
  "ids": ((1,), "U"),
}


@dataclasses.dataclass(frozen=True)
class Features:
  """In plan order, or in the order of the source."""

  features: Array  # [n, D]
  labels: Array  # [n]
  ids: Array  # [n] str

  def __len__(self) -> int:
    return len(self.labels)

  def at(self, places: Array) -> Features:
    return Features(self.features[places], self.labels[places], self.ids[places])


class EmbeddedImages:
  """Images of a set, by their places. Features stay on disk until they are asked for, but for the shard that was read last."""

  def __init__(self, labels: Array, ids: PackedIds, ends: Sequence[int], read: Callable[[int], Features]):
    self.labels, self.ids = labels, ids
    self._ends, self._read = np.asarray(ends), functools.lru_cache(maxsize=1)(read)

  def at(self, places: Array) -> Features:
    """In this order, read shard by shard: no more than one of them is held beside what is returned, which may be gigabytes."""
    places = np.asarray(places)
    shard_of = np.searchsorted(self._ends, places, side="right")
    by_shard = np.argsort(shard_of, kind="stable")
    found = np.zeros((0, 0), np.float32)
    for own in np.split(by_shard, np.flatnonzero(np.diff(shard_of[by_shard])) + 1) if len(places) else ():
      index = int(shard_of[own[0]])
      part = self._read(index).features
      if not len(found):
        found = np.empty((len(places), *part.shape[1:]), part.dtype)
      assert part.dtype == found.dtype
      found[own] = part[places[own] - (self._ends[index - 1] if index else 0)]
    return Features(found, self.labels[places], self.ids.at(places).as_texts())


def write(file: epath.Path, features: Features) -> None:
  """The bytes repeat: numpy writes no clock into its archives."""
  buffer = io.BytesIO()
  np.savez(buffer, **dataclasses.asdict(features))
  checksums.publish(file, buffer.getvalue())


def read(file: epath.Path) -> Features:
  if why := _fault(file, workdir.modified(file)):
    raise UserError(f"features: {why}")
  return Features(**_arrays(file, [f.name for f in dataclasses.fields(Features)]))


def read_names(file: epath.Path) -> tuple[Array, Array]:
  """(labels, ids), without the features."""
  found = _arrays(file, ["labels", "ids"])
  return found["labels"], found["ids"]


def count(file: epath.Path) -> int:
  return _counted(file, workdir.modified(file))


@functools.lru_cache(maxsize=1 << 10)  # each look at a result asks
def _counted(file: epath.Path, changed: float | None) -> int:
  del changed
  return len(_arrays(file, ["labels"])["labels"])


@functools.lru_cache(maxsize=1 << 16)  # every seed and arm reads them; they are hashed once
def _fault(file: epath.Path, changed: float | None) -> str:
  del changed  # another time is another file
  return checksums.fault(file)


def _arrays(file: epath.Path, names: Sequence[str]) -> dict[str, Array]:
  """Each array has a checksum of its own in the archive, which numpy holds against it."""
  with checksums.parsing(file, "features"):
    with file.open("rb") as opened, np.load(opened) as arrays:
      found = {name: arrays[name] for name in names}
    for name, array in found.items():
      dimensions, kinds = _ARRAYS[name]
      if array.ndim not in dimensions or array.dtype.kind not in kinds or len(array) != len(found[names[0]]):
        raise ValueError(f"{name} is {array.dtype} {array.shape}")
    return found
