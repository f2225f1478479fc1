"""What two curves say of each other: images for images at equal accuracy, where they cross, whose exponent is larger.

Everything is computed for the fits and again for their replicates, whose percentiles are the interval. Replicates are the seeds'
bootstrap where both curves have 4 seeds and more: with the same seeds on both, the same seeds are drawn for both, as they share
draws of images and of the test. Otherwise they are parametric: parameters drawn from the t distribution that the curvature of
the loss gives.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from synthjax.runtime.errors import UserError
from synthjax.scaling import intervals
from synthjax.scaling.fitting import Fit, fit
from synthjax.scaling.intervals import Interval
from synthjax.scaling.laws import POWER, Law

Array = np.ndarray
_FARTHEST = 6 * np.log(10)  # beyond the largest size a law is not asked
_NEAREST = 3 * np.log(10)  # below the smallest
_GRID = 257
_HALVINGS = 60


@dataclasses.dataclass(frozen=True)
class Estimate:
  """`extrapolated`: it lies outside of the sizes that were fitted. An end of the interval may be infinite: never."""

  value: float
  interval: Interval
  method: str
  extrapolated: bool = False


@dataclasses.dataclass(frozen=True)
class Rate:
  """At one size of the second curve: as good as so many images of the first."""

  size: float
  measure: float  # the error or loss of both
  images: Estimate
  per_image: Estimate


def images_to(
  of: Fit, target: float, level: float = intervals.LEVEL, replicates: int = intervals.REPLICATES
) -> Estimate:
  """Images with which the law comes down to a target; infinite where its floor is above."""
  if not (np.isfinite(target) and target > 0):
    raise UserError(f"{of.points.name}: the target is {target:g}; an error or a loss is above 0")
  thetas, method = _replicates(of, replicates)
  span, goal = _span(of), np.log(target)
  best = _sizes(of.law, of.theta[None], np.array([goal]), span)[0]
  spread = _sizes(of.law, thetas, np.full(len(thetas), goal), span)
  return _estimate(best, spread, method, [of], level, [of])


def rates(
  first: Fit,
  second: Fit,
  sizes: Sequence[float],
  level: float = intervals.LEVEL,
  replicates: int = intervals.REPLICATES,
) -> list[Rate]:
  """How many images of the first curve do as well as these sizes of the second: synthetic images for real ones."""
  of_first, of_second, method = _paired(first, second, replicates)
  span, found = _span(first), []
  for size in sizes:
    logs = np.log([[float(size)]])
    goal = second.law.log_value(second.theta[None], logs)[:, 0]
    best = _sizes(first.law, first.theta[None], goal, span)[0]
    spread = _sizes(first.law, of_first, second.law.log_value(of_second, logs)[:, 0], span)
    images = _estimate(best, spread, method, [first, second], level, [first])
    per_image = _estimate(best / size, spread / size, method, [first, second], level, [])
    per_image = dataclasses.replace(per_image, extrapolated=images.extrapolated)
    found.append(Rate(float(size), float(np.exp(goal[0])), images, per_image))
  return found


def crossing(
  first: Fit, second: Fit, level: float = intervals.LEVEL, replicates: int = intervals.REPLICATES
) -> Estimate | None:
  """The smallest size of either's range, a decade farther on both sides, at which the curves meet; None where they do not."""
  of_first, of_second, method = _paired(first, second, replicates)
  x = np.concatenate([first.points.logs_MxV[:, 0], second.points.logs_MxV[:, 0]])
  grid = np.linspace(x.min() - np.log(10), x.max() + np.log(10), _GRID)

  def meet(a: Array, b: Array) -> Array:
    apart = first.law.log_value(a, grid[:, None]) - second.law.log_value(b, grid[:, None])
    turns = apart[:, :-1] * apart[:, 1:] <= 0
    at, rows = turns.argmax(axis=1), np.arange(len(a))
    left, right = apart[rows, at], apart[rows, at + 1]
    share = left / np.where(left == right, 1.0, left - right)
    return np.where(turns.any(axis=1), np.exp(grid[at] + share * (grid[1] - grid[0])), np.inf)

  best = meet(first.theta[None], second.theta[None])[0]
  if not np.isfinite(best):
    return None
  return _estimate(best, meet(of_first, of_second), method, [first, second], level, [first, second])


