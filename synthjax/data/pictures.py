"""Pictures of a source as arrays of one size, and batches of them: real, synthetic, or both with a fixed share.

A batch is a function of the step. Of joined processes each reads its rows of the global batch, and no others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from synthjax.data.decoding import Unreadable
from synthjax.data.order import indices
from synthjax.data.source import Source
from synthjax.data.squares import BY_PIL, square
from synthjax.runtime import devices
from synthjax.runtime.errors import UserError

HELD = 2e9  # bytes of decoded pictures
_THREADS = devices.cores()


class Pictures:
  """Square pictures, uint8 [n, S, S, 3]: the short side made S, the middle kept, or as `view` has it.

  Scaled: JPEGs are decoded at less than their size where that suffices, and resized more simply (`squares.put_jpeg`).

  They are decoded once and for all where they take at most `held` bytes, else whenever they are asked for."""

  def __init__(
    self,
    source: Source,
    size: int,
    view: Callable[[Image.Image], np.ndarray] | None = None,
    held: float = HELD,
    scaled: bool = False,
  ):
    assert source.labels is not None
    self._view, self._scaled = view, scaled
    self.source, self.size, self.labels = source, size, source.labels
    self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="decode")
    self._all: np.ndarray | None = None
    if len(source) * size * size * 3 <= held:
      self._all = self._read(np.arange(len(source)))

  def __len__(self) -> int:
    return len(self.source)

  def at(self, places: np.ndarray) -> np.ndarray:
    return self._all[places] if self._all is not None else self._read(places)

  def put(self, places: np.ndarray, out_NxSxSx3: np.ndarray) -> None:
    """The same, to where they are wanted: a batch of 256 crops is 50 MB, and to copy it took as long as to decode it."""
    if self._all is not None:
      np.take(self._all, places, axis=0, out=out_NxSxSx3)
      return

    def put_some(start: int) -> None:
      for n in range(start, len(places), _THREADS):
        self._put(int(places[n]), out_NxSxSx3[n])

    try:
      list(self._pool.map(put_some, range(min(_THREADS, len(places)))))
    except Unreadable as e:
      raise UserError(f"{self.source.name}: cannot be read: {e}; fix or remove it") from None

  def _put(self, i: int, out_SxSx3: np.ndarray) -> None:
    if not self._view and self.source.put(i, out_SxSx3, self._scaled):
      return
    with BY_PIL:
      image = self.source.image(i)
      out_SxSx3[:] = self._view(image) if self._view else square(image, self.size)

  def _read(self, places: np.ndarray) -> np.ndarray:
    found = np.empty((len(places), self.size, self.size, 3), np.uint8)
    self.put(places, found)
    return found


def batches(
  parts: Sequence[tuple[int, Pictures]], sizes: Sequence[int], seed: int, share: slice = slice(None)
) -> Callable[[int], Mapping[str, np.ndarray]]:
  """Batches of the parts (domain, pictures) side by side, so many of each; every part goes through an order of its own."""
  domain = np.repeat([d for d, _ in parts], sizes).astype(np.int32)
  part_of = np.repeat(np.arange(len(parts)), sizes)

  def batch_at(step: int) -> Mapping[str, np.ndarray]:
    chosen = np.concatenate(
      [
        indices(step, n, len(pictures), seed + domain_of)
        for (domain_of, pictures), n in zip(parts, sizes, strict=True)
      ]
    )
    rows = np.arange(len(domain))[share]
    own = [(parts[p][1], chosen[rows[part_of[rows] == p]]) for p in range(len(parts))]
    side, done = own[0][0].size, 0
    pixels = np.empty((len(rows), side, side, 3), np.uint8)
    for pictures, places in own:
      pictures.put(places, pixels[done : done + len(places)])
      done += len(places)
    return {
      "pixels": pixels,
      "labels": np.concatenate([pictures.labels[places] for pictures, places in own]).astype(np.int32),
      "domain": domain[share],
    }

  return batch_at


def ids_hash(parts: Sequence[tuple[int, Pictures]], sizes: Sequence[int], seed: int, steps: int) -> str:
  """Of the ids of the first global batches, in order."""
  sha = hashlib.sha256()
  for step in range(steps):
    for (domain, pictures), n in zip(parts, sizes, strict=True):
      for i in indices(step, n, len(pictures), seed + domain):
        sha.update(f"{domain}\0{pictures.source.keys[i]}\n".encode(errors="surrogateescape"))
  return sha.hexdigest()
