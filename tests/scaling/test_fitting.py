"""Laws and their fits: a published table, planted laws, gradients against differences, and what is refused."""

import itertools

import numpy as np
import pytest

from synthjax.runtime.errors import UserError
from synthjax.scaling import fitting, laws
from synthjax.scaling.points import points

# A ViT-B on static synthetic sets: millions of images and top-1 %.
MILLIONS = np.array([0.32, 0.654, 1.3, 2.6, 10, 13])
TOP1 = np.array([39.334, 42.514, 44.116, 45.006, 45.614, 45.628])
LEAST_SQUARES = 1.0  # a delta that no log residual reaches


def published(n: int = 6):
  return points("published", MILLIONS[:n], 1 - TOP1[:n] / 100)


def planted(law, natural, sizes, noise=0.0, seeds=1, rng=None):
  """Points of a law whose parameters are as the formula has them."""
  is_log = [p.startswith("log_") for p in law.parameters]
  theta = np.array([np.log(v) if log else v for v, log in zip(natural, is_log, strict=True)])
  sizes = np.asarray(sizes, float).reshape(len(sizes), -1)
  logs = np.log(np.repeat(sizes, seeds, axis=0))
  log_y = law.log_value(theta, logs)
  if noise:
    log_y = log_y + noise * rng.normal(size=len(log_y))
  return points("planted", np.exp(logs), np.exp(log_y), np.tile(np.arange(seeds), len(sizes)))


def rmse_of_error(fit) -> float:
  return float(np.sqrt(np.mean((np.exp(fit.points.log_y + fit.residuals) - np.exp(fit.points.log_y)) ** 2)))


def test_the_published_table_has_a_floor():
  floor = fitting.fit(laws.FLOOR, published())
  assert floor.values["c"] == pytest.approx(0.5414, abs=1e-4)
  assert floor.values["k"] == pytest.approx(0.947, abs=1e-3)
  assert rmse_of_error(floor) == pytest.approx(2.6e-4, abs=1e-5)
  power = fitting.fit(laws.POWER, published(), LEAST_SQUARES)
  assert power.values["k"] == pytest.approx(0.026, abs=1e-3)
  assert rmse_of_error(power) == pytest.approx(9.6e-3, abs=2e-4)


def test_the_last_published_point_is_predicted_from_the_others():
  true = 1 - TOP1[-1] / 100
  (floor,) = fitting.fit(laws.FLOOR, published(5)).predict(MILLIONS[-1:])
  (power,) = fitting.fit(laws.POWER, published(5)).predict(MILLIONS[-1:])
  assert abs(floor - true) < 6.5e-4 < 1e-2 < abs(power - true)


