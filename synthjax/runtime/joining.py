"""Processes that are joined by jax.distributed, until one of them is lost: the others end then, so that a launcher starts all again.

jax itself would abort them, with the stack of its C++ code. How long it takes: at once where process 0 is gone, which the others
all listen to, and `HEARTBEAT_SECONDS` where it is another one or the network.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import sys
import threading

import jax

from synthjax.runtime.errors import Unavailable, UserError, chain, one_line

HEARTBEAT_SECONDS = 60
_LINE = (
  "--distributed on: another process has died or cannot be reached; start all of them again, and they go on from the last "
  "checkpoint"
)
_ABORTS = b"Terminating process because the JAX distributed service detected fatal errors"
_NOISE = re.compile(
  rb"preemption_sync_manager|coordination_service|^Additional GRPC error|^:UNKNOWN:Error received from peer"
)
_ENTRY = re.compile(rb"[IWEF]\d{4} |\[|\S+: ")  # the first line of one
_OF_OTHERS = re.compile(
  r"gloo|nccl|coordination|barrier|closed by peer|reset by peer|stopped sending heartbeats", re.IGNORECASE
)


class OtherLost(Unavailable):
  """The exit code is that with which launchers start again."""


def initialize(count: int | None, index: int | None) -> None:
  _watch()
  jax.distributed.initialize(
    num_processes=count, process_id=index, heartbeat_timeout_seconds=HEARTBEAT_SECONDS
  )


def lost(error: BaseException) -> OtherLost | None:
  """Where another process, or the way to it, is behind an error of a joined one."""
  if not jax.distributed.is_initialized():
    return None
  if any(_OF_OTHERS.search(str(e)) for e in chain(error) if not isinstance(e, UserError)):
    return OtherLost(f"{_LINE} ({type(error).__name__}: {one_line(error)[:100]})")
  return None


def _watch() -> None:
  """jax's client aborts the process, and says so in many lines on the standard error. These are read here first: Python itself
  writes past them, and who is about to abort is held up for as long as it takes to leave in order."""
  real = os.dup(2)
  read, write = os.pipe()
  os.dup2(write, 2)
  os.close(write)
  sys.stderr = os.fdopen(real, "w", buffering=1, encoding=sys.stderr.encoding, errors="backslashreplace")
  libc = ctypes.CDLL(None)
  libc.signal(
    signal.SIGABRT, ctypes.cast(libc.sleep, ctypes.c_void_p)
  )  # for as many seconds as its number is: 6
  threading.Thread(target=_relay, args=(read, real), name="stderr", daemon=True).start()


def _relay(read: int, real: int) -> None:
  is_noise = False
  with os.fdopen(read, "rb") as lines:
    for line in lines:
      if _ABORTS in line:
        os.write(real, f"synthjax: {_LINE}\n".encode())
        os._exit(OtherLost.exit_code)
      is_noise = bool(_NOISE.search(line)) or (is_noise and not _ENTRY.match(line))
      if not is_noise:
        os.write(real, line)
