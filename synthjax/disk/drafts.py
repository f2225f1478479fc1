"""Files and folders in the making, under names of their own, and what processes that have ended left of them."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from pathlib import PurePath
from typing import TypeVar

from etils import epath

from synthjax.runtime import processes

AnyPath = TypeVar("AnyPath", bound=PurePath)
_DRAFT = re.compile(r"\.(?P<final>.+)\.(?P<tag>[0-9a-f]{32})", re.DOTALL)
ASIDE = "~"  # ends the name of what is moved aside while another takes its place
_UNHEARD_OF = (
  3600.0  # seconds without a new byte, after which a folder of another machine's process is a dead one's
)


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


def check_again() -> None:
  _check_again.get()()


def is_draft(name: str) -> bool:
  return _DRAFT.fullmatch(name) is not None


def drafts(folder: epath.Path, of: str = "", among: Iterable[str] | None = None) -> list[epath.Path]:
  """Those in a folder, or among names that were listed there: all, or those of a single name."""
  named = [(n, m) for n in (names(folder) if among is None else among) if (m := _DRAFT.fullmatch(n))]
  return [folder / name for name, match in named if of in ("", match["final"].removesuffix(ASIDE))]


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
  if match and match["final"].endswith(ASIDE):  # a death came before the new folder had the name
    with contextlib.suppress(OSError):
      os.rename(draft, draft.with_name(match["final"].removesuffix(ASIDE)))
      return
  _remove_draft(draft)


def _remove_draft(draft: epath.Path) -> None:
  if draft.is_dir() and not os.path.islink(draft):
    shutil.rmtree(draft, ignore_errors=True)  # another process may be sweeping too
  else:
    draft.unlink(missing_ok=True)


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


def names(folder: epath.Path) -> list[str]:
  """In a folder of a disk, sorted; none where it is not there, or in a bucket."""
  try:
    return sorted(os.listdir(folder))
  except FileNotFoundError:
    return []
