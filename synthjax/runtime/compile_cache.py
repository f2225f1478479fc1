"""The folder of compiled programs that processes share, and its incomplete entries.

jax writes an entry in place and never replaces one: what a killed writer leaves would be warned of, and compiled anew, by
every process from then on. So a start removes the incomplete ones. A process that has one open loses nothing but the entry.
"""

from __future__ import annotations

import contextlib
import os
import time
import zlib
from pathlib import Path
from typing import BinaryIO

_ENTRIES = "*-cache"
_CHECKED = ".checked"  # entries that are older than it were whole
_WRITING = 60.0  # seconds: a younger entry may still be in the writing
_PART = 2**20  # bytes
_ZSTANDARD = b"\x28\xb5\x2f\xfd"


def remove_incomplete(folder: Path) -> list[Path]:
  """Those that were written since the last check. A folder that cannot be written is left alone."""
  removed, stamp, now = [], folder / _CHECKED, time.time()
  with contextlib.suppress(OSError):
    since = stamp.stat().st_mtime if stamp.exists() else 0.0
    for entry in folder.glob(_ENTRIES):
      with contextlib.suppress(OSError):  # another process removes it too
        if since <= entry.stat().st_mtime <= now - _WRITING and not is_complete(entry):
          entry.unlink()
          removed.append(entry)
    stamp.touch()
    os.utime(stamp, (now - _WRITING, now - _WRITING))
  return removed


def is_complete(entry: Path) -> bool:
  """Whether its compressed stream has its end; of one by Zstandard, only the headers of blocks are read."""
  with entry.open("rb") as file:
    if file.read(4) == _ZSTANDARD:
      return _has_last_block(file, entry.stat().st_size)
    file.seek(0)
    stream = zlib.decompressobj()
    with contextlib.suppress(zlib.error):
      while part := file.read(_PART):
        stream.decompress(part)
    return stream.eof


def _has_last_block(file: BinaryIO, size: int) -> bool:
  """A frame (RFC 8878): a header, blocks whose headers say how long they are and which is the last, perhaps a checksum."""
  descriptor = int.from_bytes(file.read(1), "little")
  content, single, checksum, dictionary = (
    descriptor >> 6,
    descriptor >> 5 & 1,
    descriptor >> 2 & 1,
    descriptor & 3,
  )
  file.seek((0, 1, 2, 4)[dictionary] + (0 if single else 1) + (single, 2, 4, 8)[content], os.SEEK_CUR)
  while len(header := file.read(3)) == 3:
    block = int.from_bytes(header, "little")
    end = file.seek(1 if block >> 1 & 3 == 1 else block >> 3, os.SEEK_CUR)  # type 1: one byte, repeated
    if block & 1:
      return end + 4 * checksum == size
    if end >= size:
      return False
  return False
