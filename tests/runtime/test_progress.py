import io
import os
import re
import signal
import subprocess
import sys
import threading

import pytest

from synthjax.runtime.columns import columns
from synthjax.runtime.progress import Progress, duration, readable
from tests.runtime.screen import Screen, open_terminal, read_all


class Terminal(io.StringIO):
  def isatty(self) -> bool:
    return True


@pytest.fixture(autouse=True)
def usual_terminal(monkeypatch):
  monkeypatch.setenv("TERM", "xterm")
  monkeypatch.delenv("NO_COLOR", raising=False)


def without_times(log: str) -> str:
  """Each line begins with the time of day."""
  assert all(re.match(r"[0-2]\d:[0-5]\d:[0-5]\d ", line) for line in log.splitlines()), log
  return re.sub(r"(?m)^.{9}", "", log)


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
  assert without_times(log.getvalue()) == "images/B  60/100 images  0.5/s per device  40 s left  waiting 0%\n"


def test_what_is_no_work_of_devices_says_the_rate_of_all_and_what_else_there_is():
  log, ticks = io.StringIO(), iter([0, 40, 40, 40, 40, 40, 40, 40])
  progress = Progress(
    "prompts/CD",
    100,
    20,
    unit="answers",
    devices=2,
    stream=log,
    clock=lambda: next(ticks),
    also=lambda: "9 tokens",
  )
  progress.add(40)
  progress.close()
  assert without_times(log.getvalue()).splitlines() == [
    "prompts/CD  60/100 answers  1/s, 9 tokens  40 s left  waiting 0%",
    "prompts/CD  40 answers in 40 s, 1 answers/s, 9 tokens, waiting 0%",
  ]


def test_a_terminal_line_moves_and_leaves_nothing_behind(monkeypatch):
  monkeypatch.setenv("COLUMNS", "40")
  terminal = Terminal()
  progress = Progress("x", 1000, stream=terminal, clock=Clock())
  assert Screen(40).feed(terminal.getvalue()).lines == ["x  0/1,000 images  " + "\u2501" * 20]
  progress.note("a long sentence that is wider than the next one")
  progress.note("short")
  progress.add(10)
  screen = Screen(40).feed(terminal.getvalue())
  assert screen.lines[:3] == ["a long sentence that is wider than the n", "ext one", "short"]
  assert screen.lines[3].startswith("x  10/1,000 images  ") and len(screen.lines) == 4
  progress.close()
  assert len(Screen(400).feed(terminal.getvalue()).lines) == 3
  assert Screen(400).feed(terminal.getvalue()).lines[2].startswith("x  10 images in ")


@pytest.mark.parametrize("name, value", [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_a_terminal_that_asks_for_plain_text_is_a_log(monkeypatch, name, value):
  monkeypatch.setenv(name, value)
  terminal = Terminal()
  Progress("x", 1000, stream=terminal, clock=Clock(), log_seconds=1).add(10)
  assert without_times(terminal.getvalue()).startswith("x  10/1,000 images  ")


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
  wide, narrow = re.split(r"\r\x1b\[2K", terminal.getvalue())
  assert 58 <= columns(wide) <= 59
  assert 29 <= columns(narrow) <= 30
  monkeypatch.setenv("COLUMNS", "300")
  progress.add(10)
  assert "waiting" in terminal.getvalue().split("\r")[-1]


def test_a_log_gets_whole_lines(monkeypatch):
  monkeypatch.setenv("COLUMNS", "20")
  log = io.StringIO()
  Progress("x" * 70, 1000, stream=log, clock=Clock(), log_seconds=1).add(10)
  assert without_times(log.getvalue()).startswith("x" * 70)
  assert "waiting 0%\n" in log.getvalue()


def test_the_terminal_of_the_stream_itself_is_measured(monkeypatch):
  monkeypatch.setenv("COLUMNS", "200")
  ours, theirs = open_terminal(40)
  with os.fdopen(theirs, "w") as stream:
    progress = Progress("x" * 70, 1000, stream=stream)
    assert os.read(ours, 1000) == b"x" * 39
    progress.close()
  os.close(ours)


def test_two_lines_at_once_each_keep_their_row():
  terminal = Terminal()
  one = Progress("images/B", 100, stream=terminal, clock=Clock())
  two = Progress("embeddings/LE", 50, unit="images", stream=terminal, clock=Clock())

  def work(progress: Progress) -> None:
    for _ in range(25):
      progress.add(2)

  threads = [threading.Thread(target=work, args=(progress,)) for progress in (one, two)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  lines = Screen(80).feed(terminal.getvalue()).lines
  assert [line.split("  ")[:2] for line in lines] == [
    ["images/B", "50/100 images"],
    ["embeddings/LE", "50/50 images"],
  ]
  one.close()
  lines = Screen(80).feed(terminal.getvalue()).lines
  assert [line.split("  ")[0] for line in lines] == [
    "images/B",
    "embeddings/LE",
  ] and " 50 images in " in lines[0]
  two.close()
  assert [" 50 images in " in line for line in Screen(80).feed(terminal.getvalue()).lines] == [True, True]


def test_a_line_that_was_never_closed_goes_with_its_work():
  terminal = Terminal()
  Progress("lost", 100, stream=terminal)
  progress = Progress("next", 100, stream=terminal)
  assert [line.split("  ")[0] for line in Screen(80).feed(terminal.getvalue()).lines] == ["next"]
  progress.close()
  assert Screen(80).feed(terminal.getvalue()).lines == []


_WORK = """
import os, signal, sys, time
from synthjax.runtime import processes
from synthjax.runtime.progress import Progress
progress = Progress("images/LE", 1000, devices=2)
second = Progress("embeddings/a-set-of-a-long-name/clip", 10)
for i in range(4):
  time.sleep(0.55)
  progress.add(100)
  print(f"note {i}: " + "a/long/path/" * 5 + "end", file=sys.stderr)
if sys.argv[1] == "kill":
  os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[1] == "fault":
  print("synthjax: a fault", file=sys.stderr)
  processes.leave(2)
progress.close()
second.close()
print("the end", file=sys.stderr)
"""


@pytest.mark.parametrize("how", ["close", "fault", "kill"])
@pytest.mark.parametrize("width", [40, 120])
def test_notes_scroll_by_above_the_lines_of_a_terminal(width, how):
  ours, theirs = open_terminal(width)
  process = subprocess.Popen(
    [sys.executable, "-c", _WORK, how], stderr=theirs, env=os.environ | {"TERM": "xterm"}
  )
  os.close(theirs)
  said = read_all(ours)
  assert process.wait(timeout=60) == {"close": 0, "fault": 2, "kill": -signal.SIGKILL}[how]
  screen = Screen(width).feed(said)
  assert not screen.hidden and "?25" not in said
  notes = [f"note {i}: " + "a/long/path/" * 5 + "end" for i in range(4)]
  shown = "".join(line.ljust(width) for line in screen.lines)
  assert all(note in shown for note in notes)  # whole, in as many rows as they take
  # The notes, and the sentence that ends a work; no line that moves.
  assert screen.wrapped == (0 if width == 120 else 5 if how == "close" else 4)
  last = screen.lines[-2:]
  if how == "close":
    assert "images/LE  400 images in " in shown and last[1] == "the end"
  elif how == "fault":
    assert last[1] == "synthjax: a fault"
  else:
    assert [line[:9] for line in last] == ["images/LE", "embedding"] and all(len(x) < width for x in last)
