"""Folders of image files as a source: class folders by class id or by a mapping; without labels, every image below."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from synthjax.data.classes import Reference, absent, digest_of, mapping_of, parse, places
from synthjax.data.decoding import SUFFIXES, Unreadable
from synthjax.data.source import Source
from synthjax.disk import documents, regular_files
from synthjax.labels.spaces import LabelSpace
from synthjax.runtime.errors import UserError

_LONGEST_TEXT = 1 << 20  # bytes of a prompt beside its image
METADATA = (
  "metadata.jsonl"  # what a folder says about its images, as our exports and Hugging Face's folders do
)


class Folder(Source):
  """Image files below a folder, by relative path; names that begin with a dot are passed over."""

  def __init__(self, reference: Reference, labels: LabelSpace | None):
    self._folder, self._reference, self.split = reference.folder, reference, reference.split or "all"
    if not self._folder.is_dir():
      line = f"source folder:{self._folder}: there is no such folder; fix its path"
      raise absent(reference, line)
    self.name = reference.path.resolve().name
    self.keys = sorted(_image_files(self._folder))
    if not self.keys:
      raise UserError(f"source folder:{self._folder}: there is no image below it ({', '.join(SUFFIXES)})")
    self.labels = self._read_labels(labels) if labels else None

  def _read_labels(self, labels: LabelSpace) -> np.ndarray:
    """Where the mapping leaves folders out, `keys` loses their images too."""
    for key in self.keys:
      if "/" not in key:
        raise UserError(f"source folder:{self._folder}: {key} is in no class folder; move it into one")
    folders = list(dict.fromkeys(key.partition("/")[0] for key in self.keys))
    mapping = mapping_of(self._reference)
    if mapping is None and not self._reference.split and not set(folders) & set(labels.ids):
      self._hint_at_splits(folders, labels)
    found = dict(zip(folders, places(labels, folders, mapping, f"folder:{self._folder}"), strict=True))
    of_keys = [found[key.partition("/")[0]] for key in self.keys]
    self.keys = [key for key, place in zip(self.keys, of_keys, strict=True) if place >= 0]
    return np.array([place for place in of_keys if place >= 0], np.int32)

  def _hint_at_splits(self, folders: Sequence[str], labels: LabelSpace) -> None:
    """train/<class>/... where <class>/... was meant."""
    below = {key.split("/")[1] for key in self.keys if key.count("/") > 1}
    if below & set(labels.ids):
      raise UserError(
        f"source {self._reference.text}: {', '.join(folders[:3])} look like splits; name one, as "
        f"{self._reference.text}:{folders[0]}"
      )

  def about(self, i: int) -> Mapping[str, Any]:
    """What the folder's metadata say; else the text that lies beside the image under its name."""
    if self._metadata is not None:
      return self._metadata.get(self.keys[i], {})
    try:
      text = regular_files.read_text((self._folder / self.keys[i]).with_suffix(".txt"), _LONGEST_TEXT)
      return {"prompt": text.strip()}
    except (OSError, UnicodeDecodeError):
      return {}

  @functools.cached_property
  def _metadata(self) -> dict[str, dict[str, Any]] | None:
    file = self._folder / METADATA
    if not file.is_file():
      return None
    subject = f"source folder:{self._folder}: {METADATA}"
    found = {}
    for number, row in documents.read_lines(file, subject, "fix or remove it"):
      if not isinstance(row, dict) or not isinstance(row.get("file_name"), str):
        raise UserError(
          f"{subject} is not lines of JSON with a file_name each: line {number}; fix or remove it"
        )
      found[row["file_name"]] = row
    return found

  def encoded(self, i: int) -> bytes:
    try:
      return regular_files.read_bytes(self._folder / self.keys[i])
    except OSError as e:
      raise Unreadable(self.where(i), e.strerror or str(e)) from e

  def where(self, i: int) -> str:
    return str(self._folder / self.keys[i])

  @functools.cached_property
  def digest(self) -> str:
    sha = hashlib.sha256(digest_of(None if self.labels is None else mapping_of(self._reference)))
    for key in self.keys:
      path = self._folder / key
      try:
        with regular_files.open_file(path, regular_files.LARGEST) as stream:
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
  return Folder(parse(reference, rest), labels)
