"""The folder of an export: absent or empty, or made by an export with the same settings. Nothing else is ever replaced.

`export.json` in it says what it was made from, with a digest of the files: one that was added or changed since is
somebody's work, and stops the replacement. The new folder is made beside the old one, which is moved aside for it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from etils import epath

from synthjax.disk import documents, drafts, faults, workdir
from synthjax.disk.bucket import BucketPath
from synthjax.runtime.errors import UserError
from synthjax.store import records

RECORD = "export.json"
DEFAULT = "exports"  # in the workdir
_FILES = "files"  # the digest
_GROWS = ("n", "ids")  # with the set; every other field is a setting
_TAKEN = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT)  # another process has put its own there
_TRIES = 20
Answer = TypeVar("Answer")


def locate(out: str, root: epath.Path, default: str) -> epath.Path:
  """The folder meant by `config.export.out`: where a link leads, that is what is looked at and replaced."""
  if "://" in out:
    raise UserError(f"config.export.out {out}: object stores are not supported yet; give a folder")
  if not out and isinstance(root, BucketPath):
    raise UserError(f"config.export.out: the workdir {root} is in a bucket; name a folder of this machine")
  try:
    found = Path(out).expanduser() if out else Path(root) / DEFAULT / default
    return epath.Path(found.resolve())  # epath's own follows no links
  except (OSError, RuntimeError) as e:
    raise UserError(f"config.export.out {out} cannot be followed ({e}); give another folder") from None


def sweep(out: epath.Path) -> None:
  """Removes drafts that exports to this folder left when they were killed."""
  with contextlib.suppress(OSError):  # where nobody may write, nothing of ours can lie
    found = [draft for draft in drafts.drafts(out.parent, of=out.name) if draft.is_dir()]
    for draft in found:
      drafts.sweep_draft(draft, workdir.now(out.parent))


def is_made(out: epath.Path, wanted: Mapping[str, Any]) -> bool:
  """True: it is this very export. False: there is room for it. An error, where somebody else's things lie there."""
  return _while_it_stays(out, lambda: _is_made(out, wanted))


def _is_made(out: epath.Path, wanted: Mapping[str, Any]) -> bool:
  if not out.exists():
    return False
  if not out.is_dir():
    raise UserError(f"config.export.out {out} is a file; give another folder")
  if not workdir.names(out):
    return False
  found = _record(out)
  for field in (name for name in wanted if name not in _GROWS):
    then = found.get(field, wanted[field])  # an older release wrote fewer fields
    if then != wanted[field]:
      which = "" if field in ("set", "keep") else f" ({then!r}, not {wanted[field]!r})"  # those are hashes
      raise UserError(
        f"config.export.out {out} holds another export, whose {field} is another one{which}; give another folder, "
        "or remove this one"
      )
  return all(found[field] == wanted[field] for field in _GROWS)


def is_changed(out: epath.Path) -> bool:
  """Whether it is known to hold something else than what was exported; of an older release's, nothing is known."""

  def look() -> bool:
    found = _record(out).get(_FILES)
    return found is not None and found != _digest(out)

  return _while_it_stays(out, look)


def begin(out: epath.Path, root: epath.Path) -> epath.Path:
  """A draft beside the folder, to be filled; refused where no export may be."""
  home = root if isinstance(root, BucketPath) else epath.Path(Path(root).resolve())
  if out == home or (home in out.parents and home / DEFAULT not in out.parents):
    raise UserError(
      f"config.export.out {out} is among the products of the workdir; give a folder outside of it, or leave "
      f"it empty for {root / DEFAULT}"
    )
  _check_replaceable(out)
  draft = drafts.draft_of(out)
  try:
    draft.mkdir(parents=True)
  except OSError as e:
    raise faults.no_room(e, out) or UserError(
      f"config.export.out {out} cannot be made: {e.strerror or e}; give another folder"
    ) from None
  return draft


def publish(draft: epath.Path, out: epath.Path, made_from: Mapping[str, Any]) -> None:
  """Gives a filled draft its place, after a second look at it; where another process was quicker, its export stays."""
  (draft / RECORD).write_bytes(workdir.to_json({**made_from, _FILES: _digest(draft)}))
  for left in reversed(range(_TRIES)):
    if is_made(out, made_from):
      return
    _check_replaceable(out)
    try:
      return workdir.replace_folder(draft, out)
    except OSError as e:
      if e.errno not in _TAKEN or not left:
        raise UserError(f"config.export.out {out} cannot be replaced ({e}); give another folder") from e


def _while_it_stays(out: epath.Path, look: Callable[[], Answer]) -> Answer:
  """What a look at the folder finds, and anew where another process has put a new one there meanwhile."""
  for left in reversed(range(_TRIES)):
    before = _which(out)
    try:
      return look()
    except (OSError, UserError):
      if before == _which(out) or not left:
        raise
  raise AssertionError


def _which(folder: epath.Path) -> tuple[int, int] | None:
  try:
    found = os.stat(folder)
  except OSError:
    return None
  return found.st_dev, found.st_ino


def _check_replaceable(out: epath.Path) -> None:
  _while_it_stays(out, lambda: _check_as_it_is(out))


def _check_as_it_is(out: epath.Path) -> None:
  if not out.exists() or not workdir.names(out) or _record(out).get(_FILES) == _digest(out):
    return
  raise UserError(
    f"config.export.out {out} holds an older export, and files may have been added or changed since; give another "
    "folder, or remove this one"
  )


def _record(out: epath.Path) -> dict[str, Any]:
  try:
    found = documents.read_json(Path(out / RECORD), "")
  except UserError:
    found = None
  if not isinstance(found, dict) or not {"images", "format", "set", *_GROWS} <= found.keys():
    raise UserError(f"config.export.out {out} holds something that is no export of ours; give another folder")
  return found


def _digest(folder: epath.Path) -> str:
  """Of the names and sizes of all files but the record, and of the data card's text, which people edit."""
  rows = []
  for place, folders, files in os.walk(folder):
    links = [name for name in folders if os.path.islink(os.path.join(place, name))]
    for path in (os.path.join(place, name) for name in files + links):
      rows.append([os.path.relpath(path, folder), os.lstat(path).st_size])
  card = folder / "README.md"
  text = hashlib.sha256(card.read_bytes()).hexdigest() if card.is_file() else ""
  return records.digest([sorted(row for row in rows if row[0] != RECORD), text])
