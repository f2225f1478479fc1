"""Files that several processes share and any of them may die over: the one place that lists, publishes and removes.

A file under its final name is whole: it was written under another name, closed, synced, and then moved there.
`publish` never replaces, so of two processes that made the same product the first one's stays.
"""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import json
import os
import shutil
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any

from etils import epath

from synthjax.disk import bucket, cached, documents, drafts, faults, in_bucket, objects
from synthjax.disk.bucket import BucketPath
from synthjax.runtime.errors import UserError

Stamp = Hashable
_NO_HARD_LINKS = (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK)
PROBE = "probe"  # a file of this name never comes about
WORKING = ".working"  # claims, heartbeats and files being written, inside a product's folder


def path_of(text: str) -> epath.Path:
  """A folder of this machine, or of a bucket that is a workdir of this process's."""
  if not objects.is_url(text):
    return epath.Path(text).expanduser()
  path = BucketPath(text)
  bucket.set_root(path)
  return path


def open_workdir(path: str) -> epath.Path:
  """The folder of a study, made if need be."""
  if objects.is_url(path):
    return in_bucket.open_root(path, PROBE)
  if "://" in path:
    raise UserError(f"workdir {path}: give a folder, or a URL that begins with {', '.join(objects.SCHEMES)}")
  workdir = epath.Path(path).expanduser()
  if workdir.exists() and not workdir.is_dir():
    raise UserError(f"workdir {path} is a file; give a folder as --workdir")
  probe = drafts.draft_of(workdir / PROBE)
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    probe.write_text("")
    probe.unlink()
  except OSError as e:
    raise UserError(f"workdir {path} cannot be written: {e.strerror or e}; give another --workdir") from e
  return workdir


@contextlib.contextmanager
def opened(path: str) -> Iterator[epath.Path]:
  """The folder of a study, which is gone again where nothing was written: after --plan, or a mistake found early."""
  folder = Path(path).expanduser()
  made = [] if "://" in path else [p for p in (folder, *folder.parents) if not p.exists()]
  root = open_workdir(path)
  try:
    yield root
  finally:
    for new in made:  # from the innermost
      remove_empty(epath.Path(new))


def sync(path: epath.Path) -> None:
  """Waits until a file's bytes, or a folder's names, are on the disk."""
  if isinstance(path, BucketPath):
    return
  handle = os.open(path, os.O_RDONLY)
  try:
    os.fsync(handle)
  except OSError as e:
    raise OSError(e.errno, e.strerror, str(path)) from e  # which the system does not say
  finally:
    os.close(handle)


def publish(made: epath.Path, final: epath.Path) -> bool:
  """Gives a closed file its final name; False, and the file is gone, where that name is already taken."""
  if isinstance(final, BucketPath):
    return in_bucket.publish(made, final)
  try:
    with faults.needing_room(final.parent):
      sync(made)
      os.link(made, final)
  except FileExistsError:
    return False
  except OSError as e:
    if e.errno not in _NO_HARD_LINKS:
      raise
    # The look and the rename are two steps here: of two processes in the same moment, the later one's file stays.
    if final.exists():
      return False
    os.rename(made, final)
  finally:
    made.unlink(missing_ok=True)
    sync(final.parent)
  return True


def now(folder: epath.Path) -> float:
  """By the clock of a folder's file system."""
  probe = drafts.draft_of(folder / PROBE)
  try:
    return touch(probe)
  finally:
    remove(probe)


def _write_apart(final: epath.Path, data: bytes) -> epath.Path:
  made = drafts.draft_of(final)
  try:
    with faults.needing_room(final.parent):
      made.write_bytes(data)
  except BaseException:
    made.unlink(missing_ok=True)
    raise
  return made


def publish_bytes(final: epath.Path, data: bytes) -> bool:
  """A whole small file under a name that must be new; False where it is not."""
  if isinstance(final, BucketPath):
    return in_bucket.publish_bytes(final, data)
  while True:
    made = _write_apart(final, data)
    try:
      return publish(made, final)
    except FileNotFoundError:  # stopped for long, and its draft was swept as that of the dead
      if not final.parent.exists():
        raise
      drafts.check_again()


def replace_bytes(final: epath.Path, data: bytes, always: bool = False) -> None:
  """A whole small file in the place of the old one: for what is derived, and can be derived again.

  The old file stays where it says the same, unless `always`: then another process may still write to the old one.
  """
  if isinstance(final, BucketPath):
    return in_bucket.replace_bytes(final, data, always)
  if not always and final.exists() and final.read_bytes() == data:
    return
  made = _write_apart(final, data)
  try:
    with faults.needing_room(final.parent):
      sync(made)
      os.replace(made, final)
  except FileNotFoundError:  # as above
    if not final.parent.exists():
      raise
    drafts.check_again()
    return replace_bytes(final, data, always)
  except BaseException:
    made.unlink(missing_ok=True)
    raise
  sync(final.parent)


