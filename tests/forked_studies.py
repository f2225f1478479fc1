"""Studies that are stopped or killed at one of their changes to the disk."""

import atexit
import functools
import json
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.forked_commands import Forked

_CHANGES = ("link", "replace", "rename", "unlink", "rmdir")
ALL_CHANGES = (*_CHANGES, "mkdir", "symlink")


class Places:
  """Counts the changes that a process makes to the files below a folder, and stops or kills it at one of them."""

  def __init__(
    self, below: Path, stop_at: int | None, by: int = signal.SIGSTOP, changes: Sequence[str] = _CHANGES
  ):
    self._below, self._stop_at, self._by, self.seen = str(below), stop_at, by, []
    for name in changes:
      setattr(os, name, self._counted(name, getattr(os, name)))

  def _counted(self, name: str, change: Callable) -> Callable:
    def counted(path, *args, **kwargs):
      changed = str(args[0] if name == "symlink" else path)
      if not changed.startswith(self._below):
        return change(path, *args, **kwargs)
      self.seen.append(f"{name} {Path(changed).relative_to(self._below)}")
      place = 2 * len(self.seen) - 1  # odd: before the change
      self._stop(place)
      try:
        return change(path, *args, **kwargs)
      finally:
        self._stop(place + 1)

    return counted

  def _stop(self, place: int) -> None:
    if place == self._stop_at:
      os.kill(os.getpid(), self._by)


def _count(workdir: Path, stop_at: int | None, by: int, changes: Sequence[str], log: Path) -> None:
  """In the process of the study; what it changed is reported at its end."""
  places = Places(workdir, stop_at, by, changes)
  atexit.register(lambda: log.with_suffix(".json").write_text(json.dumps(places.seen)))


class Studies:
  """Starts them as forks (the fixture `forked`)."""

  def __init__(
    self, forked: Callable[..., Forked], by: int = signal.SIGSTOP, changes: Sequence[str] = _CHANGES
  ):
    self._forked, self._by, self._changes = forked, by, changes

  def start(self, config: str, workdir: Path, stop_at: int | None = None, *flags: str) -> Forked:
    line = [f"--config={config}", f"--workdir={workdir}", "--distributed=off", *flags]
    return self._forked(*line, prepare=functools.partial(_count, workdir, stop_at, self._by, self._changes))

  def finish(self, process: Forked) -> None:
    """It ends, and well."""
    _, err = process.communicate(timeout=600)
    assert process.returncode == 0, f"exit code {process.returncode}: {err}"

  def run(self, config: str, workdir: Path, *flags: str) -> list[str]:
    process = self.start(config, workdir, None, *flags)
    self.finish(process)
    return json.loads(process.log.with_suffix(".json").read_text())
