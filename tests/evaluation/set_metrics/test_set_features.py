"""What all metrics refuse, and how classes and subsamples are taken."""

import tracemalloc

import numpy as np
import pytest

from synthjax.evaluation.set_metrics import features, frechet, kernels, neighbours
from synthjax.runtime.errors import UserError

RNG = np.random.default_rng(6)
X = RNG.normal(size=(40, 3))
LABELS = RNG.permutation(np.arange(40) % 2)
CLASSES = ("ant", "bee")


@pytest.mark.parametrize("metric", [frechet.between, kernels.kid, kernels.cmmd, neighbours.prdc])
def test_features_that_are_no_numbers_are_refused(metric):
  broken = X.copy()
  broken[[3, 7], 1] = np.nan, np.inf
  with pytest.raises(UserError, match="2 of 40 features of synthetic images are not finite"):
    metric(X, broken)
  with pytest.raises(UserError, match=r"the features of real images are float64\[40\], not numbers \[n, d\]"):
    metric(X[:, 0], X)


def test_each_class_is_measured_alone():
  moved = X + LABELS[:, None]
  found = features.by_class(frechet.between, CLASSES, (X, LABELS), (moved, LABELS))
  assert found == {"ant": pytest.approx(0, abs=1e-9), "bee": pytest.approx(3)}
  permuted = RNG.permutation(40)
  again = features.by_class(frechet.between, CLASSES, (X, LABELS), (moved[permuted], LABELS[permuted]))
  assert again["bee"] == pytest.approx(3)


def test_a_class_without_images_is_named():
  with pytest.raises(
    UserError, match="class cat: a set has no image of it; add images, or leave the class out"
  ):
    features.by_class(len, (*CLASSES, "cat"), (X, LABELS))
  with pytest.raises(UserError, match="class bee: 20 real images are compared with 19 synthetic ones"):
    last = np.flatnonzero(LABELS)[-1]
    features.by_class(
      frechet.between, CLASSES, (X, LABELS), (np.delete(X, last, axis=0), np.delete(LABELS, last))
    )
  with pytest.raises(UserError, match="20 of 40 labels are none of the 1 classes"):
    features.by_class(len, ("ant",), (X, LABELS))


def test_a_subsample_is_the_same_every_time():
  places = features.subsample(100, 30, seed=1)
  assert (places == features.subsample(100, 30, seed=1)).all() and (places[1:] > places[:-1]).all()
  assert (places != features.subsample(100, 30, seed=2)).any()
  with pytest.raises(UserError, match="a subsample of 101 of 100 images cannot be; ask for 1 to 100"):
    features.subsample(100, 101, seed=1)


@pytest.mark.parametrize("metric", [kernels.cmmd, neighbours.prdc])
def test_no_matrix_of_all_pairs_is_made(monkeypatch, metric):
  many = RNG.normal(size=(2, 2000, 3))
  monkeypatch.setattr(features, "BLOCK", 1 << 17)  # 1 MiB
  tracemalloc.start()
  try:
    metric(*many)
    peak = tracemalloc.get_traced_memory()[1]
  finally:
    tracemalloc.stop()
  assert peak < 8 << 20 < 2000 * 2000 * 8  # of the pairs alone


def test_a_subsample_by_share_leaves_no_class_out():
  labels = np.repeat(np.arange(50), np.arange(2, 52))  # 2 to 51 images
  for size in (100, 400, len(labels)):
    places = features.by_share(labels, size, seed=3)
    drawn = np.bincount(labels[places], minlength=50)
    share = size / len(labels) * np.arange(2, 52)
    assert len(places) == size and (places[1:] > places[:-1]).all() and np.abs(drawn - share).max() <= 1
  few = features.by_share(labels, 100, seed=3)
  assert (few == features.by_share(labels, 100, seed=3)).all()
  assert (few != features.by_share(labels, 100, seed=4)).any()
  with pytest.raises(UserError, match="a subsample of 0 of"):
    features.by_share(labels, 0, seed=0)