PLANTED = {
  "power": (2.0, 0.4),
  "floor": (2.0, 0.5, 0.1),
  "broken": (0.9, 0.05, 0.6, 150.0, 0.3, 0.02),
  "joint": (400.0, 0.35, 2000.0, 0.37, 1.8),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_law_is_found(name):
  law = laws.LAWS[name]
  sizes = np.geomspace(10, 10_000, 16)
  if law.columns == 2:
    sizes = np.array(list(itertools.product(np.geomspace(1e8, 1e11, 6), np.geomspace(1e7, 1e10, 6))))
  data = planted(law, PLANTED[name], sizes)
  found = fitting.fit(law, data)
  assert found.rmse < 1e-6
  assert list(found.values.values()) == pytest.approx(PLANTED[name], rel=1e-2)
  if name == "broken":
    assert fitting.fit(laws.FLOOR, data).rmse > 0.01


@pytest.mark.parametrize("name", PLANTED)
def test_gradients_are_those_of_differences_and_moves_change_nothing(name):
  law, rng, step = laws.LAWS[name], np.random.default_rng(0), 1e-6
  logs, log_y = rng.normal(size=(9, law.columns)), 0.3 * rng.normal(size=9)
  for theta in law.starts(logs, log_y)[::5]:
    value, gradient = law.evaluate(theta, logs)
    around = [(theta + step * e, theta - step * e) for e in np.eye(len(theta))]
    numeric = np.stack(
      [(law.log_value(a, logs) - law.log_value(b, logs)) / (2 * step) for a, b in around], -1
    )
    assert np.abs(gradient - numeric).max() < 1e-8
    centre = rng.normal(size=law.columns)
    assert np.allclose(law.log_value(law.moved(theta, centre), logs + centre), value, atol=1e-12)


def test_many_refined_fits_side_by_side_are_those_by_l_bfgs_b():
  """Weights of rows are rows that come so often; each is fitted alone by the other method from its own grid."""
  rng = np.random.default_rng(1)
  data = planted(laws.FLOOR, (2.0, 0.5, 0.1), np.geomspace(10, 1000, 8), 0.01, 4, rng)
  whole = fitting.fit(laws.FLOOR, data)
  centre = data.logs_MxV.mean(axis=0)
  counts = rng.multinomial(len(data.log_y), np.full(len(data.log_y), 1 / len(data.log_y)), size=5)
  logs = data.logs_MxV - centre
  bounds = laws.FLOOR.bounds(logs, data.log_y)
  start = np.repeat(laws.FLOOR.moved(whole.theta, -centre)[None], 5, axis=0)
  many, losses = fitting.refine(laws.FLOOR, logs, data.log_y, counts, whole.delta, start, bounds)
  for theta, loss, count in zip(laws.FLOOR.moved(many, centre), losses, counts, strict=True):
    alone = fitting.fit_unchecked(laws.FLOOR, data.take(np.repeat(np.arange(len(count)), count)), whole.delta)
    assert loss == pytest.approx(alone.loss, rel=1e-8)
    assert theta == pytest.approx(alone.theta, abs=1e-4)


def test_hubers_loss_bears_an_outlier():
  data = planted(laws.FLOOR, (2.0, 0.5, 0.1), np.geomspace(10, 1000, 12), 0.001, 1, np.random.default_rng(2))
  data.log_y[4] += 0.5
  assert fitting.fit(laws.FLOOR, data).values["k"] == pytest.approx(0.5, rel=0.02)
  assert fitting.fit(laws.FLOOR, data, LEAST_SQUARES).values["k"] != pytest.approx(0.5, rel=0.05)


def test_delta_is_the_median_spread_of_seeds():
  data = planted(laws.POWER, (2.0, 0.5), np.geomspace(10, 1000, 40), 0.02, 5, np.random.default_rng(3))
  assert fitting.default_delta(data) == pytest.approx(0.02, rel=0.15)
  assert fitting.default_delta(data.take(data.seed == 0)) == fitting.DELTA_OF_ONE_SEED


@pytest.mark.parametrize(
  "law, sizes, values, message",
  [
    (
      "floor",
      np.geomspace(1, 100, 4),
      np.ones(4),
      "4 sizes are too few for law floor, which has 3 parameters",
    ),
    ("broken", np.geomspace(1, 100, 7), np.ones(7), "law broken, which has 6 parameters and needs 8"),
    ("power", np.linspace(100, 900, 9), np.ones(9), "D spans 0.95 decades"),
    ("joint", np.geomspace(1, 100, 9), np.ones(9), "law joint needs the column of N"),
    ("power", [1, 2, 3, -1], np.ones(4), "a size is -1"),
    ("power", [1, 2, 3, 9], [1, 1, np.nan, 0], "a value is nan, and a law in log space .* \\(2 of 4\\)"),
    ("power", [1, 10, 10, 9], np.ones(4), "2 rows have size 10 and seed 0"),
    ("power", [], [], "no rows to fit"),
  ],
)
def test_what_cannot_be_fitted_is_refused(law, sizes, values, message):
  with pytest.raises(UserError, match=message):
    fitting.fit(laws.LAWS[law], points("curve", np.asarray(sizes), np.asarray(values)))
  with pytest.raises(UserError, match="delta is -1"):
    fitting.fit(laws.POWER, published(), -1.0)
