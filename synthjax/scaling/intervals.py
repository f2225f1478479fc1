"""How sure a fit is: intervals of its parameters, whether its floor is one, and which law the points speak for.

What a seed redraws is the subset of images and the training, so a seed's whole curve is resampled and the sizes stay: they
are a design. Seeds that were measured at the same sizes are a stratum; each is resampled within itself, so that no size is lost.

bootstrap   4 seeds and more. Percentiles of the refits, widened for few seeds (Hesterberg 2015): their level is that of a
            t distribution with seeds - 1 degrees of freedom, times sqrt(n / (n - 1)), for n seeds show too little spread.
parametric  Up to 3 seeds, whose resamples would say nothing. The profile: all values of a parameter at which the loss,
            minimised over the others, is below F's quantile. Rows count as independent and log noise as normal.

Both are for the points that were fitted. A floor is not identified where its profile contains 0 or the bootstrap does: then
a power law describes the points as well, and the floor is a guess.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy import stats

from synthjax.scaling.fitting import Fit, refine
from synthjax.scaling.laws import ZERO
from synthjax.scaling.points import Points

Array = np.ndarray
LEVEL = 0.9
REPLICATES = 1000
LEAST_SEEDS = 4  # for a bootstrap
_EFFICIENT = 2.0  # standard deviations from which on a profile takes a residual for an outlier
_GRID = 16  # points of a profile on each side, a round


@dataclasses.dataclass(frozen=True)
class Interval:
  low: float
  high: float


@dataclasses.dataclass(frozen=True)
class Certainty:
  """Intervals of a fit's parameters, as the formula has them, and the refits that they come from."""

  method: str  # bootstrap or parametric
  level: float
  intervals: dict[str, Interval]
  floor_identified: bool | None  # None of a law without a floor
  thetas: Array | None  # (R, P) of a bootstrap


def certainty(fit: Fit, level: float = LEVEL, replicates: int = REPLICATES, seed: int = 0) -> Certainty:
  """Deterministic: the same fit has the same intervals."""
  floor = fit.law.floor
  identified = None if floor is None else not profile_contains_zero(fit, floor, level)
  n = len(fit.points.seeds)
  if n < LEAST_SEEDS:
    found, method, thetas = profiles(fit, level), "parametric", None
  else:
    thetas, method = bootstrap(fit, weights(fit.points, replicates, seed)), "bootstrap"
    found = [percentiles(column, n, level) for column in thetas.T]
    if floor is not None and found[floor][0] <= _zero(fit):
      identified = False
  if floor is not None and not identified:
    found[floor] = (-np.inf, found[floor][1])
  ends = fit.law.natural(np.array(found).T)
  named = zip(fit.law.names, ends.T.tolist(), strict=True)
  return Certainty(method, level, {name: Interval(*pair) for name, pair in named}, identified, thetas)


def weights(data: Points, replicates: int, seed: int) -> Array:
  """(R, M): how often each row comes when whole seed-curves are drawn again, seeds with the same sizes among themselves."""
  rng = np.random.default_rng(seed)
  strata: dict[bytes, list[int]] = {}
  for s in data.seeds.tolist():
    own = data.logs_MxV[data.seed == s]
    strata.setdefault(own[np.lexsort(own.T)].tobytes(), []).append(s)
  counts = np.zeros((replicates, len(data.log_y)))
  for seeds in strata.values():
    drawn = rng.multinomial(len(seeds), np.full(len(seeds), 1 / len(seeds)), size=replicates)
    for s, column in zip(seeds, drawn.T, strict=True):
      counts[:, data.seed == s] = column[:, None]
  return counts


def bootstrap(fit: Fit, weights_RxM: Array) -> Array:
  """(R, P) parameters of the fits to so weighted rows."""
  law, data = fit.law, fit.points
  centre = data.logs_MxV.mean(axis=0)
  logs = data.logs_MxV - centre
  start = np.repeat(law.moved(fit.theta, -centre)[None], len(weights_RxM), axis=0)
  bounds = law.bounds(logs, data.log_y)
  return law.moved(refine(law, logs, data.log_y, weights_RxM, fit.delta, start, bounds)[0], centre)


