"""The page of a study's grids: how errors fall with images, the laws of that, and what one image is worth in others.

`render` is a function of the Page alone, as a study's report is; the policy in the page forbids scripts and requests. Each figure's
numbers are in a CSV beside it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import jinja2

from synthjax.pages import published
from synthjax.pages.loglog import Line, figure, key
from synthjax.pages.page import Outdated, Progress
from synthjax.pages.plane import plane
from synthjax.pages.report import environment
from synthjax.scaling import classes, comparison, exchange, intervals
from synthjax.scaling.curves import LOSS, Curve, Exchange
from synthjax.scaling.intervals import Interval

_SHOWN = 8  # curves of a figure: more do not help the eye
_SIZES = 5  # of a table of exchange rates
_NAMES = {"error": "share of wrong answers", LOSS: "loss in nats"}


@dataclasses.dataclass(frozen=True, eq=False)
class Part:
  """One measure on one test."""

  test: str
  about: str  # the test's source and number of images
  measure: str
  curves: tuple[Curve, ...]
  reference: str  # the curve whose images others are exchanged for; "" = none
  exchanges: tuple[Exchange, ...]
  target: float  # 0 = none
  to_target: Mapping[str, exchange.Estimate]
  by_class: Mapping[str, classes.Classes]  # by curve
  published: Mapping[str, float] = dataclasses.field(
    default_factory=dict
  )  # exponents of such curves, by a paper


@dataclasses.dataclass(frozen=True)
class Quality:
  """What one entry of config.metrics measured of the sets: how recognisable their images are, and how diverse."""

  name: str
  diversity: str  # the metric
  sets: tuple[tuple[str, str, float, float], ...]  # series, label, recognizability, diversity
  curves: tuple[tuple[str, classes.Correlation], ...]  # recognizability of classes and their exponents


@dataclasses.dataclass(frozen=True)
class Cost:
  """Of sampling an image; 0 = not known."""

  seconds: float  # of a device, as measured
  flops: float


@dataclasses.dataclass(frozen=True, eq=False)
class Page:
  title: str
  parts: tuple[Part, ...]
  figures: tuple[tuple[str, tuple[str, ...]], ...]  # what differs in it, its curves
  have: int
  want: int
  seeds: int
  draws: str  # what a seed redraws
  classes: int
  costs: Mapping[str, Cost]  # by curve
  progress: tuple[Progress, ...]
  reproduce: str
  files: tuple[str, ...]
  caveat: str
  refresh_seconds: int  # 0 = finished
  outdated: tuple[Outdated, ...] = ()
  qualities: tuple[Quality, ...] = ()


def render(page: Page) -> str:
  template: jinja2.Template = environment().get_template("scaling.html.jinja")
  return template.render(
    page=page,
    key=key,
    level=f"{100 * intervals.LEVEL:g}",
    least_seeds=intervals.LEAST_SEEDS,
    parts=[_part(page, part) for part in page.parts],
    qualities=[_quality(quality) for quality in page.qualities],
    missing=[p for p in page.progress if p.have < p.want][:40],
    groups=classes.GROUPS,
    said=said,
    is_size=lambda value: 0 < value < math.inf,
    span=span,
    published_by=published.source_of_laws(),
  )


def _part(page: Page, part: Part) -> dict:
  known = {curve.name: curve for curve in part.curves}
  shown = []
  for what, names in page.figures:
    lines = [_drawn(known[name]) for name in names if name in known]
    for start in range(0, len(lines), _SHOWN):
      some = lines[start : start + _SHOWN]
      drawn = figure(some, "images a class", _NAMES[part.measure])
      shown.append(dict(what=what, figure=drawn, names=[line.name for line in some]))
  return dict(
    part=part,
    measure=_NAMES[part.measure],
    figures=[f for f in shown if f["figure"]],
    laws=[_law(curve) | dict(published=part.published.get(curve.name)) for curve in part.curves],
    sizes=_spread(sorted({rate.size for e in part.exchanges for rate in e.rates})),
    exchanges=[_exchange(e) for e in part.exchanges],
    targets=[_target(page, name, e) for name, e in part.to_target.items()],
    classes=[_classes(name, found) for name, found in part.by_class.items()],
  )


def _quality(quality: Quality) -> dict:
  series: dict[str, list[tuple[str, float, float]]] = {}
  for name, label, across, up in quality.sets:
    series.setdefault(name, []).append((label, across, up))
  drawn = plane(list(series.items()), "recognizability, macro-F1 in percent", quality.diversity)
  return dict(quality=quality, figure=drawn, names=list(series))


def _drawn(curve: Curve) -> Line:
  if curve.fit is None:
    return Line(curve.name, curve.sizes)
  x = curve.fit.points.logs_MxV[:, 0]
  return Line(curve.name, curve.sizes, curve.fit.predict, (math.exp(x.min()), math.exp(x.max())))


def _law(curve: Curve) -> dict:
  best = curve.best
  row = dict(name=curve.name, sizes=len(curve.sizes), seeds=len({p.seed for p in curve.points}))
  if best is None:
    return row | dict(best=None, why=curve.why)
  x = best.fit.points.logs_MxV[:, 0]
  parameters = [
    (name, f"{value:.3g}", span(best.certainty.intervals[name])) for name, value in best.fit.values.items()
  ]
  fitted = f"{math.exp(x.min()):,.4g} to {math.exp(x.max()):,.4g}"
  return row | dict(best=best, range=fitted, parameters=parameters, remarks=_remarks(curve))


def _remarks(curve: Curve) -> list[str]:
  said, best = [], curve.best
  assert best is not None and curve.laws is not None
  if best.fit.law.floor is not None and not best.certainty.floor_identified:
    said.append("floor not identified")
  if best.certainty.method != "bootstrap":
    said.append("parametric intervals")
  if best.misfit is not None and best.misfit < comparison.MISFIT:
    said.append(f"misfits (p = {best.misfit:.1g})")
  said += [f"{c.fit.law.name} rejected: {c.rejected}" for c in curve.laws.candidates if c.rejected]
  return said


def _exchange(e: Exchange) -> dict:
  return dict(
    curve=e.curve,
    rates={rate.size: rate for rate in e.rates},
    crossing=e.crossing,
    exponents=e.exponents,
  )


def _target(page: Page, name: str, images: exchange.Estimate) -> dict:
  each = page.costs.get(name, Cost(0.0, 0.0))
  reached = math.isfinite(images.value) and images.value > 0
  total = images.value * page.classes
  return dict(
    name=name,
    images=images,
    total=total if reached else None,
    hours=each.seconds * total / 3600 if reached else None,
    flops=each.flops * total if reached else None,
  )


def _classes(name: str, found: classes.Classes) -> dict:
  counts = {group: found.groups.count(group) for group in classes.GROUPS}
  return dict(name=name, counts=counts, reliability=found.reliability, k=sorted(found.k_C.tolist()))


def _spread(sizes: Sequence[float]) -> list[float]:
  if len(sizes) <= _SIZES:
    return list(sizes)
  return [sizes[round(i * (len(sizes) - 1) / (_SIZES - 1))] for i in range(_SIZES)]


def said(value: float) -> str:
  """A number of images, or a rate."""
  if math.isinf(value):
    return "never"
  if value == 0:
    return "fewer than any"
  return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def span(interval: Interval) -> str:
  return f"{interval.low:.3g} to {interval.high:.3g}".replace("inf", "∞")
