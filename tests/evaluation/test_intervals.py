"""Intervals and paired tests against SciPy's, and against what they promise: simulated."""

import itertools

import numpy as np
import pytest
from scipy import stats

from synthjax.evaluation import intervals


@pytest.mark.parametrize(
  "right, n", [(0, 1), (1, 1), (0, 20), (425, 899), (501, 899), (899, 899), (7, 50_000)]
)
def test_wilson_is_scipys(right, n):
  oracle = stats.binomtest(right, n).proportion_ci(method="wilson")
  assert intervals.wilson(right / n, n) == pytest.approx((oracle.low, oracle.high), abs=1e-12)


def differing(won: int, lost: int, same: int = 30) -> tuple[np.ndarray, np.ndarray]:
  """Two classifiers on images that the first alone gets right, that the second alone does, and others."""
  first = np.r_[np.ones(won), np.zeros(lost), np.ones(same)].astype(bool)[None]
  second = np.r_[np.zeros(won), np.ones(lost), np.ones(same)].astype(bool)[None]
  return first, second


@pytest.mark.parametrize("won, lost", [(0, 0), (1, 0), (5, 0), (9, 2), (40, 40), (120, 81), (4000, 3700)])
def test_with_one_seed_the_test_is_mcnemars_exact_one(won, lost):
  first, second = differing(won, lost)
  oracle = stats.binomtest(won, won + lost).pvalue if won + lost else 1.0
  assert intervals.paired(first, second).p == pytest.approx(oracle, abs=1e-9)
  assert intervals.paired(second, first).p == intervals.paired(first, second).p


def test_with_one_seed_the_interval_is_bonett_and_prices():
  found, n = intervals.paired(*differing(9, 2, same=39)), 52
  won, lost = 10 / n, 3 / n
  half = 1.959964 * np.sqrt((won + lost - (won - lost) ** 2) / n)
  assert found.mean == pytest.approx(7 / 50)
  assert (found.low, found.high) == pytest.approx((won - lost - half, won - lost + half), abs=1e-6)
  same = intervals.paired(*differing(0, 0, same=900))
  assert same.low < 0 < same.high < 0.01  # not known to be none: 900 images may miss what is rare


def test_with_several_seeds_the_test_counts_all_choices_of_signs():
  rng = np.random.default_rng(5)
  first, second = rng.random((3, 10)) < 0.7, rng.random((2, 10)) < 0.4
  d = first.mean(0) - second.mean(0)
  flipped = np.array(list(itertools.product((-1, 1), repeat=10))) @ d
  oracle = (np.abs(flipped) >= abs(d.sum()) - 1e-9).mean()
  assert intervals.paired(first, second).p == pytest.approx(oracle, abs=1e-9)


def test_many_images_take_no_time_and_no_simulation():
  rng = np.random.default_rng(0)
  second = rng.random((3, 50_000)) < 0.8
  first = second ^ (rng.random((3, 50_000)) < 0.05)
  found = intervals.paired(first, second)
  assert found == intervals.paired(first, second)
  d = first.mean(0) - second.mean(0)
  assert found.p == pytest.approx(2 * stats.norm.sf(abs(d.sum()) / np.sqrt((d**2).sum())), rel=0.05, abs=1e-9)


def test_holm_is_as_in_his_paper():
  """Sorted and multiplied by how many are left, never falling."""
  assert intervals.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
  assert (
    intervals.holm([0.9, 0.8]) == [1.0, 1.0] and intervals.holm([0.2]) == [0.2] and intervals.holm([]) == []
  )


def answers(rng, trials: int, n: int, seeds: int, gain: float) -> tuple[np.ndarray, np.ndarray]:
  """Of fresh test images: some hard and some easy for both, so that the two agree on most; their accuracies differ by
  `gain`. The second is one fixed network, the first `seeds` that mostly agree."""
  easy = rng.beta(0.5, 0.3, (trials, 1, n))
  second = rng.random((trials, 1, n)) < easy
  better = np.clip(easy * (1 - gain) + gain * np.where(easy < 1, 1.0, 0.0), 0, 1)
  agreed = rng.random((trials, 1, n)) < 0.8
  common, own = rng.random((trials, 1, n)), rng.random((trials, seeds, n))
  return np.where(agreed, common, own) < better, second


@pytest.mark.parametrize("n, seeds", [(60, 1), (60, 3), (400, 1), (400, 3)])
def test_of_simulated_tests_the_intervals_hold_19_of_20(n, seeds):
  rng, trials, gain = np.random.default_rng(n + seeds), 1500, 0.05
  first, second = answers(rng, trials, n, seeds, gain)
  accuracy = 0.5 / 0.8 * (1 - gain) + gain  # of the first, by the mean of the beta distribution
  single, pairs = 0, 0
  for ours, theirs in zip(first, second, strict=True):
    low, high = intervals.wilson(ours.mean(), n)
    single += low <= accuracy <= high
    found = intervals.paired(ours, theirs)
    pairs += found.low <= accuracy - 0.5 / 0.8 <= found.high
  assert single / trials > 0.92  # 0.942 for 60 images and one seed, whose numbers right are whole
  assert 0.935 < pairs / trials < 0.975


@pytest.mark.parametrize("seeds", [1, 3])
def test_of_simulated_equals_the_test_finds_a_difference_in_at_most_1_of_20(seeds):
  rng, trials = np.random.default_rng(seeds), 1500
  first, second = answers(rng, trials, 200, seeds, gain=0.0)
  alarms = sum(intervals.paired(a, b).p < 0.05 for a, b in zip(first, second, strict=True))
  assert 0.02 < alarms / trials < 0.062
