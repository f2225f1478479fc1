"""Which process made a file: told from names, so that a restart on the same machine sees at once that its maker is dead."""

from __future__ import annotations

import functools
import hashlib
import os
import socket
import uuid

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
  if not start:  # nothing can be told of it
    return uuid.uuid4().hex
  return f"{_digest(host())}{os.getpid():08x}{int(start) % 2**32:08x}{uuid.uuid4().hex[:8]}"


def is_dead(tag: str) -> bool | None:
  """Whether the process that made a tag has ended; None where it is of another machine, or of an older release."""
  if tag[:8] != _digest(host()):
    return None
  start = start_of(int(tag[8:16], 16))
  return not start or int(start) % 2**32 != int(tag[16:24], 16)


def _digest(text: str) -> str:
  return hashlib.sha256(text.encode()).hexdigest()[:8]
