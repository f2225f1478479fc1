"""Random views of a picture, as PyTorch's few-shot code makes them on the host: RandomResizedCrop, then a flip of one in two."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

LEAST = 0.5  # share of the area, of Tip-Adapter's views
_SHAPES = (3 / 4, 4 / 3)  # width by height
_TRIES = 10


def box(width: int, height: int, rng: np.random.Generator, least: float = LEAST) -> tuple[int, int, int, int]:
  """(left, top, right, bottom): torchvision's RandomResizedCrop.get_params, by another generator of random numbers."""
  for _ in range(_TRIES):
    area = width * height * rng.uniform(least, 1.0)
    shape = math.exp(rng.uniform(math.log(_SHAPES[0]), math.log(_SHAPES[1])))
    w, h = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
    if 0 < w <= width and 0 < h <= height:
      top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
      return left, top, left + w, top + h
  # A picture that is longer than any crop: its middle, as long as a crop may be.
  w, h = min(width, round(height * _SHAPES[1])), min(height, round(width / _SHAPES[0]))
  left, top = (width - w) // 2, (height - h) // 2
  return left, top, left + w, top + h


def view(image: Image.Image, side: int, rng: np.random.Generator, resample: int) -> np.ndarray:
  """[S, S, 3] uint8."""
  image = image.convert("RGB")
  cut = image.crop(box(*image.size, rng)).resize((side, side), resample=resample)
  if rng.random() < 0.5:
    cut = cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
  return np.asarray(cut)
