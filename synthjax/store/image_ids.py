"""Image ids by the million: 16 bytes each, where a text takes 90, and read as the texts that they stand for."""

from __future__ import annotations

import binascii
import contextlib
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import overload

import numpy as np

Array = np.ndarray
WIDTH = 16  # bytes; an id is as many pairs of hex digits
_BLOCK = 1 << 14  # ids that are texts at once
_SHARDS = 128  # whose ids are computed at once
Places = Sequence[int] | Array


class PackedIds(Sequence[str]):
  """[n, WIDTH] uint8 as n ids."""

  def __init__(self, packed_NxW: Array):
    self._packed = packed_NxW

  def __len__(self) -> int:
    return len(self._packed)

  @overload
  def __getitem__(self, index: int) -> str: ...
  @overload
  def __getitem__(self, index: slice) -> PackedIds: ...
  def __getitem__(self, index: int | slice) -> str | PackedIds:
    if isinstance(index, slice):
      return PackedIds(self._packed[index])
    return self._packed[index].tobytes().hex()

  def __iter__(self) -> Iterator[str]:
    for start in range(0, len(self), _BLOCK):
      digits = self._packed[start : start + _BLOCK].tobytes().hex()
      yield from (digits[i : i + 2 * WIDTH] for i in range(0, len(digits), 2 * WIDTH))

  def __eq__(self, other: object) -> bool:
    if isinstance(other, PackedIds):
      return np.array_equal(self._packed, other._packed)
    return isinstance(other, Sequence) and len(self) == len(other) and all(map(str.__eq__, self, other))

  __hash__ = None  # type: ignore[assignment]  it is compared by value

  def at(self, places: Places) -> PackedIds:
    if len(places) == len(self) and np.array_equal(places, np.arange(len(self))):
      return self
    return PackedIds(self._packed[np.asarray(places, np.intp)])

  def joined(self) -> bytes:
    """By zero bytes, without a text of each."""
    return self._rows(b"\0", b"")[1:]

  def as_json(self) -> bytes:
    """Likewise, as items of a list."""
    return self._rows(b',"', b'"')[1:]

  def as_lines(self) -> bytes:
    return self._rows(b"", b"\n")

  def _rows(self, before: bytes, after: bytes) -> bytes:
    rows = np.empty((len(self), len(before) + 2 * WIDTH + len(after)), np.uint8)
    digits = np.frombuffer(binascii.hexlify(self._packed.tobytes()), np.uint8)
    rows[:, : len(before)] = np.frombuffer(before, np.uint8)
    rows[:, len(before) : len(before) + 2 * WIDTH] = digits.reshape(-1, 2 * WIDTH)
    rows[:, len(before) + 2 * WIDTH :] = np.frombuffer(after, np.uint8)
    return rows.tobytes()

  def is_among(self, wanted: PackedIds) -> Array | None:
    """[n] bool, whether each is one of `wanted`. None in the rare case that two of these begin with the same 8 bytes."""
    (begins, ends), (own_begins, own_ends) = wanted._halves(), self._halves()
    order = np.argsort(begins)
    begins, ends = begins[order], ends[order]
    if not len(begins) or (begins[1:] == begins[:-1]).any():
      return None if len(begins) else np.zeros(len(self), bool)
    places = np.minimum(np.searchsorted(begins, own_begins), len(begins) - 1)
    return (begins[places] == own_begins) & (ends[places] == own_ends)

  def _halves(self) -> tuple[Array, Array]:
    words_Nx2 = np.ascontiguousarray(self._packed).view(np.uint64)
    return words_Nx2[:, 0], words_Nx2[:, 1]

  def as_texts(self) -> Array:
    """An array of texts, of 128 bytes each."""
    return np.frombuffer(binascii.hexlify(self._packed.tobytes()), f"S{2 * WIDTH}").astype(f"U{2 * WIDTH}")


