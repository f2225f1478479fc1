"""A folder of studies: what claims and publications rely on, how fast it is, and how much room there is.

Every probe takes a folder of its own within it, which the caller removes.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable

from etils import epath

from synthjax.disk import cached, fetched, workdir
from synthjax.disk.bucket import BucketPath
from synthjax.doctor.finding import Finding, gigabytes, span
from synthjax.doctor.second import NAMES, Create, Second, race

_LISTED, _AT_ONCE, _LIMIT = 5, 1.0, 30.0  # files each way, seconds that count as at once, and at most
_SKEW = 60.0  # seconds
_LEAST_BYTES, _LEAST_INODES = 10e9, 100_000
_BYTES, _BLOCK, _LEAST_RATE = 64 * 2**20, 2**20, 20e6
_FILES, _SLOW = 100, 0.1  # small ones; seconds for one
_LEAD = 0.02  # seconds until a race begins: both have read of it


def exclusive_creation(folder: epath.Path, create: Create = workdir.create_exclusive) -> Finding:
  """Claims are made so: of two processes that create a name, exactly one may succeed."""
  name = "exclusive"
  with Second(folder) as other:
    other.ask("take", "taken")
    twice = create(folder / "taken", "")
    other.tell("race", at := time.monotonic() + _LEAD)
    own, others = race(folder, at, create), other.answer()
  both, nobody = {*own} & {*others}, {*range(NAMES)} - {*own, *others}
  if twice or both or nobody:
    wrong = f"of {NAMES} names that 2 processes created, {len(both)} had two winners and {len(nobody)} none"
    if twice:
      wrong = f"a file that was there was created once more; {wrong}".replace(";", ",")
    return Finding(name, wrong, _NOT_FIT, essential=True)
  return Finding(name, f"{NAMES} names, 2 processes: one winner each ({len(own)} and {len(others)})")


_NOT_FIT = "processes cannot share this folder: use a file system that honours O_EXCL (NFS from version 3 on, Lustre, a local disk), or a store that honours conditional puts"


def listings(folder: epath.Path) -> Finding:
  """A file that one process has published is seen by the other, in both directions."""
  name, slowest = "listings", 0.0
  with Second(folder) as other:
    for number in range(_LISTED):
      for own in (True, False):
        file = f"listed-{number}-{own:d}"
        workdir.names(folder)
        (folder / file).exists()  # what a cache would remember
        if own:
          workdir.publish_bytes(folder / file, b"published")
          seconds = other.ask("await", file, _LIMIT)
        else:
          began = time.monotonic()
          other.ask("publish", file)
          there = file in workdir.names(folder)
          seconds = 0.0 if there else _until(lambda f=file: f in workdir.names(folder), began)
        if seconds is None:
          fix = "mount it with a shorter cache of attributes (NFS: actimeo=1)"
          return Finding(name, f"a file was not seen by another process for {_LIMIT:g} s", fix, True)
        slowest = max(slowest, seconds)
  figure = f"{2 * _LISTED} files, each seen by the other process after {span(slowest)} at most"
  if slowest > _AT_ONCE:
    return Finding(name, figure, "mount it with a shorter cache of attributes (NFS: actimeo=1)")
  return Finding(name, figure)


def _until(holds: Callable[[], bool], began: float) -> float | None:
  while not holds():
    if time.monotonic() - began > _LIMIT:
      return None
    time.sleep(0.01)
  return time.monotonic() - began


def clock(folder: epath.Path) -> Finding:
  """Studies go by the disk's clock alone; a host that is far off misreads certificates and logs."""
  before = time.time()
  disk = workdir.now(folder)
  after = time.time()
  skew = 0.0 if before <= disk <= after else min(disk - before, disk - after, key=abs)
  figure = f"the disk's is {abs(skew):.2f} s {'ahead of' if skew > 0 else 'behind'} this host's"
  if abs(skew) > _SKEW:
    return Finding("clock", figure, "synchronise the clocks (NTP)")
  return Finding("clock", figure)


def room(folder: epath.Path) -> Finding:
  """Of a bucket, which has no end: of the cache on this machine."""
  in_cache = isinstance(folder, BucketPath)
  found = os.statvfs(cached.making() if in_cache else folder)
  free, inodes = found.f_bavail * found.f_frsize, found.f_favail
  counted = found.f_files > 0  # btrfs and others have no table of inodes
  figure = f"{gigabytes(free)} free" + (f", {inodes:,} inodes" if counted else "")
  figure += f" in {fetched.cache_folder()}, where the bucket's shards are read" if in_cache else ""
  if free < _LEAST_BYTES or (counted and inodes < _LEAST_INODES):
    return Finding("room", figure, "free some room, or some inodes, before a large study")
  return Finding("room", figure)


def rates(folder: epath.Path) -> Finding:
  """Bytes a second written until they are on the disk, and read again, past the page cache where the system does so."""
  file, block = folder / "rate", os.urandom(_BLOCK)
  if isinstance(file, BucketPath):
    return _rates_of_bucket(file)
  try:
    began = time.monotonic()
    with open(file, "wb") as out:
      for _ in range(_BYTES // _BLOCK):
        out.write(block)
      out.flush()
      os.fsync(out.fileno())
    written = _BYTES / (time.monotonic() - began)
    with open(file, "rb", buffering=0) as stream:
      with contextlib.suppress(OSError, AttributeError):
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
      began = time.monotonic()
      while stream.read(_BLOCK):
        pass
      read = _BYTES / (time.monotonic() - began)
  finally:
    workdir.remove(file)
  return _rated(f"{written / 1e6:,.0f} MB/s written with fsync", written, read, "disk")


def _rates_of_bucket(path: BucketPath) -> Finding:
  began = time.monotonic()
  path.write_bytes(os.urandom(_BYTES))
  written = _BYTES / (time.monotonic() - began)
  began = time.monotonic()
  path.read_bytes()
  return _rated(f"{written / 1e6:,.0f} MB/s put", written, _BYTES / (time.monotonic() - began), "bucket")


def _rated(said: str, written: float, read: float, what: str) -> Finding:
  figure = f"{said}, {read / 1e6:,.0f} MB/s read ({_BYTES >> 20} MB)"
  if min(written, read) < _LEAST_RATE:
    return Finding("rate", figure, f"devices may wait for this {what}: use a faster one for a large study")
  return Finding("rate", figure)


def publications(folder: epath.Path) -> Finding:
  """Small files, each written under another name, synchronised and linked."""
  began = time.monotonic()
  for number in range(_FILES):
    workdir.publish_bytes(folder / f"small-{number}", b"0" * 100)
  each = (time.monotonic() - began) / _FILES
  figure = f"{_FILES} small files in {span(each * _FILES)}, {span(each)} each"
  if each > _SLOW:
    return Finding("publishing", figure, "set config.runtime.heartbeat_seconds to 15, stale_seconds to 120")
  return Finding("publishing", figure)
