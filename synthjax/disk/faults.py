"""What a disk, or a limit of the process, may do at any moment: made a line of, whichever library met it."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator

from etils import epath

from synthjax.runtime import errors
from synthjax.runtime.errors import UserError

# What a disk, or a limit of the process, may answer at any moment, and what to do about it.
_FAULTS = {
  errno.ENOSPC: "free some room, or some inodes (df, df -i)",
  errno.EDQUOT: "free some room, or have the quota raised",
  errno.EFBIG: "raise the limit on the size of a file (ulimit -f)",
  errno.EMFILE: "raise the limit on open files (ulimit -n)",
  errno.ENFILE: "the machine has too many open files: end some of its processes",
  errno.EIO: "check the disk (dmesg)",
  errno.EROFS: "give a --workdir that can be written, or mount it so",
  errno.EACCES: "let this user write there",
  errno.ESTALE: "mount the disk again",
}


def disk_fault(error: BaseException) -> str:
  """What a disk or a limit did, in a line, where that is behind an error; "" where it is not.

  Orbax, ArrayRecord, safetensors and others raise exceptions of their own, in many lines, with the system's words inside.
  """
  for seen in errors.chain(error):
    text = " ".join(str(seen).split())
    for number, advice in _FAULTS.items():
      if (isinstance(seen, OSError) and seen.errno == number) or os.strerror(number) in text:
        found = re.search(r"""(?<![\w.])/[^\s'":,;()\[\]]+""", text)
        where = (isinstance(seen, OSError) and seen.filename) or (found and found[0]) or "input/output"
        return f"{where}: {os.strerror(number)}; {advice}, and run the same command again to go on"
  return ""


@contextlib.contextmanager
def faults_of_disk(name: str) -> Iterator[None]:
  """Makes a line of what a disk does to work on a product, whichever library it was that met it."""
  try:
    yield
  except UserError:
    raise
  except Exception as e:
    if fault := disk_fault(e):
      raise UserError(f"{name}: {fault}") from e
    raise


def no_room(error: BaseException, path: epath.Path) -> UserError | None:
  """The line for a disk that filled up (or a quota that ran out), or None where that was not it."""
  full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
  if full or any(text in str(error) for text in (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT))):
    return UserError(
      f"the disk of {path} is full; free some room and run the same command again: finished shards are kept"
    )
  return None


@contextlib.contextmanager
def needing_room(path: epath.Path) -> Iterator[None]:
  """Around writing: a full disk becomes a line, and whatever else is raised stays what it is."""
  try:
    yield
  except Exception as e:
    if full := no_room(e, path):
      raise full from e
    raise
