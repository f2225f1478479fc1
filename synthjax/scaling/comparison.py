"""Which law the points speak for, and from which size on each is fitted.

Range       The widest one that ends at the largest size and in which the law's misfit is no larger than seeds explain: the F
            test of lack of fit against the spread of seeds, at 1 %. So small sizes are dropped, never large ones. With one
            seed, or where no range passes, all sizes; `misfit` is the test's p-value.
Held out    The largest quarter of the sizes, at least one, by a law fitted to the others: the root mean square of the log
            residual. A law whose other sizes are too few has none. The least decides, among laws that do not misfit where
            there are such; where none of these has one, the first of them, which has the fewest parameters.
Resamples   With 4 seeds and more, the share of resampled seeds in which each law has the least error on what is held out.
Rejected    A law that misfits where another does not; or that is worse on what is held out, and by more than chance: in 95 % of the resamples; with up to 3 seeds by
            the F test at 5 % against the best law where that one contains it. R^2 decides nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from synthjax.scaling import intervals
from synthjax.scaling.fitting import MORE, Fit, default_delta, fit, fit_unchecked, why_not
from synthjax.scaling.laws import Law
from synthjax.scaling.points import Points

Array = np.ndarray
MISFIT = 0.01
_CHANCE = 0.05
_NEVER_LINEAR = 1.0  # a delta that the log residual of no sensible fit reaches


@dataclasses.dataclass(frozen=True)
class Candidate:
  """A law on a curve."""

  fit: Fit
  certainty: intervals.Certainty
  misfit: float | None  # p-value; None with one seed
  held_out: float | None
  wins: float | None
  rejected: str  # by what; "" where it is not


@dataclasses.dataclass(frozen=True)
class Comparison:
  """The laws on a curve; the best is None where all misfit, or none does, and no law has an error on what is held out."""

  candidates: list[Candidate]
  best: str | None
  held_out: list[float]  # sizes
  skipped: list[str]  # a line for each law that these points are too few for

  @property
  def chosen(self) -> Candidate | None:
    """The best; the first where no law has an error on what is held out."""
    named = [c for c in self.candidates if c.fit.law.name == self.best]
    return next(iter([*named, *self.candidates]), None)


def compare(
  data: Points,
  laws: Sequence[Law],
  delta: float | None = None,
  level: float = intervals.LEVEL,
  replicates: int = intervals.REPLICATES,
  whole: bool = False,
) -> Comparison:
  """With `whole`, every law is fitted to all sizes."""
  delta = default_delta(data) if delta is None else delta
  refused = [why_not(law, data) for law in laws]
  fits = [fit_range(law, data, delta, whole) for law, why in zip(laws, refused, strict=True) if not why]
  sizes = np.unique(data.logs_MxV[:, 0])
  sizes = sizes[-max(1, len(sizes) // 4) :]
  held = float(sizes[0]) - 1e-9
  above = data.take(data.logs_MxV[:, 0] >= held)
  tested = {of.law.name: out for of, _ in fits if (out := _without(of, held)) is not None}
  errors = {
    name: float(np.sqrt(np.mean(_residuals(out, out.theta[None], above) ** 2)))
    for name, out in tested.items()
  }
  sound = [of.law.name for of, misfit in fits if misfit is None or misfit >= MISFIT]
  among = [of.law.name for of, _ in fits if not sound or of.law.name in sound]
  best = min((name for name in among if name in errors), key=lambda name: errors[name], default=None)
  if best is None and 0 < len(sound) < len(fits):
    best = sound[0]
  resampled = _resampled(list(tested.values()), data, held, replicates) if len(tested) > 1 else None
  squares = {} if resampled is None else dict(zip(tested, resampled, strict=True))
  least = None if resampled is None else resampled.min(axis=0)
  candidates = []
  for of, misfit in fits:
    name, sure = of.law.name, intervals.certainty(of, level, replicates)
    wins = None if least is None or name not in squares else float(np.mean(squares[name] <= least))
    rejected = ""
    if best in sound and name not in sound:
      rejected = f"it misfits, p = {misfit:.1g}"
    elif best in tested and name in tested and name != best:
      larger = next(f for f, _ in fits if f.law.name == best)
      rejected = _rejected(of, larger, squares)
    candidates.append(Candidate(of, sure, misfit, errors.get(name), wins, rejected))
  return Comparison(candidates, best, np.exp(sizes).tolist(), [why for why in refused if why])


def _rejected(of: Fit, best: Fit, squares: Mapping[str, Array]) -> str:
  if squares:
    worse = float(np.mean(squares[of.law.name] > squares[best.law.name]))
    return f"worse in {100 * worse:.0f} % of the resamples" if worse >= 1 - _CHANCE else ""
  p = _nested(of, best)
  return f"F test, p = {p:.1g}" if p is not None and p < _CHANCE else ""


def fit_range(law: Law, data: Points, delta: float, whole: bool = False) -> tuple[Fit, float | None]:
  """(the fit in the range that the rule chooses, the misfit's p-value there)."""
  everything = fit(law, data, delta)
  misfit = _misfit(everything)
  if whole or misfit is None or misfit >= MISFIT:
    return everything, misfit
  for smallest in np.unique(data.logs_MxV[:, 0])[1:]:
    narrower = data.take(data.logs_MxV[:, 0] >= smallest - 1e-9)
    if why_not(law, narrower):
      break
    found = fit(law, narrower, delta)
    p = _misfit(found)
    if p is None or p >= MISFIT:
      return found, p
  return everything, misfit


def _misfit(of: Fit) -> float | None:
  """The F test of lack of fit: sizes' means against the law, beside seeds against their means."""
  data = of.points
  sizes, where = np.unique(data.logs_MxV, axis=0, return_inverse=True)
  where = where.ravel()
  pure, lack = len(data.log_y) - len(sizes), len(sizes) - len(of.theta)
  if pure < 1 or lack < 1:
    return None
  counts = np.bincount(where)
  means = (np.bincount(where, data.log_y) / counts)[where]
  law = of.residuals + data.log_y
  of_seeds, of_law = float(np.sum((data.log_y - means) ** 2)), float(np.sum((means - law) ** 2))
  if of_seeds <= 0:
    return None
  return float(stats.f.sf(of_law / lack / (of_seeds / pure), lack, pure))


def _nested(small: Fit, large: Fit) -> float | None:
  """The F test's p-value for the smaller law; None where it has no fewer parameters, or other points."""
  more = len(large.theta) - len(small.theta)
  freedom = len(large.points.log_y) - len(large.theta)
  if more < 1 or freedom < 1 or len(small.points.log_y) != len(large.points.log_y):
    return None
  rest = max(_least_squares(large), 1e-300)
  gain = _least_squares(small) - rest
  return float(stats.f.sf(max(gain, 0.0) / more / (rest / freedom), more, freedom))


def _least_squares(of: Fit) -> float:
  """The smallest sum of squares: the F test's, from the fit by Huber's loss, which has another minimum."""
  return float(np.sum(fit_unchecked(of.law, of.points, _NEVER_LINEAR).residuals ** 2))


def _without(of: Fit, held: float) -> Fit | None:
  """The law on its range below what is held out; None where too few sizes are left."""
  left = of.points.take(of.points.logs_MxV[:, 0] < held)
  if len(left.sizes) < len(of.theta) + MORE:
    return None
  return fit_unchecked(of.law, left, of.delta)


def _residuals(of: Fit, thetas: Array, data: Points) -> Array:
  return of.law.log_value(thetas, data.logs_MxV) - data.log_y


def _resampled(fits: Sequence[Fit], data: Points, held: float, replicates: int) -> Array | None:
  """(laws, R): the mean square on what is held out, for seeds drawn again; None with too few of them."""
  if len(data.seeds) < intervals.LEAST_SEEDS:
    return None
  weights = intervals.weights(data, replicates, seed=1)
  x = data.logs_MxV[:, 0]
  above = x >= held
  found = []
  for of in fits:
    rows = (x < held) & (x >= of.points.logs_MxV[:, 0].min() - 1e-9)
    thetas = intervals.bootstrap(of, weights[:, rows])
    squares = _residuals(of, thetas, data.take(above)) ** 2
    found.append((squares * weights[:, above]).sum(axis=1) / weights[:, above].sum(axis=1))
  return np.array(found)
