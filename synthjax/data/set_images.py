"""An image set of this study as a source to learn from, in plan order; its images' ids are the keys.

Its embeddings or its plan say what it holds; `data/generated.py` opens a set of any workdir by what lies there.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from synthjax.data.source import Source
from synthjax.runtime.errors import UserError


class SetImages(Source):
  """Of the first so many shards. `read` gives a shard's rows; the last shards read are held."""

  split = "generated"

  def __init__(
    self,
    name: str,
    labels: np.ndarray,
    ids: Sequence[str],
    read: Callable[[int], Iterator[dict[str, Any]]],
    ends: Sequence[int],
  ):
    self.name, self.labels, self.keys = name, np.asarray(labels, np.int32), list(ids)
    self._ends = np.asarray(ends)  # of each shard, in images
    self._read = read
    self._shard = functools.lru_cache(maxsize=64)(self._images_of)

  def encoded(self, i: int) -> bytes:
    shard = int(np.searchsorted(self._ends, i, side="right"))
    return self._shard(shard)[i - self._start(shard)]

  def _start(self, shard: int) -> int:
    return int(self._ends[shard - 1]) if shard else 0

  def _images_of(self, shard: int) -> list[bytes]:
    rows = list(self._read(shard))
    found, planned = (
      [row["image_id"].decode() for row in rows],
      self.keys[self._start(shard) : self._ends[shard]],
    )
    if found != planned:
      raise UserError(
        f"{self.name}: shard {shard} does not hold the images that were planned for it; --stages verify says which, and "
        "what to remove"
      )
    return [row["image"] for row in rows]

  @functools.cached_property
  def digest(self) -> str:
    return hashlib.sha256("\0".join(self.keys).encode()).hexdigest()
