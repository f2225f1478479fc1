"""Opens what lies in folders of the user's: regular files alone, also behind links.

A FIFO is waited for until somebody writes to it, /dev/zero never ends: one among a million images would stop a study for
ever. What is wrong is an OSError whose `strerror` says it, so that whoever opens a file has one thing to catch.
"""

from __future__ import annotations

import errno
import io
import math
import os
import stat
from pathlib import PurePath

LARGEST = 1 << 30  # bytes of a file that is read as a whole: no image, config or list is as large
_KINDS = {
  stat.S_IFIFO: "a FIFO",
  stat.S_IFSOCK: "a socket",
  stat.S_IFCHR: "a device",
  stat.S_IFBLK: "a device",
  stat.S_IFDIR: "a folder",
}


class NotRegular(OSError):
  def __init__(self, path: PurePath, kind: str):
    super().__init__(errno.EINVAL, f"it is {kind}, and only regular files are read; remove it", str(path))
    self.kind = kind


class TooLarge(OSError):
  def __init__(self, path: PurePath, size: int):
    super().__init__(errno.EFBIG, f"it has {size:,} bytes; no such file is so large", str(path))


def open_file(path: PurePath, largest: float = math.inf) -> io.BufferedReader:
  """For reading. Nothing is waited for, whatever took the file's place since it was listed."""
  return os.fdopen(_open(path, largest), "rb")


def _open(path: PurePath, largest: float) -> int:
  check(path)  # opening a device may do something
  handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
  try:
    about = os.fstat(handle)
    _check_mode(path, about.st_mode)
    if about.st_size > largest:
      raise TooLarge(path, about.st_size)
  except OSError:
    os.close(handle)
    raise
  return handle


def read_bytes(path: PurePath, largest: int = LARGEST) -> bytes:
  with os.fdopen(_open(path, largest), "rb", buffering=0) as stream:
    return stream.readall()  # as large as it was found to be: `read(largest)` would ask for so much memory


def read_text(path: PurePath, largest: int = LARGEST) -> str:
  """UTF-8, with any line ends; UnicodeDecodeError, which is a ValueError, where it is not."""
  return read_bytes(path, largest).decode().replace("\r\n", "\n").replace("\r", "\n")


def check(path: PurePath) -> None:
  """For what another library opens."""
  try:
    mode = os.stat(path).st_mode
  except ValueError:  # half a character, or a zero byte, as JSON may spell it
    raise OSError(errno.EINVAL, "its name is none that a file can have", ascii(str(path))) from None
  _check_mode(path, mode)


def _check_mode(path: PurePath, mode: int) -> None:
  if not stat.S_ISREG(mode):
    raise NotRegular(path, _KINDS.get(stat.S_IFMT(mode), "something else"))
