"""Folders of image files as a source: class folders named by class id; without labels, every image below."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from synthjax.data.decoding import Unreadable
from synthjax.data.source import Source
from synthjax.errors import UserError, nearest
from synthjax.labels.spaces import LabelSpace

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")


class Folder(Source):
  """Image files below a folder, by relative path; names that begin with a dot are passed over."""

  split = "all"

  def __init__(self, folder: Path, labels: LabelSpace | None):
    if not folder.is_dir():
      raise UserError(f"source folder:{folder}: there is no such folder; mend its path")
    self.name, self._folder = folder.resolve().name, folder
    self.keys = sorted(_image_files(folder))
    if not self.keys:
      raise UserError(f"source folder:{folder}: there is no image below it ({', '.join(SUFFIXES)})")
    self.labels = self._read_labels(labels) if labels else None

  def _read_labels(self, labels: LabelSpace) -> np.ndarray:
    places = {class_id: k for k, class_id in enumerate(labels.ids)}
    for key in self.keys:
      class_id, _, below = key.partition("/")
      if not below:
        raise UserError(f"source folder:{self._folder}: {key} lies in no class folder; move it into one")
      if class_id not in places:
        raise UserError(
          f"source folder:{self._folder}: no class {class_id!r}{nearest(class_id, places)}; class folders bear class ids"
        )
    return np.array([places[key.partition("/")[0]] for key in self.keys], np.int32)

  def encoded(self, i: int) -> bytes:
    try:
      return (self._folder / self.keys[i]).read_bytes()
    except OSError as e:
      raise Unreadable(self.where(i), e.strerror or str(e)) from e

  def where(self, i: int) -> str:
    return str(self._folder / self.keys[i])

  @functools.cached_property
  def digest(self) -> str:
    sha = hashlib.sha256()
    for key in self.keys:
      path = self._folder / key
      try:
        with path.open("rb") as stream:
          content = hashlib.file_digest(stream, "sha256").digest()
          size = stream.tell()
      except OSError as e:
        raise UserError(f"source folder:{self._folder}: {key} cannot be read: {e.strerror}") from None
      sha.update(f"{key}\0{size}\0".encode(errors="surrogateescape") + content)
    return sha.hexdigest()


def _image_files(folder: Path) -> Iterator[str]:
  """Relative posix paths, through links too; a link to a folder that it lies in is passed over."""

  def walk(below: Path, above: tuple[Path, ...]) -> Iterator[str]:
    real = below.resolve()
    if real in above:
      return
    try:
      entries = list(os.scandir(below))
    except OSError as e:
      raise UserError(f"source folder:{folder}: {below} cannot be read: {e.strerror}") from None
    for entry in entries:
      if entry.name.startswith("."):
        continue
      if entry.is_dir():
        yield from walk(Path(entry.path), (*above, real))
      elif entry.name.lower().endswith(SUFFIXES):
        yield Path(entry.path).relative_to(folder).as_posix()

  return walk(folder, ())


def open_folder(reference: str, rest: str, labels: LabelSpace | None) -> Source:
  if not rest:
    raise UserError(f"source {reference!r} names no folder; expected folder:PATH")
  return Folder(Path(rest).expanduser(), labels)
