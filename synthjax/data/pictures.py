"""Pictures of a source as arrays of one size, and batches of them: real, synthetic, or both with a fixed share.

A batch is a function of the step. Of joined processes each reads its rows of the global batch, and no others.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image, ImageOps

from synthjax import devices
from synthjax.data.decoding import Unreadable
from synthjax.data.order import indices
from synthjax.data.source import Source
from synthjax.errors import UserError

_HELD = 2e9  # bytes of decoded pictures: a source that needs no more is decoded once


class Pictures:
  """Square pictures, uint8 [n, S, S, 3]: the short side made S, the middle kept, or as `view` has it."""

  def __init__(self, source: Source, size: int, view: Callable[[Image.Image], np.ndarray] | None = None):
    assert source.labels is not None
    self._view = view or functools.partial(square, size=size)
    self.source, self.size, self.labels = source, size, source.labels
    self._pool = ThreadPoolExecutor(devices.threads(), thread_name_prefix="decode")
    self._all: np.ndarray | None = None
    if len(source) * size * size * 3 <= _HELD:
      self._all = self._read(np.arange(len(source)))

  def __len__(self) -> int:
    return len(self.source)

  def at(self, places: np.ndarray) -> np.ndarray:
    return self._all[places] if self._all is not None else self._read(places)

  def _read(self, places: np.ndarray) -> np.ndarray:
    try:
      return np.stack(list(self._pool.map(lambda i: self._view(self.source.image(int(i))), places)))
    except Unreadable as e:
      raise UserError(f"{self.source.name}: cannot be read: {e}; mend or remove it") from None


def square(image: Image.Image, size: int) -> np.ndarray:
  if image.mode == "RGB" and image.size == (size, size):
    return np.asarray(image)
  return np.asarray(ImageOps.fit(image.convert("RGB"), (size, size), Image.Resampling.BICUBIC))


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
    return {
      "pixels": np.concatenate([pictures.at(places) for pictures, places in own]),
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
