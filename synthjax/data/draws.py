"""Parts of a source: so many shots a class, a fraction, a long tail. The same images on every machine.

Each image has a rank in its class, by a hash of (seed, class id, key): no file system, process count or library decides
it, and neither do the other images. So draws are nested: 2 shots begin with the 1, a half holds the tenth.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from synthjax.data.selection import chosen_digest
from synthjax.data.source import Source
from synthjax.labels.spaces import LabelSpace
from synthjax.runtime.errors import UserError
from synthjax.store import image_ids

Array = np.ndarray


class Part(Source):
  """The images of another source at `places`, in its order."""

  def __init__(self, whole: Source, places: image_ids.Places, what: str):
    self._whole, self._places = whole, np.asarray(places, np.intp)
    self.name, self.split = whole.name, f"{whole.split}, {what}"
    self.labels = None if whole.labels is None else whole.labels[self._places]
    self.keys = image_ids.at(whole.keys, self._places)

  def _place(self, i: int) -> int:
    return int(self._places[i])

  def encoded(self, i: int) -> bytes:
    return self._whole.encoded(self._place(i))

  def where(self, i: int) -> str:
    return self._whole.where(self._place(i))

  def image(self, i: int) -> Image.Image:
    return self._whole.image(self._place(i))

  def put(self, i: int, out_SxSx3: Array, scaled: bool = False) -> bool:
    return self._whole.put(self._place(i), out_SxSx3, scaled)

  def about(self, i: int) -> Mapping[str, Any]:
    return self._whole.about(self._place(i))

  @functools.cached_property
  def digest(self) -> str:
    return chosen_digest(self._whole.digest, self.keys)


def draw(
  source: Source,
  labels: LabelSpace,
  *,
  shots: int = 0,
  fraction: float = 1.0,
  imbalance: float = 1.0,
  seed: int = 0,
) -> Source:
  """A labelled part of `source`.

  shots       so many of each class, or all where a class has fewer; 0 = not limited
  fraction    of each class, rounded up
  imbalance   the first class keeps what the two above leave it, class k as much times imbalance ** (-k / (K - 1)), at
              least one: the exponential long tail (Cui et al. 2019), in the order of the label space
  """
  if shots == 0 and fraction == 1.0 and imbalance == 1.0:
    return source
  assert source.labels is not None
  places: list[int] = []
  for k, class_id in enumerate(labels.ids):
    own = np.flatnonzero(source.labels == k)
    if not len(own):
      raise UserError(f"source {source.name}: class {class_id!r} has no image to draw from")
    n = math.ceil(fraction * len(own))
    n = min(n, shots) if shots else n
    n = max(1, int(n * imbalance ** (-k / max(len(labels) - 1, 1)) + 1e-9))
    ranked = sorted(own.tolist(), key=lambda i: _rank(seed, class_id, source.keys[i]))
    places += ranked[:n]
  what = [f"{shots} a class"] if shots else []
  what += [f"{fraction:.4g} of it"] if fraction != 1.0 else []
  what += [f"imbalance {imbalance:g}"] if imbalance != 1.0 else []
  return Part(source, sorted(places), ", ".join([*what, f"draw {seed}"]))


def _rank(seed: int, class_id: str, key: str) -> bytes:
  return hashlib.sha256(f"{seed}\0{class_id}\0{key}".encode(errors="surrogateescape")).digest()
