"""RF keeps and drops what its rule says, on planted features."""

import numpy as np
import pytest

from synthjax.filters.choose import choose
from synthjax.filters.nearest_real import nearest, passing

# Two classes' real images on the axes; class 0 has a second one, far from the first.
REAL, OF = np.array([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]]), np.array([0, 1, 0])
IMAGES = np.array(
  [
    [0.9, 0.1, 0.0],  # of class 0, near its first
    [0.1, 0.2, 0.9],  # of class 0, near its second
    [0.2, 0.9, 0.1],  # of class 0, strayed to class 1
    [1.0, 1.0, 0.0],  # of class 0, as near to either: a tie
    [0.0, 2.0, 0.1],  # of class 1, at home
    [3.0, 0.1, 0.0],  # of class 1, strayed
  ]
)
LABELS = np.array([0, 0, 0, 0, 1, 1])


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_the_nearest_real_image_decides_and_a_tie_stays(metric):
  found = nearest(IMAGES, LABELS, REAL, OF, metric)
  choice = choose(found.margin, LABELS, 2, passing(0.0), 0, False)
  assert choice.stays_N.tolist() == [True, True, False, True, True, False]
  assert found.which_own.tolist() == [0, 2, 0, 0, 1, 1] and found.which_other[[2, 5]].tolist() == [1, 0]
  assert choice.drawn.tolist() == [4, 2] and choice.kept.tolist() == [3, 1]


def test_margins_are_the_difference_of_cosines():
  found = nearest(IMAGES, LABELS, REAL, OF, "cosine")
  unit = IMAGES / np.linalg.norm(IMAGES, axis=1, keepdims=True)
  np.testing.assert_allclose(found.margin[0], unit[0, 0] - unit[0, 1])
  np.testing.assert_allclose(found.margin[1], unit[1, 2] - unit[1, 1])
  strict = choose(found.margin, LABELS, 2, passing(0.5), 0, False).stays_N
  lax = choose(found.margin, LABELS, 2, passing(-0.8), 0, False).stays_N
  assert strict.tolist() == [True, True, False, False, True, False]
  assert lax.tolist() == [True, True, True, True, True, False]


def test_an_exact_margin_passes_and_a_hair_more_does_not():
  scores = np.array([0.25, np.nextafter(0.25, 0)])
  assert choose(scores, np.array([0, 0]), 1, passing(0.25), 0, False).stays_N.tolist() == [True, False]


def test_equal_features_of_two_classes_tie_however_many_there_are():
  rng = np.random.default_rng(0)
  same = rng.normal(size=(1, 96)).astype(np.float32)
  reals = np.concatenate([rng.normal(size=(61, 96)).astype(np.float32), same, same])
  labels = np.array([2] * 61 + [0, 1])
  found = nearest(np.repeat(same, 5000, 0), np.zeros(5000, int), reals, labels, "cosine")
  assert (found.margin == 0).all()


def test_a_class_left_with_nothing_keeps_nothing():
  found = nearest(IMAGES[5:], LABELS[5:], REAL, OF, "cosine")
  choice = choose(found.margin, LABELS[5:], 2, passing(0.0), 0, False)
  assert choice.kept.tolist() == [0, 0] and choice.passed.tolist() == [0, 0]
