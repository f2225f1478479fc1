"""SIGTERM and Ctrl-C: asked once, work ends in order within the grace time; asked twice, at once."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

from synthjax.runtime.errors import Interrupted

_Handler = Callable[[int, FrameType | None], object] | int | None  # None: it was not set by Python


class Stop:
  """`with Stop(grace_seconds) as stop:` in the main thread; long work looks at `stop` between its steps."""

  def __init__(self, grace_seconds: float = 20.0):
    self._grace_seconds = grace_seconds
    self._signal = 0
    self._deadline = float("inf")
    self._before: dict[int, _Handler] = {}
    self._watched: list[Callable[[], None]] = []

  def __enter__(self) -> Stop:
    for number in (signal.SIGTERM, signal.SIGINT):
      self._before[number] = signal.signal(number, self._on_signal)
    return self

  def __exit__(self, *_: object) -> None:
    for number, handler in self._before.items():
      signal.signal(number, handler)

  def _on_signal(self, number: int, frame: FrameType | None) -> None:
    del frame
    if self._signal:
      raise Interrupted(number)
    self._signal, self._deadline = number, time.monotonic() + self._grace_seconds

  @contextlib.contextmanager
  def watching(self, check: Callable[[], None]) -> Iterator[None]:
    """Meanwhile each look at this stop is also a check, which raises where the work has no use any more."""
    self._watched.append(check)
    try:
      yield
    finally:
      self._watched.remove(check)

  def look(self) -> None:
    """Raises what the checks of `watching` raise, and goes on where a stop was asked for."""
    for check in self._watched:
      check()

  @property
  def requested(self) -> bool:
    self.look()
    return bool(self._signal)

  @property
  def seconds_left(self) -> float:
    return self._deadline - time.monotonic()

  def check(self) -> None:
    """Leaves here if a stop was asked for."""
    if self.requested:
      raise Interrupted(self._signal)

  def leave(self, where: str) -> NoReturn:
    """Leaves here: a stop was asked for, of this process or of one that it has joined. `where`: how far it came."""
    raise Interrupted(self._signal or signal.SIGTERM, where)

  def sleep(self, seconds: float) -> None:
    """Sleeps, but not through a signal."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
      self.check()
      time.sleep(min(left, 0.2))
    self.check()
