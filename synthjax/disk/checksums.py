"""Checksums of a product's small files, so that a byte that has changed since is noticed when the file is read.

    <folder>/.checksums/<name>.<sha256>     an empty file: <folder>/<name> may have these contents

A checksum is written before its file is published, so no death leaves a file without one, and is never replaced, so
two processes that publish the same name cannot take each other's away. A file that has no checksum at all was made by
an older release: nothing is known of it, and it is not called damaged.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import shlex
import time
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

from etils import epath

from synthjax.disk import documents, faults, workdir
from synthjax.disk.bucket import BucketPath
from synthjax.runtime.errors import UserError

Shape = type | dict | list

FOLDER = ".checksums"
_BLOCK = 1 << 22
_KEPT = 8  # of a file that is replaced time and again, the newest so many
_SETTLED = 60  # seconds after which a folder's time of change tells one list of its names from the next


class Fault(str):
  """What is wrong with a product, in a line. Once its files (or folders) are removed, the next run makes them again."""

  files: tuple[epath.Path, ...]

  def __new__(cls, why: str, *files: epath.Path) -> Fault:
    fault = super().__new__(cls, why)
    fault.files = files
    return fault

  @property
  def command(self) -> str:
    """Removes the files together with their checksums, so that nobody misses them."""
    marks = [f"{shlex.quote(str(f.parent / FOLDER / f.name))}.*" for f in self.files if not f.is_dir()]
    remove = "rm -fr" if len(marks) < len(self.files) else "rm -f"
    return " ".join([remove, *(shlex.quote(str(f)) for f in self.files), *marks])


def publish(final: epath.Path, data: bytes) -> bool:
  """`workdir.publish_bytes`, covered. What another process, perhaps of an older release, put there first is its own."""
  mark = _mark(final, data)
  is_new = not workdir.is_file(mark)
  if is_new:
    _mark_as(final, hashlib.sha256(data).hexdigest())
  try:
    first = workdir.publish_bytes(final, data)
  except BaseException:  # a full disk: under another name it may never be written again, and would be missed
    if is_new and not workdir.is_file(final):
      workdir.remove(mark)
    raise
  if not first and is_new and final.read_bytes() != data:
    workdir.remove(mark)
  return first


def replace(final: epath.Path, data: bytes) -> None:
  """`workdir.replace_bytes`, covered."""
  _cover(final, data)
  workdir.replace_bytes(final, data)
  older = [path for path in _marks(final) if path.name != _mark(final, data).name]
  for path in sorted(older, key=lambda path: workdir.modified(path) or 0)[: 1 - _KEPT]:
    workdir.remove(path)


def forget(path: epath.Path) -> None:
  """Removes a file on purpose, so that nobody misses it: not even where a death comes between the two."""
  uncover(path)
  workdir.remove(path)


def uncover(path: epath.Path) -> None:
  """For a file that is about to be written further."""
  for mark in _marks(path):
    workdir.remove(mark)


def cover(path: epath.Path) -> None:
  """Covers a file that another library has written."""
  _mark_as(path, _sha256(path))


def read(path: epath.Path, what: str) -> bytes:
  """The contents, refused where they are not those that were written."""
  try:
    data = path.read_bytes()
  except FileNotFoundError:
    raise UserError(f"{what}: {path} is missing; run the same command again to make it again") from None
  if not _is_right(path, hashlib.sha256(data).hexdigest()):
    raise UserError(f"{what}: {_damaged(path)}")
  return data


def read_json(path: epath.Path, what: str, shape: Shape = object) -> Any:
  """What lies there, refused where it is of another shape: an old file has no checksum that says so."""
  value = documents.parse_json(read(path, what), f"{what}: {path}", "remove it and run again")
  with parsing(path, what):
    return shaped(value, shape)


@contextlib.contextmanager
def parsing(path: epath.Path, what: str) -> Iterator[None]:
  """One line for whatever a parser, or who uses what it found, makes of contents that are not those written."""
  try:
    yield
  except UserError:
    raise
  except Exception as e:
    if fault := faults.disk_fault(e):
      raise UserError(f"{what}: {fault}") from e
    why = " ".join(f"{type(e).__name__}: {e}".split())[:100]
    raise UserError(f"{what}: {path} is damaged ({why}); remove it and run again") from None


def shaped(value: Any, shape: Shape) -> Any:
  """The value, if it has the shape: a type, or {key: shape} of keys that must be there, or [shape] of all items."""
  match shape:
    case {**keys}:
      fits = isinstance(value, dict) and keys.keys() <= value.keys()
      parts = [(value[k], of) for k, of in keys.items()] if fits else []
    case [each]:
      fits = isinstance(value, list)
      parts = [(item, each) for item in value] if fits else []
    case _:
      assert isinstance(shape, type)
      wanted, parts = (int, float) if shape is float else shape, []
      fits = isinstance(value, wanted) and (shape in (bool, object) or not isinstance(value, bool))
  if not fits:
    raise ValueError(f"{json.dumps(value)[:30]} is not {_described(shape)}")
  for part, of in parts:
    shaped(part, of)
  return value


def _described(shape: Shape) -> str:
  match shape:
    case {**keys}:
      return f"an object with {', '.join(keys)}"
    case [_]:
      return "a list"
  return {dict: "an object", list: "a list", str: "a text", int: "a whole number", float: "a number"}[shape]


def uncover_missing(folder: epath.Path, pattern: str) -> None:
  """For files that nobody makes anew: a death between a checksum and its file would have them missed for good."""
  for mark in workdir.names(folder / FOLDER, f"{pattern}.*"):
    if not (folder / _covered_by(mark)).exists():
      workdir.remove(folder / FOLDER / mark)


def is_covered(path: epath.Path) -> bool:
  folder = path.parent / FOLDER
  if isinstance(path, BucketPath):  # folders have no time of change there
    return any(_covered_by(name) == path.name for name in workdir.names(folder))
  changed = workdir.modified(folder)
  return changed is not None and path.name in _names_covered(folder, changed)


def fault(path: epath.Path) -> str:
  """What is wrong with a file, from reading every byte; "" where nothing is, or nothing is known of it."""
  try:
    sha = _sha256(path)
  except FileNotFoundError:
    return f"{path} is missing"
  return "" if _is_right(path, sha) else _damaged(path)


def check(path: epath.Path, what: str) -> None:
  """`read` for a file too large to hold: refused where it is not what was written."""
  if why := fault(path):
    raise UserError(f"{what}: {why}")


def files(folder: epath.Path) -> Iterator[epath.Path]:
  """Every file of a product, those that are missing and should not be among them; not what is being worked on."""
  for here, folders, names in workdir.walk(folder):
    folders[:] = sorted(name for name in folders if name not in (FOLDER, workdir.WORKING))
    covered = {_covered_by(name) for name in workdir.names(here / FOLDER)}
    yield from (here / name for name in sorted(covered | set(names)))


def _cover(final: epath.Path, data: bytes) -> None:
  if workdir.is_file(_mark(final, data)):
    return  # nothing is written, so no time changes either
  _mark_as(final, hashlib.sha256(data).hexdigest())


def _mark_as(path: epath.Path, sha: str) -> None:
  mark = path.parent / FOLDER / f"{path.name}.{sha}"
  mark.parent.mkdir(parents=True, exist_ok=True)
  if isinstance(mark, BucketPath):
    mark.write_bytes(b"")
  else:
    workdir.touch(mark)
  workdir.sync(mark.parent)


def _mark(path: epath.Path, data: bytes) -> epath.Path:
  return path.parent / FOLDER / f"{path.name}.{hashlib.sha256(data).hexdigest()}"


def _marks(path: epath.Path) -> list[epath.Path]:
  folder = path.parent / FOLDER
  return [folder / name for name in workdir.names(folder) if _covered_by(name) == path.name]


def _names_covered(folder: epath.Path, changed: float) -> frozenset[str]:
  """The files that have a checksum. Features of a large set are thousands, and each asks."""
  if time.time() - changed < _SETTLED:
    return _listed.__wrapped__(folder, changed)
  return _listed(folder, changed)


@functools.lru_cache(maxsize=64)
def _listed(folder: epath.Path, changed: float) -> frozenset[str]:
  del changed  # another time is another list
  return frozenset(map(_covered_by, workdir.names(folder)))


def _sha256(path: epath.Path) -> str:
  sha = hashlib.sha256()
  with path.open("rb") as file:
    while block := file.read(_BLOCK):
      sha.update(block)
  return sha.hexdigest()


def _is_right(path: epath.Path, sha: str) -> bool:
  return workdir.is_file(path.parent / FOLDER / f"{path.name}.{sha}") or not is_covered(path)


def _covered_by(mark: str) -> str:
  return PurePath(mark).stem


def _damaged(path: epath.Path) -> str:
  return f"{path} is damaged: its contents are not those that were written; remove it and run again"
