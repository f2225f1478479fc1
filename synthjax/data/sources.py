"""Real images behind one small interface, in an order that no file system decides.

embedded:digits:first|second|all    the digits that ship with synthjax
folder:PATH                         class folders named by class id; without labels, every image below PATH
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image, ImageOps

from synthjax.embedded import digits
from synthjax.errors import UserError, nearest
from synthjax.labels.spaces import LabelSpace

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")  # PIL would try others by content, EPS among them
_LONGEST = 100  # times the short side
_DIGITS = ("first", "second", "all")


class Unreadable(Exception):
  """An image file that cannot be decoded; callers count, name and skip it."""

  def __init__(self, path: Path, why: str):
    super().__init__(f"{path}: {why}")
    self.path, self.why = path, why


class Source(Protocol):
  """Images in a fixed order. `image` may be called from several threads."""

  name: str
  split: str
  labels: np.ndarray | None  # [n] int32, places in the label space; None: unlabelled
  keys: Sequence[str]  # a stable id each

  def __len__(self) -> int: ...

  def image(self, i: int) -> Image.Image:
    """Upright, in any mode; raises Unreadable."""
    ...

  @property
  def digest(self) -> str:
    """Of all content, for records."""
    ...


def open_source(reference: str, labels: LabelSpace | None) -> Source:
  """Without labels, the source is unlabelled."""
  scheme, _, rest = reference.partition(":")
  if scheme not in _SCHEMES:
    raise UserError(
      f"source {reference!r}{nearest(scheme, _SCHEMES)}; a source is embedded:digits:second or folder:PATH"
    )
  return _SCHEMES[scheme](reference, rest, labels)


class Digits:
  """The embedded digits; a key is the row in the whole file, the same in every split."""

  name = "digits"

  def __init__(self, split: str, labels: LabelSpace | None):
    self.split = split
    self._pixels, self._classes = digits.load(split)
    missing = [c for c in map(str, range(10)) if labels and c not in labels.ids]
    if missing:
      raise UserError(
        f"source embedded:digits:{split}: the label space has no class {missing[0]!r}; the digits are classes '0' to '9'"
      )
    self.labels = np.array([labels.ids.index(str(c)) for c in self._classes], np.int32) if labels else None
    first = len(digits.load("first")[1]) if split == "second" else 0
    self.keys = [str(first + i) for i in range(len(self._classes))]

  def __len__(self) -> int:
    return len(self.keys)

  def image(self, i: int) -> Image.Image:
    return Image.fromarray(self._pixels[i])

  @functools.cached_property
  def digest(self) -> str:
    return hashlib.sha256(self._pixels.tobytes() + self._classes.tobytes()).hexdigest()


class Folder:
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

  def __len__(self) -> int:
    return len(self.keys)

  def image(self, i: int) -> Image.Image:
    return read_image(self._folder / self.keys[i])

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


def read_image(path: Path) -> Image.Image:
  """Turned as its EXIF says; raises Unreadable, for more pixels than PIL thinks safe too."""
  try:
    with Image.open(path, formats=_FORMATS) as image:
      if Image.MAX_IMAGE_PIXELS and image.width * image.height > Image.MAX_IMAGE_PIXELS:
        raise Unreadable(path, f"{image.width} x {image.height} pixels, more than PIL decodes safely")
      if max(image.size) > _LONGEST * min(
        image.size
      ):  # its short side made 224, the long one would fill the memory
        raise Unreadable(path, f"{image.width} x {image.height} pixels: a strip, and no picture")
      return ImageOps.exif_transpose(image)
  except Unreadable:
    raise
  except Exception as e:  # PIL's readers raise whatever a broken file leads them to
    raise Unreadable(path, " ".join(str(e).split())[:200] or type(e).__name__) from e


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


def _open_embedded(reference: str, rest: str, labels: LabelSpace | None) -> Source:
  name, _, split = rest.partition(":")
  if name != "digits":
    raise UserError(f"source {reference!r}: no embedded images {name!r}{nearest(name, ('digits',))}")
  if split not in _DIGITS:
    raise UserError(f"source {reference!r}: no split {split!r}{nearest(split, _DIGITS)}")
  return Digits(split, labels)


def _open_folder(reference: str, rest: str, labels: LabelSpace | None) -> Source:
  if not rest:
    raise UserError(f"source {reference!r} names no folder; expected folder:PATH")
  return Folder(Path(rest).expanduser(), labels)


_SCHEMES: dict[str, Callable[[str, str, LabelSpace | None], Source]] = {
  "embedded": _open_embedded,
  "folder": _open_folder,
}
