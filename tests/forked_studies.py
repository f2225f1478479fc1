"""Studies in forked processes, each stopped or killed at one of its changes to the disk. A start takes no imports."""

import faulthandler
import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

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


def _study(
  config: str, workdir: Path, stop_at: int | None, by: int, changes: Sequence[str], log: Path, *flags: str
) -> None:
  """In a process of its own, which has imported everything: what `python -m synthjax.main` does."""
  from synthjax import main

  with log.open("w") as out:
    os.dup2(out.fileno(), 1)
    os.dup2(out.fileno(), 2)
  faulthandler.register(signal.SIGUSR1, file=2)
  places = Places(workdir, stop_at, by, changes)
  try:
    code = main.main([f"--config={config}", f"--workdir={workdir}", "--distributed=off", *flags])
  except SystemExit as e:
    code = e.code
  log.with_suffix(".json").write_text(json.dumps(places.seen))
  os._exit(code or 0)


class Studies:
  """Starts studies as forks of one process without threads or devices: a start takes no imports."""

  def __init__(self, folder: Path, by: int = signal.SIGSTOP, changes: Sequence[str] = _CHANGES):
    self._by, self._changes = by, changes
    self._context, self._folder, self._n = multiprocessing.get_context("forkserver"), folder, 0
    self._context.set_forkserver_preload(["synthjax.main", "synthjax.study.graph"])

  def start(self, config: str, workdir: Path, stop_at: int | None = None, *flags: str):
    self._n += 1
    log = self._folder / f"{self._n:03d}.log"
    process = self._context.Process(
      target=_study, args=(config, workdir, stop_at, self._by, self._changes, log, *flags)
    )
    process.start()
    process.log = log
    return process

  def finish(self, process) -> None:
    """It ends, and well."""
    process.join(timeout=300)
    if process.exitcode is None:
      os.kill(process.pid, signal.SIGUSR1)  # it says where each of its threads is
      process.join(timeout=5)
      process.kill()
      process.join()
      raise AssertionError(f"still running: {process.log.read_text()}")
    assert process.exitcode == 0, f"exit code {process.exitcode}: {process.log.read_text()}"

  def run(self, config: str, workdir: Path, *flags: str) -> list[str]:
    process = self.start(config, workdir, None, *flags)
    self.finish(process)
    return json.loads(process.log.with_suffix(".json").read_text())
