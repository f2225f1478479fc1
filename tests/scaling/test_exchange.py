"""Exchange rates, crossings and exponents of planted curves, whose answers are known; and the exponents of classes."""

import dataclasses

import numpy as np
import pytest

from synthjax.runtime.errors import UserError
from synthjax.scaling import classes, exchange, fitting, laws
from tests.scaling.test_fitting import PLANTED, planted

SIZES = np.geomspace(10, 1000, 8)


def fitted(law, natural, noise=0.0, seeds=1, seed=0, sizes=SIZES):
  return fitting.fit(law, planted(law, natural, sizes, noise, seeds, np.random.default_rng(seed)))


@pytest.mark.parametrize("name", ["power", "floor", "broken"])
def test_images_to_a_target_invert_the_law(name):
  found = fitted(laws.LAWS[name], PLANTED[name], sizes=np.geomspace(10, 10_000, 16))
  (target,) = found.predict([200.0])
  assert exchange.images_to(found, float(target)).value == pytest.approx(200, rel=1e-6)


def test_below_its_floor_no_number_of_images_is_enough():
  found = fitted(laws.FLOOR, (2.0, 0.5, 0.1), 0.005, 5)
  assert exchange.images_to(found, 0.09).value == np.inf
  near = exchange.images_to(found, 0.11)
  assert near.extrapolated and near.interval.low < near.value < near.interval.high
  assert not exchange.images_to(found, 0.3).extrapolated
  with pytest.raises(UserError, match="the target is 0"):
    exchange.images_to(found, 0.0)


@pytest.mark.parametrize("seeds, method", [(1, "parametric"), (5, "bootstrap")])
def test_synthetic_images_for_a_real_one(seeds, method):
  """2 D^-.5 and D^-.5: four synthetic images do what a real one does, at any size."""
  synthetic, real = (fitted(laws.POWER, (a, 0.5), 0.005, seeds, i) for i, a in enumerate((2.0, 1.0)))
  for rate in exchange.rates(synthetic, real, [20, 100], replicates=300):
    assert rate.per_image.value == pytest.approx(4, rel=0.05)
    assert rate.per_image.interval.low < 4 < rate.per_image.interval.high < 4.6
    assert rate.images.value == pytest.approx(rate.size * rate.per_image.value)
    assert rate.per_image.method == method and rate.measure == pytest.approx(rate.size**-0.5, rel=0.02)


def test_curves_cross_where_they_were_planted():
  """2 D^-.5 and D^-.35 cross at D = 2^(1 / .15) = 101.6."""
  first, second = fitted(laws.POWER, (2.0, 0.5), 0.005, 5), fitted(laws.POWER, (1.0, 0.35), 0.005, 5, 1)
  found = exchange.crossing(first, second, replicates=300)
  assert found.value == pytest.approx(2 ** (1 / 0.15), rel=0.03) and not found.extrapolated
  assert found.interval.low < 2 ** (1 / 0.15) < found.interval.high
  assert exchange.crossing(first, fitted(laws.POWER, (4.0, 0.5), 0.005, 5, 2)) is None


def test_exponents_are_compared_on_the_sizes_in_common():
  """A curve that bends outside of what both span does not count there."""
  straight = fitted(laws.POWER, (1.0, 0.3), 0.002, 5)
  bent = planted(laws.POWER, (1.0, 0.5), np.geomspace(10, 100_000, 16), 0.002, 5, np.random.default_rng(1))
  bent.log_y[bent.logs_MxV[:, 0] > np.log(1001)] = np.log(0.03)
  found = exchange.exponents(fitting.fit(laws.POWER, bent), straight, replicates=300)
  assert found.value == pytest.approx(0.2, abs=0.01)
  assert 0.18 < found.interval.low < 0.2 < found.interval.high < 0.22
  apart = fitting.fit(laws.POWER, planted(laws.POWER, (1.0, 0.3), np.geomspace(2000, 90_000, 8)))
  with pytest.raises(UserError, match="no sizes in common"):
    exchange.exponents(straight, apart)


def test_the_same_seeds_are_drawn_for_both_curves():
  """What a seed shares between curves cancels in their difference."""
  shared = 0.05 * np.random.default_rng(9).normal(size=6)

  def with_seeds(a, names):
    found = fitted(laws.POWER, (a, 0.5), 0.002, 6, int(a))
    data = found.points
    data.log_y[:] += shared[data.seed]
    return fitting.fit(laws.POWER, dataclasses.replace(data, seed=data.seed + names))

  def width(first, second):
    interval = exchange.rates(first, second, [100], replicates=300)[0].per_image.interval
    return np.log(interval.high / interval.low)

  assert 5 * width(with_seeds(2.0, 0), with_seeds(1.0, 0)) < width(with_seeds(2.0, 0), with_seeds(1.0, 100))


def test_classes_by_exponent_group_and_recognizability():
  rng = np.random.default_rng(3)
  seeds, sizes = 4, np.geomspace(10, 1000, 6)
  true = np.concatenate([np.full(4, 0.6), np.linspace(0.15, 0.6, 12), np.full(4, 0.0)])
  start = np.concatenate([np.full(4, 0.05), np.full(12, 0.8), np.full(4, 0.9)])
  x = np.repeat(sizes, seeds)
  error = start * (x[:, None] / 10) ** -true
  wrong = rng.binomial(400, error)
  found = classes.per_class(x, wrong, np.full(20, 400), np.tile(np.arange(seeds), len(sizes)))
  assert found.groups == ["easy"] * 4 + ["scaling"] * 12 + ["poor"] * 4
  assert found.k_C[4:] == pytest.approx(true[4:], abs=0.05) and found.reliability > 0.9
  noise = classes.per_class(
    x, rng.binomial(400, 0.5, size=(24, 20)), np.full(20, 400), np.tile(np.arange(4), 6)
  )
  assert 0 <= noise.reliability < 0.7 and set(noise.groups) == {"poor"}
  one = classes.per_class(sizes, wrong[::seeds], np.full(20, 400), np.zeros(6))
  assert one.reliability is None
  seen = classes.correlation(found.k_C[4:], true[4:] + 0.05 * rng.normal(size=16))
  assert seen.rho > 0.8 and seen.p < 1e-3 and 0.5 < seen.interval.low <= seen.rho <= seen.interval.high <= 1
  with pytest.raises(UserError, match="needs 4 of them"):
    classes.correlation(found.k_C[:2], true[:2])
  with pytest.raises(UserError, match="more wrong answers than test images"):
    classes.per_class(x, wrong, np.full(20, 3), np.zeros(24))
  with pytest.raises(UserError, match="4 sizes above 0 over a decade, and there are 6"):
    classes.per_class(sizes / 100 + 90, wrong[::seeds], np.full(20, 400), np.zeros(6))
