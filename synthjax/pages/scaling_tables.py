"""The numbers of a scaling page as CSV files: what was measured, the laws, exchange rates, exponents of classes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from synthjax.pages.scaling import Part
from synthjax.scaling.curves import Curve
from synthjax.scaling.exchange import Estimate
from synthjax.store import csv_file

Row = dict[str, Any]


def files(
  parts: Sequence[Part], axes: Mapping[str, Mapping[str, Any]], class_ids: Sequence[str]
) -> dict[str, bytes]:
  """`axes`: the columns of each curve, by its name."""
  return {
    "curves.csv": of_rows(_curves(parts, axes)),
    "laws.csv": of_rows(_laws(parts, axes)),
    "exchange.csv": of_rows(_exchanges(parts)),
    "targets.csv": of_rows(_targets(parts)),
    "classes.csv": of_rows(_classes(parts, class_ids)),
  }


def _curves(parts: Sequence[Part], axes: Mapping[str, Mapping[str, Any]]) -> Iterable[Row]:
  for part, curve in _each(parts):
    for p in curve.points:
      about = dict(test=part.test, measure=part.measure, curve=curve.name, **axes.get(curve.name, {}))
      yield about | dict(images_per_class=p.size, seed=p.seed, value=p.value(part.measure))


def _laws(parts: Sequence[Part], axes: Mapping[str, Mapping[str, Any]]) -> Iterable[Row]:
  """A line a parameter."""
  for part, curve in _each(parts):
    for c in curve.laws.candidates if curve.laws else ():
      x = c.fit.points.logs_MxV[:, 0]
      about = dict(test=part.test, measure=part.measure, curve=curve.name, **axes.get(curve.name, {}))
      about |= dict(law=c.fit.law.name, formula=c.fit.law.formula, is_best=c is curve.best)
      about |= dict(smallest=_exp(x.min()), largest=_exp(x.max()), delta=c.fit.delta)
      about |= dict(
        rmse_log=c.fit.rmse, r2_log=c.fit.r2, held_out_rmse_log=_or_empty(c.held_out), wins=_or_empty(c.wins)
      )
      about |= dict(misfit_p=_or_empty(c.misfit), rejected=c.rejected, intervals=c.certainty.method)
      about |= dict(level=c.certainty.level, floor_identified=_or_empty(c.certainty.floor_identified))
      for name, value in c.fit.values.items():
        interval = c.certainty.intervals[name]
        yield about | dict(parameter=name, value=value, low=interval.low, high=interval.high)


def _exchanges(parts: Sequence[Part]) -> Iterable[Row]:
  for part in parts:
    about = dict(test=part.test, measure=part.measure, reference=part.reference)
    for e in part.exchanges:
      for rate in e.rates:
        of = dict(curve=e.curve, kind="images", reference_images=rate.size, level=rate.measure)
        yield about | of | _estimate(rate.images)
      for kind, estimate in dict(crossing=e.crossing, exponent=e.exponents).items():
        if estimate:
          yield about | dict(curve=e.curve, kind=kind, reference_images="", level="") | _estimate(estimate)


def _targets(parts: Sequence[Part]) -> Iterable[Row]:
  for part in parts:
    for name, e in part.to_target.items():
      yield dict(test=part.test, measure=part.measure, target=part.target, curve=name) | _estimate(e)


def _classes(parts: Sequence[Part], class_ids: Sequence[str]) -> Iterable[Row]:
  for part in parts:
    for curve, found in part.by_class.items():
      for i, class_id in enumerate(class_ids):
        about = dict(test=part.test, curve=curve, class_id=class_id, k=float(found.k_C[i]))
        yield about | dict(first_error=float(found.first_error_C[i]), group=found.groups[i])


def _each(parts: Sequence[Part]) -> Iterable[tuple[Part, Curve]]:
  return ((part, curve) for part in parts for curve in part.curves)


def _estimate(e: Estimate) -> Row:
  ends = dict(value=e.value, low=e.interval.low, high=e.interval.high)
  return ends | dict(intervals=e.method, is_extrapolated=e.extrapolated)


def _exp(value: float) -> float:
  return round(math.exp(value), 6)


def _or_empty(value: Any) -> Any:
  return "" if value is None else value


def of_rows(rows: Iterable[Row]) -> bytes:
  found = list(rows)
  columns = list(dict.fromkeys(name for row in found for name in row))
  return csv_file.to_bytes(columns, ([row.get(name, "") for name in columns] for row in found))
