"""Contents of small objects that do not change under the key they have here: what was read, or put, is not read again."""

from __future__ import annotations

import collections
import threading
from collections.abc import Hashable


class Contents:
  """Of small objects, by path and version: the newest so many bytes."""

  def __init__(self, limit: int):
    self._limit, self._held, self._lock = limit, collections.OrderedDict[Hashable, bytes](), threading.Lock()
    self._size = 0

  def get(self, key: Hashable) -> bytes | None:
    return self._held.get(key)

  def keep(self, key: Hashable, data: bytes) -> None:
    with self._lock:
      if key not in self._held and len(data) <= self._limit // 64:
        self._held[key] = data
        self._size += len(data)
        while self._size > self._limit:
          self._size -= len(self._held.popitem(last=False)[1])
