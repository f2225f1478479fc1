"""metrics.jsonl and TensorBoard: each step once, also after a resume. They have a checksum once they are closed.

A process that was taken for dead may go on with the file that it had opened: its rows are in nobody's way.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from typing import IO, Any

from etils import epath
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]  protobuf makes them when imported
from tensorboardX.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]  as above

from synthjax.disk import checksums, workdir
from synthjax.runtime.errors import Interrupted

FILE = "metrics.jsonl"
_EVENTS = "events.out.tfevents.*"
_FLUSH_SECONDS = 60.0


class Metrics:
  """Appends rows `{"step": n, ...}`. On opening, rows beyond the checkpoint that training goes on from are dropped."""

  def __init__(self, folder: epath.Path, step: int, writes: bool = True):
    self._file: IO[str] | None = None
    self._events: _Events | None = None
    if not writes:  # another one of the joined processes does
      return
    folder.mkdir(parents=True, exist_ok=True)
    self._folder, path = folder, folder / FILE
    checksums.uncover(path)
    known = b"".join(line for line, row in _rows(path) if row["step"] <= step)
    workdir.replace_bytes(path, known, always=True)
    self._file, before = path.open("a"), set(workdir.names(folder, _EVENTS))
    self._events = _Events(folder, step + 1)
    self._own = sorted(set(workdir.names(folder, _EVENTS)) - before)

  def __enter__(self) -> Metrics:
    return self

  def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
    if self._file and self._events:
      with contextlib.closing(self._events):
        self._file.close()
      is_ours = error is None or issubclass(error, Interrupted)  # else another may have begun to write it
      for path in [self._folder / name for name in ([*self._own, FILE] if is_ours else self._own)]:
        if path.exists() and not checksums.is_covered(path):
          checksums.cover(path)

  def write(self, step: int, values: dict[str, float]) -> None:
    if not (self._file and self._events):
      return
    self._file.write(json.dumps({"step": step, **values}) + "\n")
    self._file.flush()
    self._events.add(
      step, summary=Summary(value=[summary.scalar(name, x).value[0] for name, x in values.items()])
    )


class _Events:
  """TensorBoard's file. tensorboardX's own writer has a thread, whose death on a full disk blocks those who write for good."""

  def __init__(self, folder: epath.Path, first: int):
    self._writer, self._flushed = EventsWriter(str(folder / "events")), time.monotonic()
    self.add(first, file_version="brain.Event:2")
    self.add(
      first, session_log=SessionLog(status=SessionLog.START)
    )  # TensorBoard drops what it knows of later steps

  def add(self, step: int, **what: Any) -> None:
    self._writer.write_event(Event(wall_time=time.time(), step=step, **what))
    if time.monotonic() - self._flushed > _FLUSH_SECONDS:
      self._writer.flush()
      self._flushed = time.monotonic()

  def close(self) -> None:
    self._writer.close()


def _rows(path: epath.Path) -> Iterator[tuple[bytes, dict[str, float]]]:
  """Whole lines and their rows, up to the first that is none: a death cuts the last one, a loss of power fills it with zeros."""
  lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
  for line in lines:
    try:
      yield line + b"\n", checksums.shaped(json.loads(line), {"step": int})
    except (ValueError, RecursionError):
      return


def read(folder: epath.Path) -> list[dict[str, float]]:
  return [row for _, row in _rows(folder / FILE)]
