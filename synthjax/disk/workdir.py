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
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from pathlib import PurePath
from typing import Any, TypeVar

from etils import epath

from synthjax.disk import documents
from synthjax.runtime import errors, processes
from synthjax.runtime.errors import UserError

Stamp = tuple[int, int, int]
_NO_HARD_LINKS = (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK)
AnyPath = TypeVar("AnyPath", bound=PurePath)
_DRAFT = re.compile(r"\.(?P<final>.+)\.(?P<tag>[0-9a-f]{32})", re.DOTALL)
_ASIDE = "~"  # ends the name of what is moved aside while another takes its place
_UNHEARD_OF = (
  3600.0  # seconds without a new byte, after which a folder of another machine's process is a dead one's
)
PROBE = "probe"  # a file of this name never comes about
WORKING = ".working"  # claims, heartbeats and files being written, inside a product's folder


def open_workdir(path: str) -> epath.Path:
  """The folder of a study, made if need be."""
  if "://" in path:
    raise UserError(f"workdir {path}: object stores are not supported yet; mount it, or use a shared disk")
  workdir = epath.Path(path).expanduser()
  if workdir.exists() and not workdir.is_dir():
    raise UserError(f"workdir {path} is a file; give a folder as --workdir")
  probe = draft_of(workdir / PROBE)
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
  folder = epath.Path(path).expanduser()
  made = [] if "://" in path else [p for p in (folder, *folder.parents) if not p.exists()]
  root = open_workdir(path)
  try:
    yield root
  finally:
    for new in made:  # from the innermost
      remove_empty(new)


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


def sync(path: epath.Path) -> None:
  """Waits until a file's bytes, or a folder's names, are on the disk."""
  handle = os.open(path, os.O_RDONLY)
  try:
    os.fsync(handle)
  except OSError as e:
    raise OSError(e.errno, e.strerror, str(path)) from e  # which the system does not say
  finally:
    os.close(handle)


def publish(made: epath.Path, final: epath.Path) -> bool:
  """Gives a closed file its final name; False, and the file is gone, where that name is already taken."""
  try:
    with needing_room(final.parent):
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


def draft_of(final: AnyPath) -> AnyPath:
  """Where to make what shall get that name: beside it, and no other process's. All that is temporary is named here."""
  return final.with_name(f".{final.name}.{processes.tag()}")


def _nothing() -> None:
  pass


_check_again: ContextVar[Callable[[], None]] = ContextVar("check_again", default=_nothing)


@contextlib.contextmanager
def before_writing_again(check: Callable[[], None]) -> Iterator[None]:
  """Meanwhile whoever finds its draft swept, as that of the dead, checks whether what it writes is still its own."""
  token = _check_again.set(check)
  try:
    yield
  finally:
    _check_again.reset(token)


def drafts(folder: epath.Path, of: str = "", among: Iterable[str] | None = None) -> list[epath.Path]:
  """Those in a folder, or among names that were listed there: all, or those of a single name."""
  named = [(n, m) for n in (names(folder) if among is None else among) if (m := _DRAFT.fullmatch(n))]
  return [folder / name for name, match in named if of in ("", match["final"].removesuffix(_ASIDE))]


def sweep_drafts(
  folder: epath.Path, older_than: float, of: str = "", among: Iterable[str] | None = None
) -> None:
  """Removes what processes that have ended were making in a folder.

  Of one that ran on another machine, what nobody has touched since a time of the disk's clock.
  """
  for draft in drafts(folder, of, among):
    sweep_draft(draft, older_than)


def remove_drafts(folder: epath.Path, of: str) -> None:
  """Removes what a process that was taken for dead is making in a folder: it checks before it writes that again."""
  for draft in drafts(folder) if of else ():
    if draft.name.rsplit(".", 1)[1].startswith(of):
      _remove_draft(draft)


def sweep_draft(draft: epath.Path, older_than: float) -> None:
  if not _is_left(draft, older_than):
    return
  match = _DRAFT.fullmatch(draft.name)
  if match and match["final"].endswith(_ASIDE):  # a death came before the new folder had the name
    with contextlib.suppress(OSError):
      os.rename(draft, draft.with_name(match["final"].removesuffix(_ASIDE)))
      return
  _remove_draft(draft)


