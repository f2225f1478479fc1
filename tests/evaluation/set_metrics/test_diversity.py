"""Vendi score, spread within classes, and which pairs are compared."""

import itertools

import numpy as np
import pytest

from synthjax.evaluation.set_metrics import diversity
from synthjax.runtime.errors import UserError

RNG = np.random.default_rng(3)
X = RNG.normal(size=(50, 8))
CLASSES = ("ant", "bee")


def naive_vendi(x):
  cosine = np.array([[p @ q / np.linalg.norm(p) / np.linalg.norm(q) for q in x] for p in x])
  values = np.linalg.eigvalsh(cosine / len(x))
  return np.exp(-sum(v * np.log(v) for v in values if v > 1e-14))


@pytest.mark.parametrize("n", [1, 5, 8, 9, 50])
def test_vendi_is_its_formula_on_both_sides_of_d(n):
  assert diversity.vendi(X[:n]) == pytest.approx(naive_vendi(X[:n]), rel=1e-9)


def test_vendi_counts_what_has_nothing_in_common():
  assert diversity.vendi(np.eye(7)) == pytest.approx(7)
  assert diversity.vendi(np.repeat(np.eye(5, 7), 4, axis=0)) == pytest.approx(5)
  assert diversity.vendi(np.ones((30, 7))) == pytest.approx(1)


def test_spread_by_hand():
  features = np.array([[0.0, 1], [2, 1], [5, 5], [5, 5], [5, 8]])
  found = diversity.spread(features, np.array([0, 0, 1, 1, 1]), CLASSES)
  assert found.by_class == {"ant": pytest.approx(np.sqrt(2) / 2), "bee": pytest.approx(np.sqrt(3) / 2)}
  assert found.mean == pytest.approx((np.sqrt(2) + np.sqrt(3)) / 4)  # each class alike, though bee has more


def test_both_rise_with_noise():
  base, noise, labels = np.ones((50, 8)), RNG.normal(size=X.shape), np.arange(50) % 2
  noisier = [base + s * noise for s in (0.1, 0.2, 0.5, 1, 2)]
  vendi = [diversity.vendi(x) for x in noisier]
  spread = [diversity.spread(x, labels, CLASSES).mean for x in noisier]
  assert vendi == sorted(vendi) and spread == sorted(spread)
  assert spread[2] == pytest.approx(5 * spread[0])


def test_pairs_are_different_and_of_one_class():
  labels = RNG.integers(0, 2, 40)
  found = diversity.pairs(labels, CLASSES, 30, seed=5)
  for label, pairs in enumerate(found.values()):
    assert len({tuple(p) for p in pairs.tolist()}) == 30 and (pairs[:, 0] < pairs[:, 1]).all()
    assert (labels[pairs] == label).all()
  again, other = (diversity.pairs(labels, CLASSES, 30, seed=s)["ant"] for s in (5, 6))
  assert (again == found["ant"]).all() and (other != again).any()


def test_every_pair_is_there_once_where_all_are_asked_for():
  found = diversity.pairs(np.array([1, 0, 1, 1, 0, 1]), CLASSES, 100, seed=0)
  assert found["ant"].tolist() == [[1, 4]]
  assert sorted(map(tuple, found["bee"].tolist())) == list(itertools.combinations([0, 2, 3, 5], 2))


def test_a_pair_of_many_images_is_none_of_an_image_and_itself():
  pairs = diversity.pairs(np.zeros(50_000, int), ("ant",), 5000, seed=1)["ant"]
  assert (pairs[:, 0] < pairs[:, 1]).all() and pairs.min() >= 0 and 49_000 < pairs.max() < 50_000


def test_a_class_with_one_image_is_named():
  labels = np.array([0] * 49 + [1])
  with pytest.raises(
    UserError, match="class bee: 1 synthetic images are too few for this metric, which needs 2"
  ):
    diversity.spread(X, labels, CLASSES)
  with pytest.raises(UserError, match="class bee: a pair needs two images of it"):
    diversity.pairs(labels, CLASSES, 3, seed=0)
  with pytest.raises(UserError, match="1 of 50 features of synthetic images are zero"):
    diversity.vendi(X * (np.arange(50) > 0)[:, None])
