"""One look at the disk: what is asked of it again within `with one_look():` is not read again.

Each product's status asks for that of what it is made from, and a page asks all of them several times over. So a pass over
a study (the table of --plan, a page, which products are stale) takes one look. What makes a product takes none: it must
see what other processes have done since.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Iterator
from contextvars import ContextVar
from typing import Any, TypeVar

_Found = TypeVar("_Found")
_seen: ContextVar[dict[Hashable, Any] | None] = ContextVar("seen", default=None)  # each thread has its own


@contextlib.contextmanager
def one_look() -> Iterator[None]:
  """A look within a look is the outer one."""
  if _seen.get() is not None:
    yield
    return
  token = _seen.set({})
  try:
    yield
  finally:
    _seen.reset(token)


def once(key: Hashable, read: Callable[[], _Found]) -> _Found:
  """What `read` finds; within one look, what it found at first. The key says what is read, and whose it is."""
  seen = _seen.get()
  if seen is None:
    return read()
  if key not in seen:
    seen[key] = read()
  return seen[key]


def is_looking() -> bool:
  return _seen.get() is not None


@contextlib.contextmanager
def no_look() -> Iterator[None]:
  """Within one: what is read here is read."""
  token = _seen.set(None)
  try:
    yield
  finally:
    _seen.reset(token)


def forget(key: Hashable) -> None:
  """Of what this process has changed itself within a look."""
  if (seen := _seen.get()) is not None:
    seen.pop(key, None)
