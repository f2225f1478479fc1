"""Small grey pictures as features: for finding copies, where an encoder of meanings is the wrong tool.

CLIP takes two 4s of one hand for nearly the same picture, and a picture of 32 pixels moved by two of them for another
one. A copy is a matter of pixels.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from PIL import Image

from synthjax.data.decoding import decode

SIDE = 32


class Thumbnail:
  """In the place of a Preprocess: pixels are [32, 32] uint8, and are the features themselves."""

  def pixels(self, image: Image.Image) -> np.ndarray:
    """Squashed, and not cropped: a copy of another shape is a copy."""
    return np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.BICUBIC))

  def decode(self, data: bytes, where: str = "image") -> np.ndarray:
    return self.pixels(decode(data, where))


def embed(images: Iterable[np.ndarray]) -> np.ndarray:
  """[N, 32, 32]."""
  found = list(images)
  return np.stack(found) if found else np.zeros((0, SIDE, SIDE), np.uint8)
