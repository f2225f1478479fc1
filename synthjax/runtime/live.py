"""Progress lines at the bottom of a terminal, drawn by rich: one for each piece of work that is under way.

What is printed to stderr meanwhile scrolls by above them. The cursor is never hidden, so a process that is killed leaves the
terminal as it was. rich is imported with this file, which only a terminal needs.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import sys
import threading
import weakref
from typing import Protocol, TextIO

from rich.console import Console, ConsoleDimensions, ConsoleOptions, RenderResult
from rich.file_proxy import FileProxy
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.segment import Segment

from synthjax.runtime.columns import columns, cut

_BAR = (10, 40)  # columns: it is left out below the first, and no wider than the second


class Line(Protocol):
  """What is shown of a piece of work. Lines are held weakly: one that nobody holds any more is gone."""

  def line(self) -> str: ...

  @property
  def fraction(self) -> float:
    """Done, of 1."""
    ...


class _Console(Console):
  """Measures the terminal of its own stream, anew each time, as windows are resized; stdout may be a file."""

  @property
  def size(self) -> ConsoleDimensions:
    return terminal_size(self.file)

  @size.setter
  def size(self, new_size: tuple[int, int]) -> None:
    raise NotImplementedError

  def show_cursor(self, show: bool = True) -> bool:
    del show
    return False


def terminal_size(stream: object) -> ConsoleDimensions:
  fallback = shutil.get_terminal_size()
  try:
    size = os.get_terminal_size(stream.fileno())  # pyright: ignore[reportAttributeAccessIssue]
  except (AttributeError, OSError, ValueError):
    return ConsoleDimensions(fallback.columns, fallback.lines)
  return ConsoleDimensions(size.columns or fallback.columns, size.lines or fallback.lines)


class Board:
  """The lines of one stream. Usable from several threads."""

  def __init__(self, stream: TextIO):
    self._lines: list[weakref.ref[Line]] = []
    self._lock = threading.RLock()
    is_stderr = stream is sys.stderr
    self._console = _Console(
      file=stream,
      force_terminal=True,
      force_interactive=True,
      highlight=False,
      markup=False,
      emoji=False,
      soft_wrap=True,  # a path stays whole, to be copied
    )
    self._live = Live(
      self,
      console=self._console,
      auto_refresh=False,
      transient=True,
      redirect_stderr=is_stderr,
      redirect_stdout=is_stderr and sys.stdout is not None and sys.stdout.isatty(),
    )

  def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
    width = options.max_width - 1  # a full line would move the cursor to the next one on some terminals
    shown = [(cut(line.line(), width), line.fraction) for line in self._held()]
    widest = max((columns(text) for text, _ in shown), default=0)
    room = min(width - 2 - widest, _BAR[1])
    for i, (text, fraction) in enumerate(shown):
      if i:
        yield Segment.line()
      yield Segment(text)
      if room >= _BAR[0]:
        yield Segment(" " * (widest - columns(text) + 2))
        yield ProgressBar(total=1.0, completed=fraction, width=room)

  @property
  def is_shown(self) -> bool:
    return self._live.is_started

  def add(self, line: Line) -> None:
    with self._lock:
      self._lines.append(weakref.ref(line))
      self._live.start()
      self._live.refresh()

  def remove(self, line: Line) -> None:
    with self._lock:
      self._lines = [ref for ref in self._lines if ref() not in (line, None)]
      self._redraw()

  def refresh(self) -> None:
    with self._lock:
      if self._live.is_started:
        self._redraw()

  def write(self, text: str) -> None:
    """A line above."""
    with self._lock:
      self._console.print(text)

  def end(self) -> None:
    with self._lock:
      self._lines = []
      self._redraw()

  def _held(self) -> list[Line]:
    return [line for ref in self._lines if (line := ref()) is not None]

  def _redraw(self) -> None:
    if self._held():
      self._live.refresh()
    else:
      self._live.stop()


_boards: dict[TextIO, Board] = {}


def board_of(stream: TextIO) -> Board:
  """Its board, also where the stream stands behind one already."""
  if isinstance(stream, FileProxy):
    stream = stream.rich_proxied_file  # pyright: ignore[reportAssignmentType]
  if stream not in _boards:
    _boards[stream] = Board(stream)
  return _boards[stream]


def is_shown() -> bool:
  """Whether there are lines on a terminal now."""
  return any(board.is_shown for board in _boards.values())


@atexit.register
def end() -> None:
  """Leaves the terminal to whoever comes next."""
  for board in _boards.values():
    with contextlib.suppress(OSError, ValueError):  # the stream is closed, or its reader gone
      board.end()
