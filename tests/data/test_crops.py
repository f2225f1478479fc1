"""Random views of a picture: where crops lie, how large they are, and what is made of them."""

import numpy as np
from PIL import Image

from synthjax.data import crops

BICUBIC = int(Image.Resampling.BICUBIC)


def boxes(width, height, n=2000):
  rng = np.random.default_rng(0)
  return np.array([crops.box(width, height, rng) for _ in range(n)])


def test_crops_are_spread_as_random_resized_crop_spreads_them():
  """Shares of the area from a half to all of it, shapes from 3:4 to 4:3, anywhere in the picture."""
  width, height = 400, 300
  left, top, right, bottom = boxes(width, height).T
  w, h = right - left, bottom - top
  share, shape = w * h / (width * height), w / h
  assert (left >= 0).all() and (top >= 0).all() and (right <= width).all() and (bottom <= height).all()
  assert 0.49 < share.min() < 0.52 and 0.95 < share.max() <= 1
  assert 0.74 < shape.min() < 0.80 and 1.30 < shape.max() < 1.35
  free = w < width
  places = (left[free] / (width - w[free])).mean()
  assert 0.47 < places < 0.53  # nowhere in particular


def test_of_a_picture_longer_than_any_crop_it_is_the_middle():
  assert {tuple(b) for b in boxes(400, 40, 20).tolist()} == {(173, 0, 226, 40)}  # 40 * 4/3 = 53 wide
  assert {tuple(b) for b in boxes(40, 400, 20).tolist()} == {(0, 173, 40, 226)}


def test_a_view_is_the_crop_made_square_and_every_second_one_is_mirrored():
  noise = np.random.default_rng(1).integers(0, 256, (30, 40, 3), np.uint8)
  image, flipped = Image.fromarray(noise), 0
  for seed in range(40):
    seen = crops.view(image, 24, np.random.default_rng(seed), BICUBIC)
    cut = image.crop(crops.box(40, 30, np.random.default_rng(seed))).resize(
      (24, 24), Image.Resampling.BICUBIC
    )
    upright = (seen == np.asarray(cut)).all()
    assert upright or (seen[:, ::-1] == np.asarray(cut)).all()
    flipped += not upright
  assert 10 < flipped < 30
