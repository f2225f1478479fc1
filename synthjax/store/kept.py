"""A keep-list on disk, published as one thing.

    lists/<hash>/     ids.txt, scores.npz, summary.json, pairs.csv, pairs.png; the hash is of their contents
    record.json       names the list that holds, in its growth: replacing it is what publishes a list
    ids.txt, ...      links to the files of that list, for people; nothing here reads them

So whoever is stopped in the middle and goes on later leaves one list or another, and never parts of two. Older releases
wrote the files beside the record; a record that names no list is theirs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import io
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from etils import epath

from synthjax.disk import checksums, drafts, snapshot, workdir
from synthjax.disk.bucket import BucketPath
from synthjax.runtime.errors import UserError
from synthjax.store import image_ids, records

CLAIM = "list"  # of who makes one
LIST = "list"  # in the record's growth
LISTS, CURRENT = "lists", "current"
IDS, SCORES, SUMMARY = NEEDED = ("ids.txt", "scores.npz", "summary.json")
# Each image that does not stay, and the one that it repeats, or the real one that it strays to.
PAIRS, PAIRS_SHEET = "pairs.csv", "pairs.png"
_ARRAYS = {"ids": "U", "labels": "iu", "scores": "f", "stays": "b"}  # kinds of dtype
_ROW = {"id": str, "drawn": int, "passed": int, "kept": int, "filled": int}
_SUMMARY = {"basis": dict, "classes": [_ROW], "threshold": float}
_FILES = (*NEEDED, PAIRS, PAIRS_SHEET)
_NAME = re.compile("[0-9a-f]{16}")
_Read = TypeVar("_Read")


@dataclasses.dataclass(frozen=True)
class Kept:
  folder: epath.Path  # that holds the files
  name: str = ""  # "" = of an older release

  def is_whole(self) -> bool:
    return all(workdir.is_file(self.folder / name) for name in NEEDED)

  def ids(self) -> Sequence[str]:
    """Of the images that stay, in plan order."""
    data = checksums.read(self.folder / IDS, "keep-list")
    with checksums.parsing(self.folder / IDS, "keep-list"):
      return image_ids.of_lines(data)

  def summary(self) -> dict[str, Any]:
    return checksums.read_json(self.folder / SUMMARY, "keep-list summary", _SUMMARY)

  def arrays(self) -> dict[str, np.ndarray]:
    """ids, labels, scores, stays: of every image that was scored, in plan order."""
    data = checksums.read(self.folder / SCORES, "scores of a keep-list")
    with checksums.parsing(self.folder / SCORES, "keep-list"), np.load(io.BytesIO(data)) as arrays:
      found = {name: arrays[name] for name in _ARRAYS}
      for name, array in found.items():
        if array.shape != (len(found["ids"]),) or array.dtype.kind not in _ARRAYS[name]:
          raise ValueError(f"{name} is {array.dtype} {array.shape}")
      labels, classes = found["labels"], self.summary()["classes"]
      of_class = np.bincount(labels[(labels >= 0) & (labels < len(classes))], minlength=len(classes))
      if any(row["passed"] > n for row, n in zip(classes, of_class.tolist(), strict=True)):
        raise ValueError("its labels are not those that were counted")
      return found

  def sheet(self) -> bytes:
    """What did not stay, beside what speaks against it, as a PNG."""
    return checksums.read(self.folder / PAIRS_SHEET, "sheet of a keep-list")

  def files(self) -> list[epath.Path]:
    if self.name:
      return list(checksums.files(self.folder))
    return [path for name in _FILES if (path := self.folder / name).exists() or checksums.is_covered(path)]


def find(folder: epath.Path, record: records.Record | None) -> Kept | None:
  """The list that the record in the folder names, whether its files are there or not."""
  name = record.growth.get(LIST) if record else None
  if name is None:
    older = [path for path in (folder / IDS, folder / SUMMARY) if path.exists() and not os.path.islink(path)]
    return Kept(folder) if older else None
  if not isinstance(name, str) or not _NAME.fullmatch(name):
    raise UserError(f"{folder / 'record.json'} names no list, but {name!r}; remove {folder} and run again")
  return Kept(folder / LISTS / name, name)


def held(folder: epath.Path) -> Kept | None:
  """The list that holds, with all its files."""
  return snapshot.once((folder, "list"), functools.partial(_held_now, folder))


def _held_now(folder: epath.Path) -> Kept | None:
  kept = find(folder, records.load(folder))
  return kept if kept and kept.is_whole() else None


def read(folder: epath.Path, name: str, what: Callable[[Kept], _Read]) -> _Read:
  """Of the list that holds: another process may be putting one in its place in this moment. `name`: for the error."""
  kept = held(folder)
  while True:
    if kept is None:
      raise UserError(f"{name} is missing, or not whole; run the same command again to make it again")
    try:
      return what(kept)
    except UserError:
      now = _held_now(folder)
      if kept == now:
        raise
      kept = now


def lay_down(folder: epath.Path, files: Mapping[str, bytes]) -> str:
  """Writes a list under its own name, which nobody reads yet."""
  name = name_of({file: hashlib.sha256(data).hexdigest() for file, data in files.items()})
  place = folder / LISTS / name
  place.mkdir(parents=True, exist_ok=True)
  for file, data in files.items():
    checksums.replace(place / file, data)
  for made in (place.parent, folder):
    workdir.sync(made)
  return name


def name_of(sha256: Mapping[str, str]) -> str:
  return records.digest(sha256)[:16]


def publish(folder: epath.Path, record: records.Record, name: str) -> None:
  """The list becomes the one that holds."""
  record = dataclasses.replace(record, growth=record.growth | {LIST: name})
  records.update(folder, record)


def sweep(folder: epath.Path) -> None:
  """Removes the lists that hold no more. A process that reads one finds another named when it looks again."""
  for name in older(folder):
    workdir.remove_folder(folder / LISTS / name)


def older(folder: epath.Path) -> list[str]:
  """Lists that are not the one that holds: older ones, or one that is being laid down."""
  kept = find(folder, records.load(folder))
  return [name for name in workdir.names(folder / LISTS) if kept and kept.name and name != kept.name]


def show(folder: epath.Path) -> None:
  """Points the links at the list that holds, until it is still the same one afterwards. A bucket has none."""
  if isinstance(folder, BucketPath):
    return
  kept, shown = find(folder, records.load(folder)), None
  while kept and kept.name and kept != shown:
    _point(folder / CURRENT, f"{LISTS}/{kept.name}")
    for name in _FILES:
      if (kept.folder / name).exists():
        _point(folder / name, f"{CURRENT}/{name}")
      else:
        checksums.forget(folder / name)
    kept, shown = find(folder, records.load(folder)), kept


def _point(link: epath.Path, target: str) -> None:
  if os.path.islink(link) and os.readlink(link) == target:
    return
  if os.path.isdir(link) and not os.path.islink(link):  # a copy of the workdir that followed the links
    shutil.rmtree(link, ignore_errors=True)
  else:
    checksums.forget(link)  # a file of an older release, which says what no longer holds
  draft = drafts.draft_of(link)
  with contextlib.suppress(OSError):  # a file system without links does without
    os.symlink(target, draft)
    os.replace(draft, link)
