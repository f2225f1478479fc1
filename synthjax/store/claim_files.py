"""The files that claims are made of. Every method here is one operation on the shared disk's metadata, and is counted as
such by benchmark/hosts.py, which has a disk of its own for many hosts; in a bucket, it is one request.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Protocol

from etils import epath

from synthjax.disk import bucket, workdir
from synthjax.disk.bucket import BucketPath

BEAT = ".alive"
CLAIM = ".claim."


class ClaimFiles(Protocol):
  """Beside a product's files, a folder of claims and heartbeats. Several processes list, create and remove in it."""

  def make(self) -> None:
    """The folder, if it is not there."""
    ...

  def names(self) -> list[str]:
    """Of the claims and heartbeats, sorted."""
    ...

  def published(self) -> set[str]:
    """Names of the product's own files."""
    ...

  def is_published(self, name: str) -> bool: ...

  def create(self, name: str, text: str = "") -> bool:
    """False where another process has. FileNotFoundError: another has removed the empty folder."""
    ...

  def read(self, name: str) -> str | None: ...

  def refresh(self, name: str) -> None:
    """Marks as fresh; FileNotFoundError where it is gone."""
    ...

  def modified(self, name: str) -> float | None:
    """By the clock of the disk, which all hosts share."""
    ...

  def remove(self, name: str) -> None: ...

  def remove_folder(self) -> None:
    """If it is empty."""
    ...


class DiskFiles:
  def __init__(self, product: epath.Path):
    self._product, self.folder = product, product / workdir.WORKING
    self._prefix = (
      f"{self.folder}{os.sep}"  # joined as text: a path object costs more than what is done with it
    )

  def make(self) -> None:
    try:
      os.mkdir(self.folder)
    except FileExistsError:
      pass
    except FileNotFoundError:
      os.makedirs(self.folder, exist_ok=True)

  def names(self) -> list[str]:
    return workdir.names(self.folder)

  def published(self) -> set[str]:
    try:
      return set(os.listdir(self._product))
    except FileNotFoundError:
      return set()

  def is_published(self, name: str) -> bool:
    return os.path.isfile(self._product / name)

  def create(self, name: str, text: str = "") -> bool:
    return workdir.create_exclusive(self.folder / name, text)

  def read(self, name: str) -> str | None:
    try:
      with open(self._prefix + name) as file:
        return file.read()
    except FileNotFoundError:
      return None

  def refresh(self, name: str) -> None:
    os.utime(self._prefix + name)

  def modified(self, name: str) -> float | None:
    return workdir.modified(self.folder / name)

  def remove(self, name: str) -> None:
    workdir.remove(self.folder / name)

  def remove_folder(self) -> None:
    workdir.remove_empty(self.folder)


class BucketFiles:
  """In an object store: no two processes create one name, and a heartbeat is renewed by the version that was put last."""

  def __init__(self, product: BucketPath):
    self._product, self.folder = product, product / workdir.WORKING
    self._versions: dict[str, bucket.Version] = {}  # of what this process has put

  def make(self) -> None:
    """There is no folder to make."""

  def names(self) -> list[str]:
    return sorted(bucket.listing_now(self.folder))

  def published(self) -> set[str]:
    return set(bucket.listing_now(self._product))

  def is_published(self, name: str) -> bool:
    return bucket.head(self._product / name) is not None

  def create(self, name: str, text: str = "") -> bool:
    return workdir.create_exclusive(self.folder / name, text)

  def read(self, name: str) -> str | None:
    try:
      return bucket.read_now(self.folder / name)[0].decode()
    except FileNotFoundError:
      return None

  def refresh(self, name: str) -> None:
    path = self.folder / name
    if name not in self._versions:
      self._learn(name)
    try:
      self._versions[name] = bucket.put(path, b"", self._versions[name].as_mode())
    except bucket.Changed:  # it is gone; or an earlier answer was lost, and it is another version
      del self._versions[name]
      self._learn(name)

  def _learn(self, name: str) -> None:
    found = bucket.head(self.folder / name)
    if found is None:
      raise FileNotFoundError(name)
    self._versions[name] = found.version

  def modified(self, name: str) -> float | None:
    found = bucket.head(self.folder / name)
    return found.modified if found else None

  def remove(self, name: str) -> None:
    self._versions.pop(name, None)
    bucket.remove(self.folder / name)

  def remove_folder(self) -> None:
    """It goes with the last object in it."""


def files_of(product: epath.Path) -> ClaimFiles:
  return BucketFiles(product) if isinstance(product, BucketPath) else DiskFiles(product)


def part_of(claim: str) -> str:
  return claim.rsplit(CLAIM, 1)[0]


def by_part(names: Sequence[str]) -> dict[str, list[str]]:
  """The claims among the names of a folder: those on each part, the oldest first."""
  found: dict[str, list[str]] = {}
  for name in sorted(n for n in names if CLAIM in n):
    found.setdefault(part_of(name), []).append(name)
  return found


def owners(names: Sequence[str]) -> list[str]:
  """Those that have a heartbeat."""
  return [name.removesuffix(BEAT) for name in names if name.endswith(BEAT)]