def exponents(
  first: Fit, second: Fit, level: float = intervals.LEVEL, replicates: int = intervals.REPLICATES
) -> Estimate:
  """k of the first less k of the second, by power laws on the sizes that both curves span."""
  ranges = [f.points.logs_MxV[:, 0] for f in (first, second)]
  low, high = (np.exp(x) for x in (max(x.min() for x in ranges), min(x.max() for x in ranges)))
  if low >= high:
    raise UserError(
      f"{first.points.name} and {second.points.name} have no sizes in common; measure both at the same"
    )
  a, b = (fit(POWER, f.points.between(low, high), f.delta) for f in (first, second))
  of_a, of_b, method = _paired(a, b, replicates)
  return _estimate(float(a.theta[1] - b.theta[1]), of_a[:, 1] - of_b[:, 1], method, [a, b], level, [])


def _sizes(law: Law, thetas: Array, goals: Array, span: tuple[float, float]) -> Array:
  """(R,) sizes at which the laws are at the goals, by halving; 0 or infinite beyond the span."""
  low, high = (np.full(len(thetas), end) for end in span)
  start, end = (_at(law, thetas, x) for x in (low, high))
  for _ in range(_HALVINGS):
    middle = (low + high) / 2
    above = _at(law, thetas, middle) > goals
    low, high = np.where(above, middle, low), np.where(above, high, middle)
  return np.where(start <= goals, 0.0, np.where(end > goals, np.inf, np.exp((low + high) / 2)))


def _at(law: Law, thetas: Array, x: Array) -> Array:
  """(R,) the value of each law at its own log size, to which the law is moved."""
  return law.log_value(law.moved(thetas, -x[None]), np.zeros((1, 1)))[:, 0]


def _span(of: Fit) -> tuple[float, float]:
  x = of.points.logs_MxV[:, 0]
  return float(x.min() - _NEAREST), float(x.max() + _FARTHEST)


def _replicates(of: Fit, replicates: int, seed: int = 0) -> tuple[Array, str]:
  if of.law.columns > 1:
    raise UserError(f"law {of.law.name} depends on N too; exchange rates are of laws of D alone")
  if len(of.points.seeds) >= intervals.LEAST_SEEDS:
    return intervals.bootstrap(of, intervals.weights(of.points, replicates, seed)), "bootstrap"
  rng = np.random.default_rng(seed)
  _, gradient = of.law.evaluate(of.theta, of.points.logs_MxV)
  freedom = max(len(of.points.log_y) - len(of.theta), 1)
  variance = float(np.sum(of.residuals**2)) / freedom
  drawn = rng.multivariate_normal(
    np.zeros(len(of.theta)), variance * np.linalg.pinv(gradient.T @ gradient), replicates
  )
  heavy = np.sqrt(freedom / rng.chisquare(freedom, size=replicates))
  return of.theta + drawn * heavy[:, None], "parametric"


def _paired(first: Fit, second: Fit, replicates: int) -> tuple[Array, Array, str]:
  same = np.array_equal(first.points.seeds, second.points.seeds)
  few = min(len(f.points.seeds) for f in (first, second)) < intervals.LEAST_SEEDS
  a, method = _replicates(first, replicates, 0)
  b, other = _replicates(second, replicates, 0 if same and not few else 1)
  return a, b, method if method == other else "bootstrap and parametric"


def _estimate(
  value: float, spread: Array, method: str, fits: Sequence[Fit], level: float, inside: Sequence[Fit]
) -> Estimate:
  if method == "parametric":
    ends = np.quantile(spread, [(1 - level) / 2, (1 + level) / 2], method="nearest")
    low, high = float(ends[0]), float(ends[1])
  else:
    low, high = intervals.percentiles(
      spread, min(len(f.points.seeds) for f in fits if len(f.points.seeds) > 1), level
    )
  out = any(
    not x.min() <= np.log(max(value, 1e-300)) <= x.max() for x in (f.points.logs_MxV[:, 0] for f in inside)
  )
  return Estimate(float(value), Interval(low, high), method, out)
