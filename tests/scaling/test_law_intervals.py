"""Intervals hold the truth as often as they say; a floor that the points do not show is not claimed."""

import numpy as np
import pytest

from synthjax.scaling import fitting, intervals, laws
from synthjax.scaling.points import points
from tests.scaling import planted
from tests.scaling.test_fitting import PLANTED, published
from tests.scaling.test_fitting import planted as plant

SIZES = np.geomspace(10, 1000, 8)


@pytest.mark.parametrize("seeds", [1, 5])
def test_planted_laws_are_found_as_well_as_the_noise_allows(seeds):
  """A small part of `python -m tests.scaling.planted`; the margins are three binomial standard deviations of 20 sets."""
  found = planted.recovery(20, 8, 0.01, seeds, replicates=300)
  for name in ("k", "c"):
    assert found.error[name] < 2 * found.efficient[name]
    assert found.coverage[name] >= 0.7
  assert found.identified == 1


@pytest.mark.slow
@pytest.mark.parametrize("n, noise", [(6, 0.001), (8, 0.01), (12, 0.03)])
def test_hundreds_of_planted_sets(n, noise):
  """Likewise, with three standard deviations of 250. All nine pairs with 1,000 sets each take 23 minutes of a core."""
  found = planted.recovery(250, n, noise, 5)
  for name in ("k", "c"):
    assert found.error[name] < 1.3 * found.efficient[name]
    assert 0.82 <= found.coverage[name] <= 0.96
    assert noise > 0.001 or found.error[name] < 0.02


def test_the_published_floor_is_identified_and_its_profile_agrees_with_least_squares():
  fit = fitting.fit(laws.FLOOR, published())
  sure = intervals.certainty(fit)
  assert sure.method == "parametric" and sure.floor_identified
  # Of a parabola: theta +- t x standard error, with 3 degrees of freedom.
  _, gradient = laws.FLOOR.evaluate(fit.theta, fit.points.logs_MxV)
  error = np.sqrt(np.linalg.inv(gradient.T @ gradient)[2, 2] * np.sum(fit.residuals**2) / 3)
  expected = np.exp(fit.theta[2] + 2.3534 * error * np.array([-1, 1]))
  assert [sure.intervals["c"].low, sure.intervals["c"].high] == pytest.approx(expected, rel=2e-4)


@pytest.mark.parametrize("seeds", [1, 5])
def test_a_power_law_has_no_identified_floor(seeds):
  rng = np.random.default_rng(4)
  claimed = 0
  for _ in range(10):
    fit = fitting.fit(laws.FLOOR, plant(laws.POWER, PLANTED["power"], SIZES, 0.01, seeds, rng))
    sure = intervals.certainty(fit, replicates=200)
    claimed += bool(sure.floor_identified)
    assert sure.floor_identified or sure.intervals["c"].low == 0
  assert claimed <= 4  # 10 % of 10, and three standard deviations


def test_whole_curves_of_seeds_are_drawn_again_each_among_those_with_its_sizes():
  sizes = np.repeat([[10.0], [20.0], [40.0]], 6, axis=0)[:, 0]
  seed = np.tile(np.arange(6), 3)
  rows = ~((sizes == 40) & (seed >= 4))  # seeds 4 and 5 were not trained at 40
  data = points("curve", sizes[rows], np.ones(rows.sum()), seed[rows])
  counts = intervals.weights(data, 200, 0)
  for s in range(6):
    assert np.ptp(counts[:, data.seed == s], axis=1).max() == 0
  assert (counts[:, np.exp(data.logs_MxV[:, 0]) > 30].sum(axis=1) == 4).all()
  assert (counts[:, np.exp(data.logs_MxV[:, 0]) < 15].sum(axis=1) == 6).all()
  assert (counts == intervals.weights(data, 200, 0)).all()


def test_seeds_that_differ_as_whole_curves_widen_the_bootstrap():
  """Rows of a seed that go up and down together are not independent."""
  rng = np.random.default_rng(5)
  clean = plant(laws.POWER, PLANTED["power"], SIZES, 0.005, 8, rng)
  shifted = points(
    "curve", np.exp(clean.logs_MxV), np.exp(clean.log_y + 0.05 * rng.normal(size=8)[clean.seed]), clean.seed
  )

  def width(data):
    found = intervals.certainty(fitting.fit(laws.POWER, data), replicates=300).intervals["a"]
    return np.log(found.high / found.low)

  assert width(shifted) > 4 * width(clean)