class KnownIds:
  """Those of a plan's images: a shard's are computed when they are first asked for, once for all who ask."""

  def __init__(self, ends: Sequence[int]):
    """`ends`: of each shard, in images."""
    self._ends = ends
    self._packed = np.empty((ends[-1] if ends else 0, WIDTH), np.uint8)
    self._is_known = np.zeros(len(ends), bool)
    self._lock = threading.Lock()

  def of(self, shards: range, pack: Callable[[range], Array]) -> PackedIds:
    """`pack`: computes those of some shards, [n, WIDTH] uint8."""
    with self._lock:
      for start in range(shards.start, shards.stop, _SHARDS):
        self._compute(range(start, min(start + _SHARDS, shards.stop)), pack)
    return PackedIds(self._packed[self._span(shards)])

  def take(self, other: KnownIds, n_shards: int) -> None:
    """What another knows of the first so many shards, which are the same."""
    known = np.flatnonzero(other._is_known[:n_shards])
    for index in known.tolist():
      self._packed[self._span(range(index, index + 1))] = other._packed[other._span(range(index, index + 1))]
    self._is_known[known] = True

  def _compute(self, shards: range, pack: Callable[[range], Array]) -> None:
    """Those from the first to the last that is not known yet."""
    unknown = np.flatnonzero(~self._is_known[shards.start : shards.stop])
    if len(unknown):
      new = range(shards.start + int(unknown[0]), shards.start + int(unknown[-1]) + 1)
      self._packed[self._span(new)] = pack(new)
      self._is_known[new.start : new.stop] = True

  def _span(self, shards: range) -> slice:
    if not shards:
      return slice(0, 0)
    return slice(self._ends[shards.start - 1] if shards.start else 0, self._ends[shards[-1]])


def at(ids: Sequence[str], places: Places) -> Sequence[str]:
  """Those at `places`, as compact as they were."""
  return ids.at(places) if isinstance(ids, PackedIds) else [ids[int(i)] for i in places]


def joined(ids: Sequence[str], errors: str = "strict") -> Iterator[bytes]:
  """`"\0".join(ids).encode()` in blocks: of eight million ids it is 260 MB, and the texts before it are 700."""
  for start in range(0, len(ids), _BLOCK):
    block = ids[start : start + _BLOCK]
    texts = block.joined() if isinstance(block, PackedIds) else "\0".join(block).encode(errors=errors)
    yield b"\0" + texts if start else texts


def packed(ids: Iterable[str]) -> PackedIds:
  """Of pairs of hex digits."""
  return PackedIds(np.frombuffer(bytes.fromhex("".join(ids)), np.uint8).reshape(-1, WIDTH))


def as_json(ids: Sequence[str]) -> Iterator[bytes]:
  """`json.dumps(ids)`, without spaces, in blocks."""
  yield b"["
  for start in range(0, len(ids), _BLOCK):
    block = ids[start : start + _BLOCK]
    if isinstance(block, PackedIds):
      items = block.as_json()
    else:
      items = json.dumps(list(block), separators=(",", ":"), ensure_ascii=False)[1:-1].encode()
    yield b"," + items if start else items
  yield b"]"


def of_lines(data: bytes) -> Sequence[str]:
  """Ids as lines of text, packed where all of them are as they should be."""
  line = 2 * WIDTH + 1
  if len(data) % line == 0:
    rows = np.frombuffer(data, np.uint8).reshape(-1, line)
    with contextlib.suppress(binascii.Error):
      packed = PackedIds(
        np.frombuffer(binascii.unhexlify(rows[:, :-1].tobytes()), np.uint8).reshape(-1, WIDTH)
      )
      if packed.as_lines() == data:  # digits in lower case, and each line ends
        return packed
  return data.decode().split()


def is_among(ids: Sequence[str], wanted: Sequence[str]) -> Array:
  """[n] bool, whether each is one of `wanted`."""
  if isinstance(ids, PackedIds) and isinstance(wanted, PackedIds):
    found = ids.is_among(wanted)
    if found is not None:
      return found
  texts = set(wanted)
  return np.fromiter((i in texts for i in ids), bool, len(ids))


def places_of(wanted: Sequence[str], ids: Sequence[str]) -> Array:
  """Where each wanted id stands among `ids`, -1 = nowhere."""
  place_of = dict.fromkeys(wanted, -1)
  for place, image_id in enumerate(ids):
    if image_id in place_of:
      place_of[image_id] = place
  return np.array([place_of[image_id] for image_id in wanted], int)
