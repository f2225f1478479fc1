"""Laws are told apart where the points can, and small sizes that a law does not describe are dropped."""

import numpy as np
import pytest

from synthjax.scaling import comparison, fitting, laws
from synthjax.scaling.points import points
from tests.scaling.test_fitting import PLANTED, planted, published

SIZES = np.geomspace(10, 10_000, 12)
ALL = (laws.POWER, laws.FLOOR, laws.BROKEN)


def test_a_power_law_is_rejected_on_the_published_table():
  found = comparison.compare(published(), ALL)
  power, floor = found.candidates
  assert found.best == "floor" and found.held_out == pytest.approx([13])
  assert power.rejected.startswith("F test, p = ") and not floor.rejected
  assert floor.held_out < 2e-3 < 3e-2 < power.held_out
  assert len(found.skipped) == 1 and "law broken" in found.skipped[0]


@pytest.mark.parametrize("name", ["power", "floor", "broken"])
@pytest.mark.parametrize("seeds", [1, 6])
def test_the_law_that_was_planted_is_not_rejected(name, seeds):
  """Of other noise 5 % are, which is the level."""
  data = planted(laws.LAWS[name], PLANTED[name], SIZES, 0.003, seeds, np.random.default_rng(3))
  found = comparison.compare(data, ALL, replicates=200)
  rejected = {c.fit.law.name for c in found.candidates if c.rejected}
  assert name not in rejected
  if name == "broken":
    assert found.best == "broken" and "power" in rejected


def test_a_break_is_found_where_it_was_planted():
  data = planted(laws.BROKEN, PLANTED["broken"], SIZES, 0.003, 6, np.random.default_rng(1))
  found = comparison.compare(data, ALL, replicates=300, whole=True)
  power, floor, broken = found.candidates
  assert found.best == "broken" and power.rejected and floor.rejected and broken.wins > 0.95
  assert broken.fit.values["d"] == pytest.approx(150, rel=0.3)
  assert broken.misfit > 0.01 > max(power.misfit, floor.misfit)


def test_a_law_that_misfits_is_not_the_best_where_another_does_not():
  """Means of a study whose smallest sizes learn next to nothing and whose largest reach a floor: of the law with a floor too few
  sizes are left to hold some out."""
  rng = np.random.default_rng(4)
  sizes, errors = (10, 20, 40, 100, 200, 400, 640), (0.756, 0.632, 0.42, 0.203, 0.146, 0.122, 0.118)
  data = points(
    "errors",
    [size for size in sizes for _ in range(5)],
    [error * np.exp(0.04 * rng.normal()) for error in errors for _ in range(5)],
    [seed for _ in sizes for seed in range(5)],
  )
  found = comparison.compare(data, (laws.POWER, laws.FLOOR), replicates=200)
  power, floor = found.candidates
  assert power.misfit < 1e-6 and power.held_out is not None and floor.held_out is None
  assert found.best == "floor" and found.chosen is floor and not floor.rejected
  assert power.rejected.startswith("it misfits, p = ")
  alone = comparison.compare(data, (laws.POWER,), replicates=200)
  assert alone.best == "power" and not alone.candidates[0].rejected


def test_small_sizes_that_the_law_does_not_describe_are_dropped():
  rng = np.random.default_rng(2)
  data = planted(laws.POWER, (2.0, 0.4), SIZES, 0.01, 5, rng)
  early = data.logs_MxV[:, 0] < np.log(30)
  data.log_y[early] = np.log(0.9)  # near chance nothing is learnt yet
  data.log_y[early] += 0.01 * rng.normal(size=early.sum())
  found, p = comparison.fit_range(laws.POWER, data, 0.01)
  assert np.exp(found.points.logs_MxV.min()) == pytest.approx(SIZES[2]) and p > 0.01
  assert found.values["k"] == pytest.approx(0.4, rel=0.02)
  everything, p = comparison.fit_range(laws.POWER, data, 0.01, whole=True)
  assert len(everything.points.sizes) == 12 and p < 1e-6


def test_one_seed_leaves_all_sizes():
  found, p = comparison.fit_range(laws.POWER, published(), fitting.DELTA_OF_ONE_SEED)
  assert len(found.points.sizes) == 6 and p is None


def test_where_too_few_sizes_are_left_nothing_is_held_out():
  data = points("curve", SIZES[:5], SIZES[:5] ** -0.3)
  found = comparison.compare(data, (laws.FLOOR,))
  assert found.best is None and found.candidates[0].held_out is None
