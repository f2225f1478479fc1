"""Shards: ArrayRecord files that appear whole or not at all, and the facts about each that is published.

The final names are the resume state. Beside a shard stands a small file of facts (count, bytes, hash), derived
from it, so that a later process sees without reading gigabytes whether the shard is still the one that was published.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from array_record.python import array_record_module  # pyright: ignore[reportAttributeAccessIssue]  compiled, without stubs
from etils import epath

from synthjax.disk import checksums, faults, workdir
from synthjax.disk.checksums import Fault
from synthjax.runtime.errors import UserError

SPLIT = "train"
FACTS = "shards"  # the folder of facts
# One record a group, not compressed: JPEG bytes do not shrink, and each record is read on its own.
_OPTIONS = "group_size:1,uncompressed"


def shard_name(index: int) -> str:
  """The name TFDS' template `{SPLIT}.{FILEFORMAT}-{SHARD_INDEX}` gives: no total in it, so a set can grow."""
  return f"{SPLIT}.array_record-{index:05d}"


def index_of(name: str) -> int:
  return int(name.rsplit("-", 1)[1])


_NAME = re.compile(re.escape(shard_name(0)[:-5]) + r"\d{5,}")


def is_shard(name: str) -> bool:
  return _NAME.fullmatch(name) is not None


def published(folder: epath.Path) -> list[int]:
  """Indices of the published shards: those with their final names."""
  return sorted(index_of(n) for n in workdir.names(folder, f"{SPLIT}.array_record-*") if is_shard(n))


@dataclasses.dataclass(frozen=True)
class Facts:
  """What is true of a shard's bytes: the same whoever made it."""

  count: int
  bytes: int
  sha256: str


class ShardWriter:
  """Writes records beside the set, then gives the file its final name. Call `drop` if it does not come to that."""

  def __init__(self, folder: epath.Path, index: int, scratch: epath.Path):
    self._final, self._scratch, self._folder = folder / shard_name(index), scratch, folder
    self.index, self.count = index, 0
    with faults.needing_room(folder):
      self._writer = array_record_module.ArrayRecordWriter(str(scratch), _OPTIONS)

  def write(self, record: bytes) -> None:
    try:
      with faults.needing_room(self._folder):
        self._writer.write(record)
    except (RuntimeError, UserError):
      self.drop()
      raise
    self.count += 1

  def publish(self) -> bool:
    """Close, re-open and count, sync, final name.

    False where another process was first, or took this one for dead and swept its file away: the claim is lost then,
    and whoever looks next sees whether the shard is published.
    """
    try:
      with faults.needing_room(self._folder):
        self._writer.close()
        if not self._scratch.exists():
          return False
        count = len(ShardReader(self._scratch))
        if count != self.count:
          raise RuntimeError(f"{self._scratch} holds {count} records of {self.count} written")
        first = workdir.publish(self._scratch, self._final)
    except (RuntimeError, OSError, UserError):
      self.drop()
      raise
    facts(self._folder, self.index)  # of the one that was published
    return first

  def drop(self) -> None:
    with contextlib.suppress(RuntimeError):  # it may have failed already; the file goes either way
      self._writer.close()
    workdir.remove(self._scratch)


class ShardReader(Sequence):
  """The records of one shard. A file cut by a byte reads as empty without an error: hence `ok`."""

  def __init__(self, path: epath.Path, file: Path | None = None):
    """`file` has its contents, where that is known already."""
    self._path = path
    try:
      file = file or workdir.local_file(path)
      self._reader = array_record_module.ArrayRecordReader(str(file), "readahead_buffer_size:0")
      self._count = self._reader.num_records()
    except (RuntimeError, FileNotFoundError) as e:
      raise self._corrupt(e) from e
    if not self._reader.ok():
      raise self._corrupt("it does not end as it should")

  def __len__(self) -> int:
    return self._count

  def __getitem__(self, i):
    try:
      return self._reader.read([i])[0]
    except RuntimeError as e:
      raise self._corrupt(e) from e

  def __iter__(self) -> Iterator[bytes]:
    return (self[i] for i in range(len(self)))

  def _corrupt(self, why: object) -> UserError:
    if isinstance(why, Exception) and (fault := faults.disk_fault(why)):
      return UserError(f"shard {self._path}: {fault}")
    reason = " ".join(str(why).split())[:200]
    return UserError(
      f"shard {self._path} is corrupt ({reason}); remove it and run again: its images will be the same"
    )


def facts(folder: epath.Path, index: int) -> Facts:
  """A shard's facts: read, or derived from the shard where a death came between the two."""
  path = facts_file(folder, index)
  if not workdir.is_file(path):
    path.parent.mkdir(exist_ok=True)
    found = derive_facts(folder, index)
    if checksums.publish(path, _facts_json(found)):
      return found
  return _checked(path, checksums.read_json(path, "shard facts"))


def _parsed(path: epath.Path) -> Facts:
  return _checked(path, workdir.read_json(path, "shard facts"))


def _checked(path: epath.Path, body: Any) -> Facts:
  with checksums.parsing(path, "shard facts"):
    return Facts(**checksums.shaped(body, {"count": int, "bytes": int, "sha256": str}))


def facts_file(folder: epath.Path, index: int) -> epath.Path:
  return folder / FACTS / f"{shard_name(index)}.json"


def _facts_json(of: Facts) -> bytes:
  return workdir.to_json(dataclasses.asdict(of))


def derive_facts(folder: epath.Path, index: int) -> Facts:
  shard = folder / shard_name(index)
  file = workdir.local_file(shard)
  with open(file, "rb") as stream:
    sha = hashlib.file_digest(stream, "sha256")
  return Facts(len(ShardReader(shard, file)), file.stat().st_size, sha.hexdigest())


def check_published(folder: epath.Path, index: int, count: int, listed: Facts | None = None) -> int:
  """Cheap enough to do at every start, since it hashes nothing: a published shard keeps its length, which is returned.

  `listed`: its facts as the manifest of a whole set has them, so that thousands of small files are not read.
  """
  path, length = facts_file(folder, index), workdir.size(folder / shard_name(index))
  if listed and (listed.bytes, listed.count) == (length, count):
    return length
  known = _parsed(path) if workdir.is_file(path) else facts(folder, index)
  if length != known.bytes or known.count != count:
    raise UserError(
      f"shard {folder / shard_name(index)} is corrupt ({length} bytes with {known.count} images, expected {known.bytes} "
      f"with {count}); remove it and {FACTS}/{shard_name(index)}.json and run again: its images will be the same"
    )
  return length


def fault(folder: epath.Path, index: int) -> str:
  """What is wrong with a shard, from reading every byte and holding it against its facts; "" where nothing is."""
  try:
    found = derive_facts(folder, index)
    if not workdir.is_file(facts_file(folder, index)):
      return ""  # a death came between the two
    if (known := facts(folder, index)) != found:
      return f"it or its facts are damaged: was {known}, is {found}"
  except UserError as e:
    return str(e)
  return ""


def fault_of(folder: epath.Path, index: int, why: str) -> Fault:
  """Both files are made again, together."""
  return Fault(f"{shard_name(index)}: {why}", folder / shard_name(index), facts_file(folder, index))
