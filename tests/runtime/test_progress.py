import fcntl
import io
import os
import struct
import termios

import pytest

from synthjax.runtime.progress import Progress, columns, duration, readable


class Terminal(io.StringIO):
  def isatty(self) -> bool:
    return True


def at(progress_stream, times):
  ticks = iter(times)
  return Progress(
    "images/B", 100, 20, devices=2, log_seconds=30, stream=progress_stream, clock=lambda: next(ticks)
  )


def test_a_log_gets_a_note_now_and_then():
  log = io.StringIO()
  progress = at(log, [0, 10, 40, 40, 40, 40, 40])  # begin, add, add, and the line's own looks at the clock
  progress.add(20)  # too early for a note
  progress.add(20)
  # 40 own images in 40 s on 2 devices; 40 are left of 100.
  assert log.getvalue() == "images/B  60/100 images  0.5/s per device  40 s left  waiting 0%\n"


def test_a_terminal_line_moves_and_leaves_nothing_behind():
  terminal = Terminal()
  progress = Progress("x", 1000, stream=terminal)
  assert terminal.getvalue() == "\rx  0/1,000 images"
  progress.note("a long sentence that is wider than the next one")
  progress.note("short")
  assert terminal.getvalue().endswith("\rshort" + " " * 42 + "\n")


def test_waiting_share():
  progress = at(io.StringIO(), [0, 2, 7, 10, 10])
  with progress.waiting():
    pass
  assert progress.waiting_share == 0.5


def test_durations_read_well():
  assert [duration(s) for s in (5, 89, 120, 5400, 12000)] == [
    "5 s",
    "89 s",
    "2 min",
    "1 h 30 min",
    "3 h 20 min",
  ]


def test_numbers_are_read_without_exponents():
  assert [readable(v) for v in (0.001, 0.0123, 0.5, 8.35, 12.34, 999.4, 999.6, 83_412.3, 1e7)] == [
    *("0.001", "0.0123", "0.5", "8.35", "12.3", "999", "1,000", "83,412", "10,000,000")
  ]
  for value in (m * 10.0**e for e in range(-3, 8) for m in (1, 2.5, 9.996)):
    text = readable(value)
    assert "e" not in text
    assert float(text.replace(",", "")) == pytest.approx(value, rel=0.005)


def test_rates_of_a_fast_work_are_whole_numbers():
  log = io.StringIO()
  progress = Progress("x", 10**7, stream=log, log_seconds=1, clock=iter([0.0, *[10.0] * 9]).__next__)
  progress.add(833_000)
  progress.close()
  assert "  83,300/s per device  " in log.getvalue()
  assert "83,300 images/s per device" in log.getvalue()


class Clock:
  """A second at each look."""

  def __init__(self):
    self.now = 0.0

  def __call__(self) -> float:
    self.now += 1
    return self.now


@pytest.mark.parametrize(
  "label", ["a name that is very long " * 4, "\u718a\u732b\u306e\u5199\u771f" * 12, "e\u0301" * 70]
)
def test_a_terminal_line_is_cut_to_the_width_it_has_now(monkeypatch, label):
  terminal = Terminal()
  monkeypatch.setenv("COLUMNS", "60")
  progress = Progress(label, 1000, stream=terminal, clock=Clock())
  monkeypatch.setenv("COLUMNS", "31")  # the window was made narrower
  progress.add(10)
  wide, narrow = terminal.getvalue().split("\r")[1:]
  assert 58 <= columns(wide) <= 59
  assert 29 <= columns(narrow) <= 30
  monkeypatch.setenv("COLUMNS", "300")
  progress.add(10)
  assert "waiting" in terminal.getvalue().split("\r")[-1]


def test_a_log_gets_whole_lines(monkeypatch):
  monkeypatch.setenv("COLUMNS", "20")
  log = io.StringIO()
  Progress("x" * 70, 1000, stream=log, clock=Clock(), log_seconds=1).add(10)
  assert log.getvalue().startswith("x" * 70)
  assert "waiting 0%\n" in log.getvalue()


def test_the_terminal_of_the_stream_itself_is_measured(monkeypatch):
  monkeypatch.delenv("COLUMNS", raising=False)
  ours, theirs = os.openpty()
  fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 40, 0, 0))
  with os.fdopen(theirs, "w") as stream:
    Progress("x" * 70, 1000, stream=stream)
    assert os.read(ours, 1000) == b"\r" + b"x" * 39
  os.close(ours)
