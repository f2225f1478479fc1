"""Files of this machine in the place of objects of a workdir's: for libraries that read files alone, shards above all.

    CACHE/objects/<hash>         an object, by its path and version: another version is another file
    CACHE/objects/<hash>.d/      the objects of a folder
    CACHE/making/                what processes of this machine are writing before it is put; of the dead, the next one removes it

CACHE is `$SYNTHJAX_DATA`, or ~/.cache/synthjax/data, and `$SYNTHJAX_DATA_GB` limits its objects: those that were used longest
ago go. A file that goes while it is read stays readable. Processes of a machine share all of it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import time
from pathlib import Path

from etils import epath

from synthjax.disk import bucket, drafts, fetched, objects
from synthjax.disk.bucket import BucketPath, Entry, StoreFault
from synthjax.runtime.errors import UserError

_TRIES = 3
_GB = 1e9
_IN_USE = 24 * 3600.0  # seconds since a folder was last used, in which it stays


def local(path: BucketPath) -> Path:
  """A file with the contents that the object has now."""
  found = bucket.entry(path)
  if found is None:
    raise FileNotFoundError(str(path))
  return _local(path, found)


def _local(path: BucketPath, found: Entry) -> Path:
  file = _file(path, found)
  if _is_whole(file, found):
    return file
  file.parent.mkdir(parents=True, exist_ok=True)
  with open(file.with_name(".lock-" + file.name[:2]), "w") as lock:  # of two processes, one fetches
    fcntl.flock(lock, fcntl.LOCK_EX)
    if not _is_whole(file, found):
      _make_room(path, found.size, file.parent)
      return _fetch(path, found)
  return file


def local_folder(path: BucketPath) -> Path:
  """A folder with the files that lie below the path now."""
  found = bucket.below(path)
  if not found:
    raise FileNotFoundError(str(path))
  versions = "\n".join(f"{name}\t{found[name].version}" for name in sorted(found))
  folder = _folder() / f"{_hash(path, versions)}.d"
  if _is_used(folder):
    return folder
  draft = drafts.draft_of(making() / folder.name)
  for name in sorted(found):
    (draft / name).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(_local(path / name, found[name]), draft / name)
  folder.parent.mkdir(parents=True, exist_ok=True)
  try:
    draft.rename(folder)
  except OSError:  # another process was quicker
    shutil.rmtree(draft, ignore_errors=True)
  return folder


def adopt(path: BucketPath, made: Path, version: bucket.Version) -> None:
  """A file that was just put: it need not be fetched again. It is gone from where it was."""
  file = _file(path, Entry(0, 0.0, version))
  try:
    file.parent.mkdir(parents=True, exist_ok=True)
    _make_room(path, made.stat().st_size, file.parent)
    made.rename(file)
  except (OSError, UserError):  # no room is no fault here
    made.unlink(missing_ok=True)


def making() -> Path:
  """The folder for what is written here before it is put, without what the dead left in it."""
  folder = fetched.cache_folder() / "making"
  folder.mkdir(parents=True, exist_ok=True)
  drafts.sweep_drafts(epath.Path(folder), time.time() - _IN_USE)
  return folder


def sweep() -> None:
  """Removes what processes of this machine that have ended were fetching."""
  drafts.sweep_drafts(epath.Path(_folder()), time.time() - _IN_USE)


def _fetch(path: BucketPath, found: Entry) -> Path:
  import obstore

  for left in reversed(range(_TRIES)):
    draft = drafts.draft_of(_file(path, found))
    try:
      got = bucket.requested("get", path, lambda store, key: obstore.get(store, key))
      found = bucket.entry_of(got.meta)  # it may have been replaced since it was listed
      objects.save(got, draft)
      if (size := draft.stat().st_size) != found.size:
        raise StoreFault(path, f"{size:,} of {found.size:,} bytes came")
      draft.replace(file := _file(path, found))
      return file
    except (FileNotFoundError, UserError):
      if not left:
        raise
    except Exception as e:  # the connection broke in the middle of the object
      if not left:
        raise StoreFault(path, str(e)) from e
    finally:
      draft.unlink(missing_ok=True)
  raise AssertionError


def _is_whole(file: Path, found: Entry) -> bool:
  """A loss of power leaves files without their contents."""
  return _is_used(file) and file.stat().st_size == found.size


def _is_used(path: Path) -> bool:
  """Whether it is there; it stays for some time then."""
  try:
    os.utime(path)
  except FileNotFoundError:
    return False
  return True


def _folder() -> Path:
  return fetched.cache_folder() / "objects"


def _file(path: BucketPath, found: Entry) -> Path:
  return _folder() / _hash(path, str(found.version))


def _hash(path: BucketPath, version: str) -> str:
  return hashlib.sha256(f"{path}\0{version}".encode()).hexdigest()[:32]


def _make_room(path: BucketPath, need: int, folder: Path) -> None:
  limit = fetched.limit()
  if limit == float("inf") and need <= shutil.disk_usage(folder).free:
    return
  held = []
  for file in folder.iterdir():
    with contextlib.suppress(FileNotFoundError):
      about = file.stat()
      if file.is_dir() and about.st_mtime < time.time() - _IN_USE:
        shutil.rmtree(file, ignore_errors=True)
      elif file.is_file() and file.name[0] != ".":
        held.append((about.st_mtime, about.st_size, file))
  used = sum(size for _, size, _ in held)

  def room() -> float:
    return min(limit - used, shutil.disk_usage(folder).free)

  for _, size, file in sorted(held):
    if need <= room():
      return
    file.unlink(missing_ok=True)
    used -= size
  if need > room():
    raise UserError(
      f"{path}: {need / _GB:.3g} GB are to be held in {folder}, which has room for {max(room(), 0) / _GB:.3g} GB; raise "
      "SYNTHJAX_DATA_GB, free some room, or name a larger disk's folder, SYNTHJAX_DATA"
    )
