"""Sources that ship: the real digits, and glyphs that the small world's renderer draws."""

from __future__ import annotations

import functools
import hashlib
import io

import numpy as np
from PIL import Image

from synthjax.data.source import Source
from synthjax.labels import spaces
from synthjax.labels.spaces import LabelSpace
from synthjax.runtime.errors import UserError, nearest
from synthjax.small_world import digits, glyphs, looks, world

_SPLITS = ("first", "second", "all")
_PER_CLASS, _MOST_PER_CLASS = 100, 10_000
# No network's of the small world has one of these seeds: none has seen the pictures.
_TEST, _LEARN = "", "learn"
_SEEDS = {_TEST: 20_000_003, _LEARN: 30_000_001}


class _Embedded(Source):
  _pixels: np.ndarray  # [n, 32, 32, 3] uint8

  def encoded(self, i: int) -> bytes:
    buffer = io.BytesIO()
    self.image(i).save(buffer, "PNG")
    return buffer.getvalue()

  def image(self, i: int) -> Image.Image:
    return Image.fromarray(self._pixels[i])

  def put(self, i: int, out_SxSx3: np.ndarray, scaled: bool = False) -> bool:
    del i, out_SxSx3, scaled
    return False  # they are no JPEGs


class Digits(_Embedded):
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

  @functools.cached_property
  def digest(self) -> str:
    return hashlib.sha256(self._pixels.tobytes() + self._classes.tobytes()).hexdigest()


class Glyphs(_Embedded):
  """Rendered pictures of each class, in any look of the given styles; no network of the small world has seen one of them. STYLES:N
  asks for N of a class in the place of 100, which begin with these. STYLES:N:learn are others, to learn from."""

  name = "glyphs"

  def __init__(self, styles: str, labels: LabelSpace | None):
    self.split, (names, _, rest) = styles, styles.partition(":")
    given, (per_class, _, use) = names.split("+"), rest.partition(":")
    if use not in _SEEDS:
      raise UserError(
        f"source embedded:glyphs:{styles}: {use!r}; STYLES:N is to test on, and STYLES:N:{_LEARN} to learn from"
      )
    if ":" in styles and not (per_class.isdecimal() and 0 < int(per_class) <= _MOST_PER_CLASS):
      raise UserError(
        f"source embedded:glyphs:{styles}: {per_class!r} pictures a class; a number from 1 to {_MOST_PER_CLASS:,}"
      )
    for style in given:
      if style not in looks.STYLES:
        raise UserError(
          f"source embedded:glyphs:{styles}: no style {style!r}{nearest(style, looks.STYLES)}; it is one or more of "
          f"{', '.join(looks.STYLES)}, with + between"
        )
    drawn = labels or spaces.load("digits")
    if unknown := [i for i in drawn.ids if i not in glyphs.CHARACTERS]:
      raise UserError(
        f"source embedded:glyphs:{styles}: class {unknown[0]!r} is none of the glyphs, 0 to 9 and A to Z"
      )
    n = int(per_class or _PER_CLASS) * len(drawn)
    self._seed = _SEEDS[use]
    self._pixels = _rendered(n, drawn, tuple(given), self._seed)
    self.labels = (np.arange(n) % len(drawn)).astype(np.int32) if labels else None
    self.keys = [f"{drawn.ids[i % len(drawn)]}-{i // len(drawn)}" for i in range(n)]

  @functools.cached_property
  def digest(self) -> str:
    """Of what is drawn: pixels may differ in a last bit where processors round otherwise."""
    return hashlib.sha256(f"glyphs {self.split} {' '.join(self.keys)} {self._seed}".encode()).hexdigest()


@functools.lru_cache(maxsize=4)  # every seed of a learner opens its source
def _rendered(n: int, labels: LabelSpace, styles: tuple[str, ...], seed: int) -> np.ndarray:
  pixels = world.pictures(n, labels, styles, seed).pixels
  pixels.flags.writeable = False
  return pixels


_SOURCES = ("digits", "glyphs")


def open_embedded(reference: str, rest: str, labels: LabelSpace | None) -> Source:
  name, _, split = rest.partition(":")
  if name not in _SOURCES:
    raise UserError(f"source {reference!r}: no embedded images {name!r}{nearest(name, _SOURCES)}")
  if name == "glyphs":
    return Glyphs(split, labels)
  if split not in _SPLITS:
    raise UserError(f"source {reference!r}: no split {split!r}{nearest(split, _SPLITS)}")
  return Digits(split, labels)
