"""One line that says how far a long work is, how fast, how long still, and how much of the time was spent waiting.

On a terminal the line moves (live.py). In a log, and on a terminal where `NO_COLOR` or `TERM=dumb` asks for plain text, it is
a note now and then, with the time of day.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TextIO

from synthjax.runtime import devices

if TYPE_CHECKING:
  from synthjax.runtime.live import Board


def duration(seconds: float) -> str:
  """45 s, 12 min, 3 h 20 min."""
  if seconds < 90:
    return f"{seconds:.0f} s"
  minutes = round(seconds / 60)
  return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def readable(value: float) -> str:
  """Three digits and no exponent: 0.00125, 0.5, 12.3, 83,412."""
  if not math.isfinite(value) or value == 0 or abs(value) >= 999.5:
    return f"{value:,.0f}"
  text = f"{value:.{max(2 - math.floor(math.log10(abs(value))), 0)}f}"
  return text.rstrip("0").rstrip(".") if "." in text else text


@functools.cache
def note_once(line: str) -> None:
  """A line on stderr by one process; said again, it is not repeated."""
  if devices.is_main_process():
    print(line, file=sys.stderr)


def is_moving(stream: TextIO) -> bool:
  """Whether lines may be drawn again where they stand."""
  return (
    stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") not in ("dumb", "unknown")
  )


def is_shown() -> bool:
  """Whether lines move on a terminal now: other programs' bars would disturb them."""
  live = sys.modules.get("synthjax.runtime.live")
  return live is not None and live.is_shown()


class Progress:
  """Usable from several threads; several are shown below one another."""

  def __init__(
    self,
    label: str,
    total: int,
    done: int = 0,
    *,
    unit: str = "images",
    devices: int = 1,
    log_seconds: float = 30.0,
    stream: TextIO | None = None,
    shown: bool = True,
    clock=time.monotonic,
    share_of_peak: Callable[[float], float] | None = None,  # from the rate of one device
    also: Callable[[], str]
    | None = None,  # said beside the rate, which is then that of all and not of a device
  ):
    self._label, self._unit, self._shown, self._also = label, unit, shown, also
    self._devices = 1 if also else devices
    self._total, self._done, self._own = total, done, 0
    self._found = done
    self._stream = sys.stderr if stream is None else stream
    self._board = _board(self._stream) if shown and is_moving(self._stream) else None
    self._every = 0.5 if self._board else log_seconds
    self._clock, self._share_of_peak = clock, share_of_peak
    self._begin = self._last = clock()
    self._waited = 0.0
    if self._board:
      self._board.add(self)

  def add(self, n: int) -> None:
    """n more done, by this process."""
    self._own += n
    self._done += n
    self._tell()

  def counting(self, items: Iterable[Any]) -> Iterator[Any]:
    """The same items, each counted once it has been taken."""
    for item in items:
      yield item
      self.add(1)

  def seen(self, done: int) -> None:
    """The whole count, other processes' work included."""
    self._done = max(self._done, done)
    self._tell()

  @contextlib.contextmanager
  def waiting(self) -> Iterator[None]:
    """Time in here is time in which the devices had nothing to do."""
    start = self._clock()
    try:
      yield
    finally:
      self._waited += self._clock() - start

  @property
  def own(self) -> int:
    """Done by this process."""
    return self._own

  @property
  def rate(self) -> float:
    return self._own / max(self._clock() - self._begin, 1e-9)

  @property
  def seconds(self) -> float:
    return self._clock() - self._begin

  @property
  def waiting_share(self) -> float:
    return self._waited / max(self.seconds, 1e-9)

  @property
  def fraction(self) -> float:
    """Done, of 1."""
    return min(self._done / self._total, 1.0) if self._total else 1.0

  def line(self) -> str:
    text = f"{self._label}  {self._done:,}/{self._total:,} {self._unit}"
    if self._own:
      left = (
        (self._total - self._done) * self.seconds / max(self._done - self._found, 1)
      )  # all processes' pace
      text += f"  {self._speed('')}  {duration(left)} left"
      text += f"  waiting {self.waiting_share:.0%}"
    return text

  def note(self, text: str) -> None:
    """A sentence beside the line."""
    if self._shown:
      self._write(text)

  def close(self) -> None:
    if self._board:
      self._board.remove(self)
    if self._shown and self._own:
      rate = self._speed(f" {self._unit}")
      self._write(
        f"{self._label}  {self._own:,} {self._unit} in {duration(self.seconds)}, {rate}, waiting {self.waiting_share:.0%}"
      )

  def _speed(self, unit: str) -> str:
    rate = f"{readable(self.rate / self._devices)}{unit}/s"
    return f"{rate}, {self._also()}" if self._also else f"{rate} per device{self._of_peak()}"

  def timing(self) -> dict[str, float]:
    """For records: what this process saw since it began, compiling included."""
    own = {f"{self._unit}_per_second_per_device": self.rate / self._devices, "seconds": self.seconds}
    return own | {self._unit: self._own, "waiting_share": self.waiting_share}

  def _of_peak(self) -> str:
    return f" ({self._share_of_peak(self.rate / self._devices):.0%} of peak)" if self._share_of_peak else ""

  def _tell(self) -> None:
    now = self._clock()
    if self._shown and now - self._last >= self._every:
      self._last = now
      if self._board:
        self._board.refresh()
      else:
        self._write(self.line())

  def _write(self, text: str) -> None:
    if self._board:
      self._board.write(text)
      return
    self._stream.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    self._stream.flush()


def _board(stream: TextIO) -> Board:
  from synthjax.runtime.live import board_of  # rich, where it is needed

  return board_of(stream)