def _remove_draft(draft: epath.Path) -> None:
  if draft.is_dir() and not os.path.islink(draft):
    shutil.rmtree(draft, ignore_errors=True)  # another process may be sweeping too
  else:
    remove(draft)


def _is_left(draft: epath.Path, older_than: float) -> bool:
  match = _DRAFT.fullmatch(draft.name)
  assert match
  is_dead = processes.is_dead(match["tag"])
  if is_dead is not None:
    return is_dead
  if draft.is_dir() and not os.path.islink(draft):
    older_than -= _UNHEARD_OF  # libraries fill it at their own pace
  return _newest(draft) < older_than


def _newest(path: epath.Path) -> float:
  """When the newest of its files was written, or it itself."""
  inside = (os.path.join(place, name) for place, _, files in os.walk(path) for name in files)
  times = []
  for name in (path, *inside):
    with contextlib.suppress(FileNotFoundError):
      times.append(os.lstat(name).st_mtime)
  return max(times, default=0.0)


def now(folder: epath.Path) -> float:
  """By the clock of a folder's file system."""
  probe = draft_of(folder / PROBE)
  try:
    return touch(probe)
  finally:
    remove(probe)


def _write_apart(final: epath.Path, data: bytes) -> epath.Path:
  made = draft_of(final)
  try:
    with needing_room(final.parent):
      made.write_bytes(data)
  except BaseException:
    made.unlink(missing_ok=True)
    raise
  return made


def publish_bytes(final: epath.Path, data: bytes) -> bool:
  """A whole small file under a name that must be new; False where it is not."""
  while True:
    made = _write_apart(final, data)
    try:
      return publish(made, final)
    except FileNotFoundError:  # stopped for long, and its draft was swept as that of the dead
      if not final.parent.exists():
        raise
      _check_again.get()()


def replace_bytes(final: epath.Path, data: bytes, always: bool = False) -> None:
  """A whole small file in the place of the old one: for what is derived, and can be derived again.

  The old file stays where it says the same, unless `always`: then another process may still write to the old one.
  """
  if not always and final.exists() and final.read_bytes() == data:
    return
  made = _write_apart(final, data)
  try:
    with needing_room(final.parent):
      sync(made)
      os.replace(made, final)
  except FileNotFoundError:  # as above
    if not final.parent.exists():
      raise
    _check_again.get()()
    return replace_bytes(final, data, always)
  except BaseException:
    made.unlink(missing_ok=True)
    raise
  sync(final.parent)


def replace_folder(made: epath.Path, final: epath.Path) -> None:
  """Gives a whole folder its final name, in the place of an older one: for what can be derived again.

  The older one is moved aside, and goes last: at no moment are both gone.
  """
  older = draft_of(final.with_name(final.name + _ASIDE))
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
  try:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
  except FileExistsError:
    return False
  with os.fdopen(handle, "w") as file:
    file.write(text)
  return True


def names(folder: epath.Path, pattern: str = "*") -> list[str]:
  """Sorted names in a folder that may not exist yet."""
  try:
    return sorted(
      fnmatch.filter(os.listdir(folder), pattern)
    )  # not glob: the folder's own name may hold [ or *
  except FileNotFoundError:
    return []


def modified(path: epath.Path) -> float | None:
  """When a file was last touched, by the clock of its file system."""
  try:
    return os.stat(path).st_mtime
  except FileNotFoundError:
    return None


def stamp(path: epath.Path) -> Stamp | None:
  """Another one is another file, or one that was written further."""
  try:
    found = os.stat(path)
  except FileNotFoundError:
    return None
  return found.st_ino, found.st_mtime_ns, found.st_size


def touch(path: epath.Path) -> float:
  """Marks a file as fresh; returns the time by the clock of its file system, the one clock all hosts share."""
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


def to_json(value: Any) -> bytes:
  return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def read_json(path: epath.Path, what: str) -> Any:
  """A small file of ours. Only a foreign hand leaves it unreadable: we move whole files into place."""
  try:
    data = path.read_bytes()
  except FileNotFoundError:
    raise UserError(f"{what}: {path} is missing") from None
  return documents.parse_json(data, f"{what}: {path}", "remove it and run again")
