"""A second process that works on a folder; its standard input says what to do there: `python -m synthjax.doctor.second FOLDER`.

    take NAME             creates it exclusively
    race MONOTONIC        creates the names of a race, each at its moment of the clock that both processes share
    publish NAME          a small file, as products are
    await NAME SECONDS    until a listing shows it

Each is answered by a line of JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from etils import epath

import synthjax
from synthjax.disk import workdir
from synthjax.runtime.errors import UserError

NAMES, _STEP = 50, 0.002  # of a race, and seconds between two
_POLL = 0.001  # seconds between two listings
Create = Callable[[epath.Path, str], bool]


def race(folder: epath.Path, at: float, create: Create) -> list[int]:
  """The names that this process won."""
  won = []
  for number in range(NAMES):
    while time.monotonic() < at + number * _STEP:
      pass  # a sleep ends too late
    if create(folder / f"race-{number}", ""):
      won.append(number)
  return won


def seen_after(folder: epath.Path, name: str, limit: float) -> float | None:
  """Seconds until a listing shows a name and its bytes can be read; None where the limit came first."""
  began = time.monotonic()
  while True:
    if name in workdir.names(folder) and (folder / name).exists() and (folder / name).read_bytes():
      return time.monotonic() - began
    if time.monotonic() - began > limit:
      return None
    time.sleep(_POLL)


class Second:
  """`with Second(folder) as other: other.ask("take", "name")`"""

  def __init__(self, folder: epath.Path):
    self._folder = folder

  def __enter__(self) -> Second:
    top = str(Path(synthjax.__file__).parent.parent)
    path = os.pathsep.join([top, *filter(None, [os.environ.get("PYTHONPATH")])])
    pipe = subprocess.PIPE
    line = [sys.executable, "-m", __name__, str(self._folder)]
    self._process = subprocess.Popen(
      line, stdin=pipe, stdout=pipe, text=True, env=os.environ | {"PYTHONPATH": path}
    )
    return self

  def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
    self._process.kill()
    self._process.communicate()

  def tell(self, *words: object) -> None:
    assert self._process.stdin
    try:
      self._process.stdin.write(" ".join(map(str, words)) + "\n")
      self._process.stdin.flush()
    except BrokenPipeError:
      raise self._ended() from None

  def answer(self) -> Any:
    """Waits for it."""
    assert self._process.stdout
    line = self._process.stdout.readline()
    if not line:
      raise self._ended()
    answer = json.loads(line)
    if isinstance(answer, dict):
      raise OSError(answer["errno"], os.strerror(answer["errno"]), answer["file"])
    return answer

  def ask(self, *words: object) -> Any:
    self.tell(*words)
    return self.answer()

  def _ended(self) -> UserError:
    return UserError(
      f"a second process on this machine ended with exit code {self._process.wait()}; look at what it printed"
    )


def _do(folder: epath.Path, word: str, rest: list[str]) -> object:
  if word == "take":
    return workdir.create_exclusive(folder / rest[0], "")
  if word == "race":
    return race(folder, float(rest[0]), workdir.create_exclusive)
  if word == "publish":
    return workdir.publish_bytes(folder / rest[0], b"published")
  return seen_after(folder, rest[0], float(rest[1]))


def main(folder: epath.Path) -> None:
  for line in sys.stdin:
    word, *rest = line.split()
    try:
      answer = _do(folder, word, rest)
    except OSError as e:
      answer = {"errno": e.errno, "file": e.filename or str(folder)}
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
  main(workdir.path_of(sys.argv[1]))
