"""The curves of a study: measured points, the laws on them, and what the curves say of one another.

An error is the share of wrong answers, at least half an image's: a law in log space has no place for 0.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from synthjax.runtime.errors import UserError
from synthjax.scaling import classes, comparison, exchange, laws
from synthjax.scaling.fitting import Fit
from synthjax.scaling.points import Points

Array = np.ndarray
ERROR, LOSS = "error", "loss"
MEASURES = (ERROR, LOSS)
_LAWS = (laws.POWER, laws.FLOOR, laws.BROKEN)
_KEPT = 512  # comparisons: a page that grows fits what has changed


@dataclasses.dataclass(frozen=True, eq=False)
class Point:
  """A run of one seed on one test."""

  curve: str
  size: float  # images a class
  seed: int
  wrong_C: Array  # of each class's test images
  images_C: Array
  loss: float

  @property
  def error(self) -> float:
    n = float(self.images_C.sum())
    return max(float(self.wrong_C.sum()), 0.5) / n

  def value(self, measure: str) -> float:
    return self.error if measure == ERROR else self.loss


@dataclasses.dataclass(frozen=True, eq=False)
class Curve:
  """Of one measure on one test."""

  name: str
  measure: str
  points: tuple[Point, ...]
  laws: comparison.Comparison | None  # None where `why` says what is missing
  why: str = ""

  @property
  def best(self) -> comparison.Candidate | None:
    """The law that predicts the largest sizes best, the first where none could be held out."""
    return self.laws.chosen if self.laws else None

  @property
  def fit(self) -> Fit | None:
    return self.best.fit if self.best else None

  @property
  def sizes(self) -> dict[float, tuple[float, ...]]:
    """What was measured at each, by seed."""
    return {
      size: tuple(p.value(self.measure) for p in self.points if p.size == size)
      for size in sorted({p.size for p in self.points})
    }


def of_points(points: Iterable[Point], measure: str) -> list[Curve]:
  """In the order in which they come. What cannot be fitted yet says why."""
  found: dict[str, list[Point]] = {}
  for point in points:
    found.setdefault(point.curve, []).append(point)
  return [_curve(name, measure, tuple(own)) for name, own in found.items()]


def _curve(name: str, measure: str, points: tuple[Point, ...]) -> Curve:
  rows = tuple(sorted((p.size, p.seed, p.value(measure)) for p in points))
  compared = _compared(name, rows)
  if isinstance(compared, str):
    return Curve(name, measure, points, None, compared)
  return Curve(name, measure, points, compared, "" if compared.candidates else compared.skipped[0])


@functools.lru_cache(maxsize=_KEPT)
def _compared(name: str, rows: tuple[tuple[float, int, float], ...]) -> comparison.Comparison | str:
  sizes, seeds, values = (np.array(column) for column in zip(*rows, strict=True))
  if not (np.isfinite(values) & (values > 0)).all():
    return f"{name}: a value is not above 0 and finite, so it has no logarithm"
  return comparison.compare(Points(name, np.log(sizes)[:, None], np.log(values), seeds), _LAWS)


# --- what curves say of one another ----------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Exchange:
  """Images of one curve for images of the reference, and what their laws say beside."""

  curve: str
  rates: tuple[exchange.Rate, ...]
  crossing: exchange.Estimate | None
  exponents: exchange.Estimate | None  # k less the reference's, over common sizes; None where they have none


def against(reference: Curve, curves: Sequence[Curve]) -> list[Exchange]:
  base = reference.fit
  if base is None:
    return []
  return [
    _exchange(curve.name, curve.fit, base, tuple(reference.sizes))
    for curve in curves
    if curve.fit is not None and curve.name != reference.name
  ]


def _exchange(name: str, of: Fit, base: Fit, sizes: Sequence[float]) -> Exchange:
  try:
    exponents = exchange.exponents(of, base)
  except UserError:  # too few sizes in common
    exponents = None
  return Exchange(name, tuple(exchange.rates(of, base, sizes)), exchange.crossing(of, base), exponents)


def to_target(curves: Sequence[Curve], target: float) -> dict[str, exchange.Estimate]:
  """Images a class at which each curve's law comes down to the target."""
  return {curve.name: exchange.images_to(curve.fit, target) for curve in curves if curve.fit is not None}


def target_of(curves: Sequence[Curve]) -> float:
  """The best mean that most of the curves have seen: so that a target is inside of what was measured, where it can be."""
  least = sorted(min(np.mean(v) for v in curve.sizes.values()) for curve in curves if curve.sizes)
  return float(least[len(least) // 2]) if least else 0.0


def by_class(points: Sequence[Point]) -> classes.Classes | None:
  """Exponents of each class of one curve; None where the sizes do not suffice."""
  try:
    return classes.per_class(
      np.array([p.size for p in points]),
      np.stack([p.wrong_C for p in points]),
      points[0].images_C,
      np.array([p.seed for p in points]),
    )
  except UserError:
    return None


def correlation(found: classes.Classes, scores_C: Array) -> classes.Correlation | None:
  """Of the exponents of classes and another number of each; None where classes are too few, or do not differ."""
  try:
    return classes.correlation(found.k_C, scores_C) if np.isfinite(scores_C).all() else None
  except UserError:
    return None


# --- names -------------------------------------------------------------------------------------------


def names(curves: Iterable[Mapping[str, object]]) -> dict[tuple[tuple[str, object], ...], str]:
  """Of curves by their columns: the source, and what differs among those of one source."""
  keys = list(dict.fromkeys(tuple(one.items()) for one in curves))
  values: dict[tuple[object, str], set[object]] = {}
  for key in keys:
    for column, value in key:
      values.setdefault((dict(key).get("source"), column), set()).add(value)
  found: dict[tuple[tuple[str, object], ...], str] = {}
  for key in keys:
    source = dict(key).get("source")
    parts = [_said(c, v) for c, v in key if len(values[source, c]) > 1]
    found[key] = ", ".join([str(source or "all"), *parts])
  return found


def _said(column: str, value: object) -> str:
  text = f"{value:g}" if isinstance(value, float) else str(value)
  return f"{column.replace('_', ' ')} {text}"
