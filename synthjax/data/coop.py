"""CoOp's split files as sources: what few-shot papers compare on (Zhou et al. 2022), split_zhou_*.json by path.

coop:FILE:train|val|test[:ROOT]. The file lists [image path, number, class name]; paths lie below ROOT, which is the
file's own folder where it is not given. Classes are matched by name, and the numbers are not looked at.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

import numpy as np

from synthjax.data.decoding import Unreadable
from synthjax.data.source import Source
from synthjax.disk import documents, regular_files
from synthjax.labels.matching import PASSED_OVER, match
from synthjax.labels.spaces import LabelSpace
from synthjax.runtime.errors import NotHere, UserError, nearest

_SPLITS = ("train", "val", "test")


class CoopSplit(Source):
  """A key is the image's path below the root, in the order of the file."""

  def __init__(self, reference: str, file: Path, split: str, root: Path, labels: LabelSpace | None):
    self._file_digest, rows = _read(reference, file, split)
    self.name, self._root = file.stem, root
    self.split = f"{split} of {file.name}, sha256 {self._file_digest[:12]}"
    self.labels = None
    if labels is not None:
      names, places = np.unique([name for _, name in rows], return_inverse=True)
      classes = match(names.tolist(), labels, f"source {reference}")[places]
      rows = [row for row, c in zip(rows, classes, strict=True) if c != PASSED_OVER]
      self.labels = classes[classes != PASSED_OVER]
    self.keys = [path for path, _ in rows]
    if not self.keys or not (root / self.keys[0]).exists():
      line = (
        f"source {reference}: {self.keys[0] if self.keys else 'no image'} is not below {root}; name the folder that "
        f"its paths are relative to, coop:FILE:{split}:ROOT"
      )
      if self.keys and not root.exists():
        raise NotHere(line, reference, f"there is no {root}")
      raise UserError(line)

  def encoded(self, i: int) -> bytes:
    try:
      return regular_files.read_bytes(self._root / self.keys[i])
    except OSError as e:
      raise Unreadable(self.where(i), e.strerror or str(e)) from e

  def where(self, i: int) -> str:
    return str(self._root / self.keys[i])

  @functools.cached_property
  def digest(self) -> str:
    matched = [] if self.labels is None else self.labels.tolist()
    sha = hashlib.sha256(f"{self._file_digest}\0{self.split}\0{matched}\0".encode())
    for key in self.keys:
      try:
        with regular_files.open_file(self._root / key, regular_files.LARGEST) as stream:
          sha.update(f"{key}\0".encode() + hashlib.file_digest(stream, "sha256").digest())
      except OSError as e:
        raise UserError(f"source coop:{self.name}: {self._root / key} cannot be read: {e.strerror}") from None
    return sha.hexdigest()


def _read(reference: str, file: Path, split: str) -> tuple[str, list[tuple[str, str]]]:
  """The file's hash, and (path, class name) of each image of the split."""
  subject = f"source {reference}: {file}"
  if not file.exists():
    raise NotHere(f"{subject} does not exist; fix its path", reference, f"there is no {file}")
  data = documents.read_bytes(file, subject, "fix its path")
  body = documents.parse_json(data, subject)
  rows = body.get(split) if isinstance(body, dict) else None
  if not isinstance(rows, list) or not all(_is_row(row) for row in rows):
    raise UserError(
      f"source {reference}: {file} is no split file of CoOp's, which holds {', '.join(_SPLITS)}: lists of "
      "[path, number, class name]"
    )
  return hashlib.sha256(data).hexdigest(), [(row[0], row[2]) for row in rows]


def _is_row(row: object) -> bool:
  """A path that leads out of the root is not read."""
  if not (isinstance(row, list) and len(row) == 3 and isinstance(row[0], str) and isinstance(row[2], str)):
    return False
  return bool(row[0]) and not Path(row[0]).is_absolute() and ".." not in Path(row[0]).parts


def open_coop(reference: str, rest: str, labels: LabelSpace | None) -> Source:
  file, _, rest = rest.partition(":")
  split, _, root = rest.partition(":")
  if not file or split not in _SPLITS:
    raise UserError(
      f"source {reference!r}: no split {split!r}{nearest(split, _SPLITS)}; expected coop:FILE:train|val|test[:ROOT]"
    )
  path = Path(file).expanduser()
  return CoopSplit(reference, path, split, Path(root).expanduser() if root else path.parent, labels)