def percentiles(values: Array, seeds: int, level: float) -> tuple[float, float]:
  tail = stats.norm.cdf(stats.t.ppf((1 - level) / 2, seeds - 1) * np.sqrt(seeds / (seeds - 1)))
  low, high = np.quantile(values, [tail, 1 - tail], method="nearest")  # values may be infinite
  return float(low), float(high)


def profiles(fit: Fit, level: float) -> list[tuple[float, float]]:
  """Of each parameter as fitted; an end that lies beyond a bound is infinite."""
  return [(low, high) for low, high in _Profile(fit, level).ends().tolist()]


def profile_contains_zero(fit: Fit, floor: int, level: float) -> bool:
  profile = _Profile(fit, level)
  return bool(profile.excess(np.array([floor]), profile.bounds[floor, :1])[0] <= 0)


def _zero(fit: Fit) -> float:
  """The logarithm below which a floor is 0, a little above its bound."""
  return float(fit.points.log_y.min()) - ZERO + 1e-3


class _Profile:
  """The loss as a function of one parameter, minimised over the others."""

  def __init__(self, fit: Fit, level: float):
    self.law, self.data = fit.law, fit.points
    self.bounds = self.law.bounds(self.data.logs_MxV, self.data.log_y)
    freedom = max(len(self.data.log_y) - len(fit.theta), 1)
    spread = max(float(np.sqrt(np.sum(fit.residuals**2) / freedom)), 1e-9)
    self.delta = max(fit.delta, _EFFICIENT * spread)
    best, loss = self._minimum(fit.theta[None], self.bounds)
    self.theta, self.loss = best[0], float(loss[0])
    variance = max(2 * self.loss * self.delta**2 / freedom, 1e-18)
    self.threshold = float(stats.f.ppf(level, 1, freedom)) * variance / (2 * self.delta**2)

  def excess(self, held: Array, values: Array) -> Array:
    """By how much the loss is above the threshold where a parameter (an index) is held at a value, for many such pairs."""
    bounds = np.repeat(self.bounds[None], len(held), axis=0)
    bounds[np.arange(len(held)), held] = values[:, None]
    start = np.repeat(self.theta[None], len(held), axis=0)
    return self._minimum(start, bounds)[1] - (self.loss + self.threshold)

  def ends(self) -> Array:
    """(P, 2): where the excess is 0, below and above the best value; at first on a wide grid, then inside of its cell."""
    count = len(self.theta)
    held, sign = np.repeat(np.arange(count), 2), np.tile([-1.0, 1.0], count)
    best = self.theta[held]
    reach = np.minimum(np.abs(self.bounds.ravel() - best), 64 * self._half_widths()[held])
    steps = reach[:, None] * np.geomspace(1 / 256, 1, _GRID)
    beyond, inner, outer = np.zeros(len(held), bool), 0 * steps[:, :1], steps[:, -1:]
    for _ in range(2):
      values = best[:, None] + sign[:, None] * steps
      above = self.excess(np.repeat(held, _GRID), values.ravel()).reshape(steps.shape) > 0
      beyond |= ~above.any(axis=1)
      first = np.where(above.any(axis=1), above.argmax(axis=1), _GRID - 1)
      outer = np.take_along_axis(steps, first[:, None], axis=1)
      inner = np.where(
        first[:, None] > 0, np.take_along_axis(steps, np.maximum(first - 1, 0)[:, None], axis=1), 0.0
      )
      steps = inner + (outer - inner) * np.linspace(0, 1, _GRID)
    found = best + sign * np.where(beyond, np.inf, (inner + outer)[:, 0] / 2)
    return found.reshape(count, 2)

  def _half_widths(self) -> Array:
    """Of the intervals, where the loss is a parabola."""
    value, gradient = self.law.evaluate(self.theta, self.data.logs_MxV)
    size = np.abs(value - self.data.log_y) / self.delta
    hessian = np.einsum("mp,m,mq->pq", gradient, 1 / np.maximum(size, 1), gradient) / self.delta**2
    return np.sqrt(2 * self.threshold * np.maximum(np.diag(np.linalg.pinv(hessian)), 1e-24))

  def _minimum(self, theta: Array, bounds: Array) -> tuple[Array, Array]:
    ones = np.ones((len(theta), len(self.data.log_y)))
    return refine(self.law, self.data.logs_MxV, self.data.log_y, ones, self.delta, theta, bounds)
