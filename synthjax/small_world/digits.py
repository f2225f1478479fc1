"""The real digits: 1,797 handwritten ones of 8 x 8 pixels, the counterpart of the glyph world.

They are the test part of "Optical Recognition of Handwritten Digits" (E. Alpaydin and C. Kaynak, UCI Machine
Learning Repository, 1998, doi:10.24432/C50P49, CC BY 4.0), as scikit-learn ships them. `digits.npz` holds them in
file order, unchanged but for the type; it was made by

    bunch = sklearn.datasets.load_digits()
    np.savez_compressed("digits.npz", images=bunch.images.astype("uint8"), labels=bunch.target.astype("uint8"))

Grey values are counts 0..16 of ink in blocks of 4 x 4 of a bitmap; ink is light, the ground black. The second half
is the test and was not looked at while the glyph world was made. Writers differ along the file: never shuffle
across the halves.
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 32
_FILE = Path(__file__).with_name("digits.npz")
_HALVES = {"first": slice(0, 898), "second": slice(898, 1797), "all": slice(0, 1797)}


def load(half: str) -> tuple[np.ndarray, np.ndarray]:
  """Images, uint8 [N, 32, 32, 3], bicubic; and labels, uint8 [N]. `half` is first, second or all."""
  rows = _HALVES[half]
  grey_NxSxS, labels_N = _enlarged()
  return np.repeat(grey_NxSxS[rows, ..., None], 3, axis=-1), labels_N[rows].copy()


@functools.cache
def _enlarged() -> tuple[np.ndarray, np.ndarray]:
  """All images, one channel, and labels. A study opens the digits many times; to enlarge them takes a tenth of a second."""
  with np.load(_FILE) as file:
    small_Nx8x8, labels_N = file["images"], file["labels"]
  grey_Nx8x8 = (small_Nx8x8 * (255 / 16)).astype(np.uint8)
  size, bicubic = (SIDE, SIDE), Image.Resampling.BICUBIC
  return np.stack(
    [np.asarray(Image.fromarray(image).resize(size, bicubic)) for image in grey_Nx8x8]
  ), labels_N
