"""One look into a folder: the names in it, and which of them are folders."""

from __future__ import annotations

import dataclasses
import os

from etils import epath

from synthjax.disk import bucket
from synthjax.disk.bucket import BucketPath


def folders(folder: epath.Path) -> list[epath.Path]:
  """Those in a folder, without links to others and what is hidden."""
  return [folder / name for name in listing(folder).folders]


@dataclasses.dataclass(frozen=True)
class Listing:
  """What one look into a folder shows."""

  names: tuple[str, ...] = ()
  folders: tuple[str, ...] = ()  # of these, without links to others and what is hidden
  links: tuple[str, ...] = ()  # to folders, likewise


def listing(folder: epath.Path) -> Listing:
  """Empty where there is no such folder."""
  if isinstance(folder, BucketPath):
    objects, folders = bucket.listing(folder)
    return Listing(tuple(sorted(objects.keys() | folders)), tuple(sorted(n for n in folders if n[0] != ".")))
  try:
    with os.scandir(folder) as found:
      entries = sorted(found, key=lambda entry: entry.name)
  except (FileNotFoundError, NotADirectoryError):
    return Listing()
  shown = [entry for entry in entries if entry.name[0] != "."]
  return Listing(
    names=tuple(entry.name for entry in entries),
    folders=tuple(entry.name for entry in shown if entry.is_dir(follow_symlinks=False)),
    links=tuple(entry.name for entry in shown if entry.is_symlink() and entry.is_dir()),
  )
