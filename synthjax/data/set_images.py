"""An image set of this study as a source to learn from, in plan order; its images' ids are the keys.

Its embeddings or its plan say what it holds; `data/generated.py` opens a set of any workdir by what lies there.

An image is read at its place, alone. ArrayRecord keeps a hash of each record and refuses one that has changed; each says
whose image it holds, which must be the one that is planned there.
"""

from __future__ import annotations

import bisect
import functools
from collections.abc import Callable, Sequence

import numpy as np

from synthjax.data.selection import names_digest
from synthjax.data.source import Source
from synthjax.runtime.errors import UserError
from synthjax.store import schema
from synthjax.store.open_shards import OpenShards


class SetImages(Source):
  """Of the first so many shards, whose records `open_shard` gives."""

  split = "generated"

  def __init__(
    self,
    name: str,
    labels: np.ndarray,
    ids: Sequence[str],
    open_shard: Callable[[int], Sequence[bytes]],
    ends: Sequence[int],
  ):
    self.name, self.labels, self.keys = name, np.asarray(labels, np.int32), ids
    self._ends = list(ends)  # of each shard, in images
    self._open_shard = open_shard
    self._shards = OpenShards(self._opened)

  def encoded(self, i: int) -> bytes:
    shard = bisect.bisect_right(self._ends, i)
    found, jpeg = schema.identified(self._shards[shard][i - self._start(shard)])
    if found != self.keys[i]:
      raise self._another(shard)
    return jpeg

  def _start(self, shard: int) -> int:
    return self._ends[shard - 1] if shard else 0

  def _opened(self, shard: int) -> Sequence[bytes]:
    records = self._open_shard(shard)
    if len(records) != self._ends[shard] - self._start(shard):
      raise self._another(shard)
    return records

  def _another(self, shard: int) -> UserError:
    return UserError(
      f"{self.name}: shard {shard} does not hold the images that were planned for it; --stages verify says which, and "
      "what to remove"
    )

  @functools.cached_property
  def digest(self) -> str:
    return names_digest(self.keys)
