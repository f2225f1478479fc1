"""The embedded digits as a source."""

from __future__ import annotations

import functools
import hashlib
import io

import numpy as np
from PIL import Image

from synthjax.data.source import Source
from synthjax.labels.spaces import LabelSpace
from synthjax.runtime.errors import UserError, nearest
from synthjax.small_world import digits

_SPLITS = ("first", "second", "all")


class Digits(Source):
  """A key is the row in the whole file, the same in every split."""

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

  def encoded(self, i: int) -> bytes:
    buffer = io.BytesIO()
    self.image(i).save(buffer, "PNG")
    return buffer.getvalue()

  def image(self, i: int) -> Image.Image:
    return Image.fromarray(self._pixels[i])

  def put(self, i: int, out_SxSx3: np.ndarray, scaled: bool = False) -> bool:
    del i, out_SxSx3, scaled
    return False  # they are no JPEGs

  @functools.cached_property
  def digest(self) -> str:
    return hashlib.sha256(self._pixels.tobytes() + self._classes.tobytes()).hexdigest()


def open_embedded(reference: str, rest: str, labels: LabelSpace | None) -> Source:
  name, _, split = rest.partition(":")
  if name != "digits":
    raise UserError(f"source {reference!r}: no embedded images {name!r}{nearest(name, ('digits',))}")
  if split not in _SPLITS:
    raise UserError(f"source {reference!r}: no split {split!r}{nearest(split, _SPLITS)}")
  return Digits(split, labels)
