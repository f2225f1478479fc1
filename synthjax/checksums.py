"""Checksums of a product's small files, so that a byte that has changed since is noticed when the file is read.

    <folder>/.checksums/<name>.<sha256>     an empty file: <folder>/<name> may have these contents

A checksum is written before its file is published, so no death leaves a file without one, and is never replaced, so
two processes that publish the same name cannot take each other's away. A file that has no checksum at all was made by
an older release: nothing is known of it, and it is not called damaged.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

from etils import epath

from synthjax import workdir
from synthjax.errors import UserError

FOLDER = ".checksums"
_BLOCK = 1 << 22
_KEPT = 8  # of a file that is replaced time and again, the newest so many


def publish(final: epath.Path, data: bytes) -> bool:
  """`workdir.publish_bytes`, covered."""
  _cover(final, data)
  return workdir.publish_bytes(final, data)


def replace(final: epath.Path, data: bytes) -> None:
  """`workdir.replace_bytes`, covered."""
  _cover(final, data)
  workdir.replace_bytes(final, data)
  older = [path for path in _marks(final) if path.name != _mark(final, data).name]
  for path in sorted(older, key=lambda path: workdir.modified(path) or 0)[: 1 - _KEPT]:
    workdir.remove(path)


def forget(path: epath.Path) -> None:
  """Removes a file on purpose, so that nobody misses it."""
  workdir.remove(path)
  for mark in _marks(path):
    workdir.remove(mark)


def read(path: epath.Path, what: str) -> bytes:
  """The contents, refused where they are not those that were written."""
  try:
    data = path.read_bytes()
  except FileNotFoundError:
    raise UserError(f"{what}: {path} is missing; run the same command again to make it anew") from None
  if not _is_right(path, hashlib.sha256(data).hexdigest()):
    raise UserError(f"{what}: {_damaged(path)}")
  return data


def read_json(path: epath.Path, what: str) -> Any:
  try:
    return json.loads(read(path, what))
  except (json.JSONDecodeError, UnicodeDecodeError) as e:
    raise UserError(f"{what}: {path} is not readable JSON ({e}); remove it and run again") from None


def is_covered(path: epath.Path) -> bool:
  return bool(_marks(path))


def fault(path: epath.Path) -> str:
  """What is wrong with a file, from reading every byte; "" where nothing is, or nothing is known of it."""
  sha = hashlib.sha256()
  try:
    with path.open("rb") as file:
      while block := file.read(_BLOCK):
        sha.update(block)
  except FileNotFoundError:
    return f"{path} is missing"
  return "" if _is_right(path, sha.hexdigest()) else _damaged(path)


def files(folder: epath.Path) -> Iterator[epath.Path]:
  """Every file of a product, those that are missing and should not be among them; not what is being worked on."""
  for place, folders, names in os.walk(folder):
    folders[:] = sorted(name for name in folders if name not in (FOLDER, workdir.WORKING))
    here = epath.Path(place)
    covered = {_covered_by(name) for name in workdir.names(here / FOLDER)}
    yield from (here / name for name in sorted(covered | set(names)))


def _cover(final: epath.Path, data: bytes) -> None:
  mark = _mark(final, data)
  if mark.exists():
    return
  mark.parent.mkdir(parents=True, exist_ok=True)
  workdir.touch(mark)
  workdir.sync(mark.parent)


def _mark(path: epath.Path, data: bytes) -> epath.Path:
  return path.parent / FOLDER / f"{path.name}.{hashlib.sha256(data).hexdigest()}"


def _marks(path: epath.Path) -> list[epath.Path]:
  folder = path.parent / FOLDER
  return [folder / name for name in workdir.names(folder) if _covered_by(name) == path.name]


def _is_right(path: epath.Path, sha: str) -> bool:
  return (path.parent / FOLDER / f"{path.name}.{sha}").exists() or not is_covered(path)


def _covered_by(mark: str) -> str:
  return PurePath(mark).stem


def _damaged(path: epath.Path) -> str:
  return f"{path} is damaged: its contents are not those that were written; remove it and run again"