def replace_folder(made: epath.Path, final: epath.Path) -> None:
  """Gives a whole folder its final name, in the place of an older one: for what can be derived again.

  The older one is moved aside, and goes last: at no moment are both gone.
  """
  if isinstance(final, BucketPath):
    return in_bucket.replace_folder(Path(made), final)
  older = drafts.draft_of(final.with_name(final.name + drafts.ASIDE))
  with contextlib.suppress(FileNotFoundError):
    os.rename(final, older)
  try:
    os.rename(made, final)
  except BaseException:
    with contextlib.suppress(OSError):  # another process may have put its own there meanwhile
      os.rename(older, final)
    raise
  finally:
    if final.exists():
      shutil.rmtree(older, ignore_errors=True)
  sync(final.parent)


def create_exclusive(path: epath.Path, text: str) -> bool:
  """Takes a name: of all processes that try, one succeeds. The text may be read half-written."""
  if isinstance(path, BucketPath):
    return in_bucket.create_exclusive(path, text)
  try:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
  except FileExistsError:
    return False
  with os.fdopen(handle, "w") as file:
    file.write(text)
  return True


def names(folder: epath.Path, pattern: str = "*") -> list[str]:
  """Sorted names in a folder that may not exist yet."""
  found = bucket.names(folder) if isinstance(folder, BucketPath) else drafts.names(folder)
  return fnmatch.filter(found, pattern)  # not glob: the folder's own name may hold [ or *


def modified(path: epath.Path) -> float | None:
  """When a file was last touched, by the clock of its file system."""
  if isinstance(path, BucketPath):
    return in_bucket.modified(path)
  try:
    return os.stat(path).st_mtime
  except FileNotFoundError:
    return None


def stamp(path: epath.Path) -> Stamp | None:
  """Another one is another file, or one that was written further."""
  if isinstance(path, BucketPath):
    return bucket.entry(path)
  try:
    found = os.stat(path)
  except FileNotFoundError:
    return None
  return found.st_ino, found.st_mtime_ns, found.st_size


def touch(path: epath.Path) -> float:
  """Marks a file as fresh; returns the time by the clock of its file system, the one clock all hosts share."""
  if isinstance(path, BucketPath):
    return in_bucket.touch(path)
  path.touch()
  os.utime(path)
  return os.stat(path).st_mtime


def remove(path: epath.Path) -> None:
  path.unlink(missing_ok=True)


def remove_empty(folder: epath.Path) -> None:
  """Removes a folder if nothing is in it; another process may be quicker, or still at work in it."""
  try:
    os.rmdir(folder)
  except OSError:
    return


def remove_folder(folder: epath.Path) -> None:
  """With all that is in it; another process may be removing it too."""
  if isinstance(folder, BucketPath):
    bucket.remove_folder(folder)
  else:
    shutil.rmtree(folder, ignore_errors=True)


def is_file(path: epath.Path) -> bool:
  """One request in a bucket, where `exists` looks for a folder too."""
  return path.is_file() if isinstance(path, BucketPath) else os.path.exists(path)


def size(path: epath.Path) -> int:
  """In bytes; FileNotFoundError where it is not there."""
  return path.stat().length if isinstance(path, BucketPath) else os.stat(path).st_size


def local_file(path: epath.Path) -> Path:
  """For libraries that read files alone."""
  return cached.local(path) if isinstance(path, BucketPath) else Path(path)


def local_folder(path: epath.Path) -> Path:
  """Likewise. FileNotFoundError where nothing is in a bucket's."""
  return cached.local_folder(path) if isinstance(path, BucketPath) else Path(path)


def making(folder: epath.Path) -> epath.Path:
  """Where to make what is published in a folder then: beside it, or on this machine."""
  return epath.Path(cached.making()) if isinstance(folder, BucketPath) else folder


def walk(folder: epath.Path) -> Iterator[tuple[epath.Path, list[str], list[str]]]:
  """Like `os.walk`: who shortens the folders' names keeps out of these."""
  if isinstance(folder, BucketPath):
    yield from folder.walk()
  else:
    yield from ((epath.Path(place), folders, names) for place, folders, names in os.walk(folder))


def to_json(value: Any) -> bytes:
  return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def read_json(path: epath.Path, what: str) -> Any:
  """A small file of ours. Only a foreign hand leaves it unreadable: we move whole files into place."""
  try:
    data = path.read_bytes()
  except FileNotFoundError:
    raise UserError(f"{what}: {path} is missing") from None
  return documents.parse_json(data, f"{what}: {path}", "remove it and run again")
