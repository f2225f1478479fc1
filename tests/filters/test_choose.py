"""Keep-lists: planted scores, ties, quotas met and missed, classes with nothing, growth."""

import numpy as np
import pytest

from synthjax.filters.choose import choose, further, prefix, visible
from synthjax.filters.clip import own_class_probability


def case(*rows):
  """(label, score) rows in plan order."""
  labels, scores = zip(*rows, strict=True)
  return np.array(scores), np.array(labels)


def stays(choice) -> list[int]:
  return np.flatnonzero(choice.stays_N).tolist()


def test_a_score_must_exceed_the_threshold_and_not_only_reach_it():
  scores, labels = case((0, 0.5), (0, 0.5000001), (1, 0.4999999), (1, 0.9))
  choice = choose(scores, labels, 2, 0.5, quota=0, fill=False)
  assert stays(choice) == [1, 3]
  assert choice.drawn.tolist() == [2, 2] and choice.passed.tolist() == [1, 1]


def test_a_quota_takes_the_first_that_pass_whatever_their_scores():
  scores, labels = case((0, 0.6), (1, 0.9), (0, 0.1), (0, 0.99), (0, 0.8), (1, 0.7))
  choice = choose(scores, labels, 2, 0.5, quota=2, fill=True)
  assert stays(choice) == [0, 1, 3, 5]
  assert choice.kept.tolist() == [2, 2] and choice.filled.tolist() == [0, 0]
  assert choice.passed.tolist() == [3, 2]


def test_a_missed_quota_is_filled_by_the_best_scored_of_the_rest():
  scores, labels = case((0, 0.3), (0, 0.4), (0, 0.9), (0, 0.1))
  assert stays(choose(scores, labels, 1, 0.5, quota=3, fill=True)) == [0, 1, 2]
  assert choose(scores, labels, 1, 0.5, quota=3, fill=True).filled.tolist() == [2]
  assert stays(choose(scores, labels, 1, 0.5, quota=3, fill=False)) == [2]
  assert choose(scores, labels, 1, 0.5, quota=9, fill=True).kept.tolist() == [4]  # there are no more


def test_of_equal_scores_the_earlier_fills():
  scores, labels = case((0, 0.2), (0, 0.4), (0, 0.4), (0, 0.4))
  assert stays(choose(scores, labels, 1, 0.5, quota=2, fill=True)) == [1, 2]


def test_a_class_with_nothing_kept_and_one_with_nothing_drawn():
  scores, labels = case((0, 0.2), (0, 0.1), (1, 0.8))
  choice = choose(scores, labels, 3, 0.5, quota=1, fill=False)
  assert choice.kept.tolist() == [0, 1, 0] and choice.drawn.tolist() == [2, 1, 0]
  assert further(choice, quota=1, most=10) == (2, 0, 1)  # doubled; enough; begun


@pytest.mark.parametrize("quota", [0, 3, 8])
def test_growth_keeps_what_was_kept_by_passing(quota):
  rng = np.random.default_rng(0)
  labels, scores = np.arange(300) % 5, rng.random(300)
  small = choose(scores[:150], labels[:150], 5, 0.6, quota, fill=False)
  large = choose(scores, labels, 5, 0.6, quota * 2, fill=False)
  assert set(stays(small)) <= set(stays(large))


def test_a_round_draws_what_the_acceptance_asks_for_up_to_the_cap():
  scores, labels = case(*[(0, 0.9)] * 5, *[(0, 0.1)] * 15, *[(1, 0.9)] * 20)
  choice = choose(scores, labels, 2, 0.5, quota=10, fill=False)
  assert further(choice, quota=10, most=1000) == (22, 0)  # 5 short at 1 in 4, and a tenth more
  assert further(choice, quota=10, most=30) == (10, 0)
  assert further(choice, quota=10, most=20) == (0, 0)


def test_the_score_is_the_probability_of_the_own_class():
  """A case by hand: unit features along the axes, a scale of 2."""
  features = np.array([[3.0, 0.0], [0.0, 0.5], [1.0, 1.0]], np.float32)
  classifier = 2 * np.eye(2, dtype=np.float32)
  e2 = np.exp(2.0)
  wanted = [e2 / (e2 + 1), 1 / (e2 + 1), 0.5]
  np.testing.assert_allclose(
    own_class_probability(features, np.array([0, 0, 1]), classifier), wanted, rtol=1e-6
  )


def test_large_scales_do_not_overflow():
  features, classifier = np.eye(3, dtype=np.float32), 1e4 * np.eye(3, dtype=np.float32)
  assert own_class_probability(features, np.arange(3), classifier).tolist() == [1.0, 1.0, 1.0]


def by_class(scores, labels, n_classes, threshold, quota, fill) -> list[int]:
  """The same choice, one class after another."""
  stays = []
  for c in range(n_classes):
    own = np.flatnonzero(labels == c)
    passing = own[scores[own] > threshold].tolist()
    stays += passing[:quota] if quota else passing
    others = own[~(scores[own] > threshold)]
    if fill and len(passing) < quota:
      stays += others[np.argsort(-scores[others], kind="stable")][: quota - len(passing)].tolist()
  return sorted(stays)


@pytest.mark.parametrize("fill", [False, True])
@pytest.mark.parametrize("quota", [0, 1, 4, 50])
def test_all_classes_at_once_are_as_one_after_another(quota, fill):
  rng = np.random.default_rng(quota)
  labels, scores = rng.integers(0, 30, 500), rng.integers(0, 12, 500) / 12  # many are equal
  scores[rng.integers(0, 500, 20)] = np.nan
  found = choose(scores, labels, 40, 0.6, quota, fill)
  assert stays(found) == by_class(scores, labels, 40, 0.6, quota, fill)
  assert (
    found.kept.sum() == found.stays_N.sum() and found.filled.sum() == (found.stays_N & ~(scores > 0.6)).sum()
  )


def test_the_rounds_follow_from_the_first_samples_and_not_from_what_lies_behind_them():
  """Each class is a row of scores; whoever drew more of it only makes the row longer."""
  rng = np.random.default_rng(3)
  rows = [rng.random(400) * (0.3 + 0.1 * c) for c in range(6)]

  def seen(drawn: int) -> list[list[int]]:
    def look(reach):
      assert reach[-1].max() <= drawn
      labels = np.repeat(np.arange(6), reach[-1])
      scores = np.concatenate([row[:n] for row, n in zip(rows, reach[-1], strict=True)])
      return choose(scores, labels, 6, 0.25, quota=10, fill=True)

    reach, choice = prefix(np.full(6, 8), look, quota=10, most=200, max_rounds=3)
    assert choice.drawn.tolist() == reach[-1].tolist()
    return [step.tolist() for step in reach]

  assert seen(400) == seen(200) and 2 < len(seen(200)) <= 4
  waits = prefix(np.full(6, 8), lambda reach: None, quota=10, most=200, max_rounds=3)
  assert waits[1] is None and len(waits[0]) == 1


def test_samples_are_seen_round_by_round_whatever_their_order_on_the_disk():
  labels, samples = np.array([0, 0, 0, 1, 1, 0]), np.array([0, 1, 2, 0, 1, 3])
  reach = [np.array([1, 1]), np.array([3, 2])]
  assert visible(samples, labels, reach).tolist() == [0, 3, 1, 4, 2]
  turned = np.array([5, 4, 3, 2, 1, 0])
  again = turned[visible(samples[turned], labels[turned], reach)]
  assert again.tolist() == [0, 3, 1, 4, 2]
