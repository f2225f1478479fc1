"""One line that says how far a long work is, how fast, how long still, and how much of the time was spent waiting."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import shutil
import sys
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TextIO

from synthjax.runtime import devices


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


def columns(text: str) -> int:
  """How wide a terminal shows it: Chinese, Japanese and Korean characters take two columns, accents none."""
  return sum(_columns_of(character) for character in text)


def cut(text: str, width: int) -> str:
  """As much of it as fits."""
  used = 0
  for i, character in enumerate(text):
    used += _columns_of(character)
    if used > width:
      return text[:i]
  return text


def _columns_of(character: str) -> int:
  if unicodedata.category(character) in ("Mn", "Me", "Cf"):
    return 0
  return 2 if unicodedata.east_asian_width(character) in "WF" else 1


@functools.cache
def note_once(line: str) -> None:
  """A line on stderr by one process; said again, it is not repeated."""
  if devices.is_main_process():
    print(line, file=sys.stderr)


class Progress:
  """On a terminal the line moves; in a log it is a plain note now and then. Usable from several threads."""

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
    speak: bool = True,
    clock=time.monotonic,
    share_of_peak: Callable[[float], float] | None = None,  # from the rate of one device
  ):
    self._label, self._unit, self._devices, self._speak = label, unit, devices, speak
    self._total, self._done, self._own = total, done, 0
    self._found = done
    self._stream = sys.stderr if stream is None else stream
    self._moving = self._stream.isatty()
    self._every = 0.5 if self._moving else log_seconds
    self._clock, self._share_of_peak = clock, share_of_peak
    self._begin = self._last = clock()
    self._waited = 0.0
    self._width = 0
    if speak and self._moving:
      self._write(self.line(), end="")

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

  def line(self) -> str:
    text = f"{self._label}  {self._done:,}/{self._total:,} {self._unit}"
    if self._own:
      left = (
        (self._total - self._done) * self.seconds / max(self._done - self._found, 1)
      )  # all processes' pace
      text += f"  {readable(self.rate / self._devices)}/s per device{self._of_peak()}  {duration(left)} left"
      text += f"  waiting {self.waiting_share:.0%}"
    return text

  def note(self, text: str) -> None:
    """A sentence beside the line."""
    if self._speak:
      self._write(text, end="\n")

  def close(self) -> None:
    if self._speak and self._own:
      rate = f"{readable(self.rate / self._devices)} {self._unit}/s per device{self._of_peak()}"
      self._write(
        f"{self._label}  {self._own:,} {self._unit} in {duration(self.seconds)}, {rate}, waiting {self.waiting_share:.0%}",
        end="\n",
      )

  def timing(self) -> dict[str, float]:
    """For records: what this process saw since it began, compiling included."""
    own = {f"{self._unit}_per_second_per_device": self.rate / self._devices, "seconds": self.seconds}
    return own | {self._unit: self._own, "waiting_share": self.waiting_share}

  def _of_peak(self) -> str:
    return f" ({self._share_of_peak(self.rate / self._devices):.0%} of peak)" if self._share_of_peak else ""

  def _tell(self) -> None:
    now = self._clock()
    if self._speak and now - self._last >= self._every:
      self._last = now
      self._write(self.line(), end="" if self._moving else "\n")

  def _write(self, text: str, end: str) -> None:
    if self._moving:
      # One column stays free: a full line would move the cursor to the next one on some terminals.
      width = self._terminal_width() - 1
      text = text if end else cut(text, width)
      shown = columns(text)
      text, self._width = f"\r{text}{' ' * (min(self._width, width) - shown)}", shown
    self._stream.write(text + end)
    self._stream.flush()

  def _terminal_width(self) -> int:
    """At each line anew, as windows are resized. The stream's own terminal: stdout may be a file."""
    try:
      return os.get_terminal_size(self._stream.fileno()).columns or shutil.get_terminal_size().columns
    except (OSError, ValueError):
      return shutil.get_terminal_size().columns
