"""Shards held open, so that one image is read at its place: an open shard costs a file descriptor and its index.

All readers of the process share one limit, which follows the system's on open files. The shard that was used least
recently makes room for another.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import itertools
import resource
import threading
import weakref
from collections.abc import Callable, Sequence

_MOST = 1 << 16  # descriptors: some systems' hard limit is no limit, and tables are sized by it
_SHARE = 0.5  # of the limit; the rest is for checkpoints, sockets, devices
_numbers = itertools.count()


class OpenShards:
  """The records of a set's shards, by shard. May be used by several threads at once.

  `open_shard` may raise; nothing is held then.
  """

  def __init__(self, open_shard: Callable[[int], Sequence[bytes]], pool: Pool | None = None):
    self._open, self._number = open_shard, next(_numbers)
    self._pool = _shared_pool() if pool is None else pool
    weakref.finalize(self, self._pool.close, self._number)

  def __getitem__(self, index: int) -> Sequence[bytes]:
    return self._pool.get(self._number, index, self._open)


class Pool:
  """At most `limit` shards, of all sets. What is still being read is closed when it has been."""

  def __init__(self, limit: int):
    self.limit = limit
    self._held: collections.OrderedDict[tuple[int, int], Sequence[bytes]] = collections.OrderedDict()
    self._lock = threading.Lock()
    self._gone: collections.deque[int] = collections.deque()  # sets that nothing reads any more

  def __len__(self) -> int:
    return len(self._held)

  def get(self, number: int, index: int, open_shard: Callable[[int], Sequence[bytes]]) -> Sequence[bytes]:
    key = number, index
    with self._lock:
      if (found := self._held.get(key)) is not None:
        self._held.move_to_end(key)
        return found
    opened = open_shard(index)  # others read meanwhile
    with self._lock:
      found = self._held.setdefault(key, opened)  # of two threads at once, one's stays
      self._held.move_to_end(key)
      self._close_gone()
      while len(self._held) > self.limit:
        self._held.popitem(last=False)
    return found

  def close(self, number: int) -> None:
    """All of one set. The collector of garbage may call this within `get`: what it cannot close there, `get` does."""
    self._gone.append(number)
    if self._lock.acquire(blocking=False):
      try:
        self._close_gone()
      finally:
        self._lock.release()

  def _close_gone(self) -> None:
    while self._gone:
      number = self._gone.popleft()
      for key in [key for key in self._held if key[0] == number]:
        del self._held[key]


@functools.lru_cache(maxsize=1)
def _shared_pool() -> Pool:
  return Pool(max(int(_SHARE * raised_limit()), 1))


def raised_limit() -> int:
  """How many files this process may open, after its soft limit has been raised towards the hard one."""
  soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
  most = _MOST if hard == resource.RLIM_INFINITY else min(hard, _MOST)
  if soft == resource.RLIM_INFINITY or soft >= most:
    return _MOST if soft == resource.RLIM_INFINITY else soft
  with contextlib.suppress(ValueError, OSError):  # some systems allow less than they say
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return most
  return soft
