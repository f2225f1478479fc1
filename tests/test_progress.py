import io

from synthjax.progress import Progress, duration


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
