import numpy as np
import pytest

from synthjax.small_world import digits


def test_halves_are_the_file_cut_in_two():
  (first, y1), (second, y2), (every, y) = (digits.load(half) for half in ("first", "second", "all"))
  assert first.shape == (898, 32, 32, 3) and second.shape == (899, 32, 32, 3)
  assert first.dtype == np.uint8 and y1.dtype == np.uint8
  assert (np.concatenate([first, second]) == every).all()
  assert (np.concatenate([y1, y2]) == y).all()


def test_no_picture_is_in_both_halves():
  first, second = (set(map(bytes, digits.load(half)[0])) for half in ("first", "second"))
  assert not first & second


def test_each_digit_has_its_share():
  labels = digits.load("all")[1]
  assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]  # as UCI states
  assert np.bincount(digits.load("first")[1]).min() >= 85


def test_ink_is_light_on_black_and_uses_the_whole_scale():
  images = digits.load("first")[0]
  assert images.min() == 0 and images.max() == 255
  assert np.median(images[:, :, 0]) == 0  # the left margin


def test_an_unknown_half_is_refused():
  with pytest.raises(KeyError):
    digits.load("third")


def test_who_changes_its_pictures_changes_nobody_elses():
  pixels, labels = digits.load("first")
  before = pixels.copy(), labels.copy()
  pixels[:], labels[:] = 7, 7
  for mine, now in zip(before, digits.load("first"), strict=True):
    np.testing.assert_array_equal(now, mine)


def test_order_and_pixels_are_those_of_scikit_learn():
  bunch = pytest.importorskip("sklearn.datasets").load_digits()
  with np.load(digits._FILE) as file:
    assert (file["labels"] == bunch.target).all()
    assert (file["images"] == bunch.images).all()
