"""Prefetched batches: one thread reads them, and sends them to the devices, at most n steps ahead."""

from __future__ import annotations

import collections
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class Prefetch:
  """`with Prefetch(batch_at, start, end, n) as batches:` then `batches.at(step)`, for start, start + 1, ... With n = 0 each batch is read when it is asked for."""

  def __init__(self, batch_at: Callable[[int], Mapping[str, Any]], start: int, end: int, n: int):
    self._batch_at, self._next, self._end, self._n = batch_at, start, end, n
    self._waiting: collections.deque[Future] = collections.deque()
    self._pool = ThreadPoolExecutor(1, thread_name_prefix="batches") if n else None

  def __enter__(self) -> Prefetch:
    return self

  def __exit__(self, *_: object) -> None:
    if self._pool:
      self._pool.shutdown(cancel_futures=True)

  def at(self, step: int) -> Mapping[str, Any]:
    """Steps are asked for in order."""
    if not self._pool:
      return self._batch_at(step)
    while self._next < self._end and len(self._waiting) <= self._n:
      self._waiting.append(self._pool.submit(self._batch_at, self._next))
      self._next += 1
    return self._waiting.popleft().result()
