"""`python -m synthjax.main` as forks of one process that has imported everything: a start takes no imports.

What a process makes of its command line, its signals and its death is the same. Of the start itself a test needs a real one:
the fixture `command`, of which this is the double.
"""

import atexit
import faulthandler
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from multiprocessing import forkserver
from pathlib import Path

_CONTEXT, _LOCK = multiprocessing.get_context("forkserver"), threading.Lock()


class Forked:
  """What tests use of subprocess.Popen."""

  def __init__(self, process, log: Path):
    self._process, self.log, self.pid = process, log, process.pid

  @property
  def returncode(self) -> int | None:
    return self._process.exitcode

  def poll(self) -> int | None:
    return self._process.exitcode

  def wait(self, timeout: float | None = None) -> int:
    self._process.join(timeout)
    if self._process.exitcode is None:
      self.send_signal(signal.SIGUSR1)  # it says where each of its threads is
      time.sleep(1)
      raise subprocess.TimeoutExpired(self.log.read_text(), timeout or 0)
    return self._process.exitcode

  def communicate(self, timeout: float | None = None) -> tuple[str, str]:
    self.wait(timeout)
    return self.log.with_suffix(".out").read_text(), self.log.read_text()

  def send_signal(self, number: int) -> None:
    if self._process.exitcode is None:
      os.kill(self.pid, number)

  def kill(self) -> None:
    self.send_signal(signal.SIGKILL)


def start(
  argv: list[str],
  environment: Mapping[str, str],
  log: Path,
  prepare: Callable[[Path], object] | None = None,
) -> Forked:
  """With its standard error in `log`, and its output beside it; `prepare(log)` goes first, in the child."""
  for file in (log, log.with_suffix(".out")):
    file.touch()
  with _LOCK:
    _ensure_running(environment)
  process = _CONTEXT.Process(target=_command, args=(argv, dict(environment), log, prepare))
  process.start()
  return Forked(process, log)


def _ensure_running(environment: Mapping[str, str]) -> None:
  """The process that has imported everything, as the first command would have."""
  _CONTEXT.set_forkserver_preload(["tests.everything"])
  before = {name: os.environ.get(name) for name in ("PYTHONPATH", "USE_TORCH")}
  os.environ.update({name: environment[name] for name in before})
  try:
    forkserver.ensure_running()
  finally:
    for name, value in before.items():
      os.environ.pop(name) if value is None else os.environ.update({name: value})


def _command(
  argv: list[str], environment: dict[str, str], log: Path, prepare: Callable[[Path], object] | None
) -> None:
  """In the child: what `python -m synthjax.main` does."""
  if "tests.everything" not in sys.modules:
    raise RuntimeError("the process that commands are forked from could not import tests.everything")
  os.setsid()
  for fd, file in ((1, log.with_suffix(".out")), (2, log)):
    with file.open("w") as opened:
      os.dup2(opened.fileno(), fd)
  os.environ.clear()
  os.environ.update(environment)
  sys.path[:0] = environment["PYTHONPATH"].split(
    os.pathsep
  )  # multiprocessing has put the parent's path there
  faulthandler.register(signal.SIGUSR1, file=2)
  from synthjax import main
  from synthjax.runtime import processes

  try:
    if prepare:
      prepare(log)
    processes.leave(main.main(argv))
  except SystemExit as e:
    code = e.code
  except BaseException:  # noqa: BLE001
    traceback.print_exc()
    code = 1
  atexit._run_exitfuncs()
  sys.exit(code)
