"""Which process made a file: known by its name, so that a restart on the same machine sees at once that its maker is dead; and
how this one ends."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import socket
import sys
import uuid
from typing import NoReturn

_ZOMBIE = ("Z", "X")  # ended, and not yet asked for by who started it


@functools.lru_cache(maxsize=1)
def host() -> str:
  """This boot of this machine, and the process namespace in it: names repeat, and containers count apart."""
  try:
    with open("/proc/sys/kernel/random/boot_id") as file:
      boot = file.read().strip()[:8]
    return f"{socket.gethostname()}-{boot}-{os.stat('/proc/self/ns/pid').st_ino}"
  except OSError:
    return socket.gethostname()


def start_of(pid: int) -> str:
  """When a process began, in the kernel's ticks: tells it from a later one with the same number. "" = unknown, or over."""
  try:
    with open(f"/proc/{pid}/stat") as file:
      found = file.read().rsplit(")", 1)[1].split()
  except OSError:
    return ""
  return "" if found[0] in _ZOMBIE else found[19]


def tag() -> str:
  """32 hex digits that no other call gives: host, process and its start, and four random bytes."""
  start = start_of(os.getpid())
  if not start:  # nothing is known of it
    return uuid.uuid4().hex
  return maker(f"{host()}+{os.getpid()}+{start}") + uuid.uuid4().hex[:8]


def maker(owner: str) -> str:
  """How the tags of a process begin that calls itself `host+pid+start+...`; "" where that is not known."""
  name, pid, start, *_ = [*owner.split("+"), "", "", ""]
  return f"{_digest(name)}{int(pid):08x}{int(start) % 2**32:08x}" if pid.isdigit() and start.isdigit() else ""


def is_dead(tag: str) -> bool | None:
  """Whether the process has ended that made a tag, or whose tags begin so; None where it is of another machine, or not known."""
  if tag[:8] != _digest(host()):
    return None
  start = start_of(pid := int(tag[8:16], 16))
  if not start:
    return _is_over(pid)
  return int(start) % 2**32 != int(tag[16:24], 16)


def _is_over(pid: int) -> bool:
  """Of a process of which nothing can be read: it has ended, unless it is another user's and /proc hides those."""
  try:
    os.kill(pid, 0)
  except PermissionError:
    return False
  except OSError:
    return True
  return True  # its end is not asked for yet


def _digest(text: str) -> str:
  return hashlib.sha256(text.encode()).hexdigest()[:8]


def leave(code: int) -> NoReturn:
  """Ends the process. After a mistake, threads of libraries that wait for others, which could not begin, are not waited for."""
  if live := sys.modules.get("synthjax.runtime.live"):
    live.end()
  jax = sys.modules.get("jax")
  joined = jax and jax.distributed.is_initialized()
  if (code == 2 and not joined) or (
    code == 75 and joined
  ):  # joined ones leave together, unless one of them is gone
    with contextlib.suppress(OSError):  # nobody listens
      sys.stdout.flush()
      sys.stderr.flush()
    os._exit(code)
  sys.exit(code)
