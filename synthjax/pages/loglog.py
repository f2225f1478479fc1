"""Curves on two logarithmic axes, with the laws fitted to them, as inline SVG; colours are classes, so that a page has a dark mode."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from markupsafe import Markup

from synthjax.pages.figures import MARKERS

INKS = 6  # classes ink0 to ink5
_LEFT, _RIGHT, _TOP, _BOTTOM = 78, 624, 12, 330
_STEPS = 48  # of a law's line
_Scale = Callable[[float], float]


@dataclasses.dataclass(frozen=True, eq=False)
class Line:
  name: str
  sizes: Mapping[float, Sequence[float]]  # what each seed measured, above 0
  law: Callable[[np.ndarray], np.ndarray] | None = None  # sizes to values
  fitted: tuple[float, float] = (0.0, 0.0)  # sizes; beyond, the law is dashed


def figure(lines: Sequence[Line], across_is: str, up_is: str) -> Markup:
  """Means over seeds with a band from the least to the most, laws thin; empty where nothing was measured."""
  values = [v for line in lines for own in line.sizes.values() for v in own]
  if not values:
    return Markup("")
  sizes = [size for line in lines for size in line.sizes]
  across = _axis(min(sizes), max(sizes), _LEFT + 14, _RIGHT - 14)
  up = _axis(min(values), max(values), _BOTTOM - 8, _TOP + 8)
  parts = [*_grid(min(values), max(values), up), *_ticks(min(sizes), max(sizes), across)]
  parts.append(f'<line class="base" x1="{_LEFT}" x2="{_RIGHT}" y1="{_BOTTOM}" y2="{_BOTTOM}"/>')
  middle = (_LEFT + _RIGHT) // 2
  parts.append(
    Markup('<text x="{}" y="{}" text-anchor="middle">{}</text>').format(middle, _BOTTOM + 46, across_is)
  )
  parts += [_line(i, line, max(sizes), across, up) for i, line in enumerate(lines)]
  title = Markup("<title>{} against {}, both on logarithmic axes</title>").format(up_is, across_is)
  return Markup(
    f'<svg class="curve loglog" viewBox="0 0 640 {_BOTTOM + 54}" role="img">{title}{"".join(parts)}</svg>'
  )


def key(index: int) -> Markup:
  """The mark of a line, for a legend."""
  return Markup(
    f'<svg class="key ink{index % INKS}" width="34" height="14" viewBox="-17 -7 34 14" aria-hidden="true">'
    f'<path class="mean" d="M-17,0H17"/>{_mark(index, 0, 0)}</svg>'
  )


def _line(index: int, line: Line, largest: float, across: _Scale, up: _Scale) -> str:
  points = sorted((size, list(own)) for size, own in line.sizes.items() if own)
  if not points:
    return ""
  top = [f"{across(x):.1f},{up(max(own)):.1f}" for x, own in points]
  low = [f"{across(x):.1f},{up(min(own)):.1f}" for x, own in reversed(points)]
  means = [(x, sum(own) / len(own), own) for x, own in points]
  parts = [f'<polygon class="band" points="{" ".join([*top, *low])}"/>' if len(points) > 1 else ""]
  if line.law is None:
    parts.append(
      f'<polyline class="mean" points="{" ".join(f"{across(x):.1f},{up(y):.1f}" for x, y, _ in means)}"/>'
    )
  else:
    start, end = line.fitted
    parts += [_law(line.law, start, end, "mean", across, up)]
    if largest > end * 1.001:
      parts.append(_law(line.law, end, largest, "mean beyond", across, up))
    if points[0][0] < start * 0.999:
      parts.append(_law(line.law, points[0][0], start, "mean beyond", across, up))
  for x, y, own in means:
    hover = Markup("<title>{}, {:g} images a class: {:.4g}, {} seeds from {:.4g} to {:.4g}</title>").format(
      line.name, x, y, len(own), min(own), max(own)
    )
    parts.append(f"<g>{hover}{_mark(index, across(x), up(y))}</g>")
  return f'<g class="ink{index % INKS}">{"".join(parts)}</g>'


def _law(
  law: Callable[[np.ndarray], np.ndarray], start: float, end: float, kind: str, across: _Scale, up: _Scale
) -> str:
  sizes = np.geomspace(start, end, _STEPS)
  places = [(across(x), up(y)) for x, y in zip(sizes, law(sizes), strict=True) if y > 0]
  points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places if _TOP <= y <= _BOTTOM)
  return f'<polyline class="{kind}" points="{points}"/>'


def _mark(index: int, x: float, y: float) -> str:
  return f'<path class="mark" d="{MARKERS[index % len(MARKERS)]}" transform="translate({x:.1f},{y:.1f})"/>'


def _axis(low: float, high: float, start: float, end: float) -> _Scale:
  if low == high:
    return lambda value: (start + end) / 2
  span = math.log(high / low)
  return lambda value: start + (end - start) * math.log(value / low) / span


def _levels(low: float, high: float) -> list[float]:
  """Round numbers between: of each decade 1, 2 and 5; where these are fewer than three, at equal distances."""
  decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
  found = [n * 10.0**d for d in decades for n in (1, 2, 5) if low <= n * 10.0**d <= high]
  if len(found) < 3:
    return levels(low, high)
  return found if len(found) <= 12 else found[:: math.ceil(len(found) / 8)]


def levels(low: float, high: float) -> list[float]:
  """Round numbers between at equal distances, two to six of them."""
  if low == high:
    return [low]
  unit = 10 ** math.floor(math.log10(high - low))
  step = next(s * unit for s in (0.1, 0.2, 0.5, 1, 2, 5) if (high - low) / (s * unit) <= 5)
  return [i * step for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _grid(low: float, high: float, up: _Scale) -> list[str]:
  parts = []
  for y in _levels(low, high):
    parts.append(f'<line class="rule" x1="{_LEFT}" x2="{_RIGHT}" y1="{up(y):.1f}" y2="{up(y):.1f}"/>')
    parts.append(f'<text x="{_LEFT - 8}" y="{up(y):.1f}" dy=".35em" text-anchor="end">{y:.4g}</text>')
  return parts


def _ticks(low: float, high: float, across: _Scale) -> list[str]:
  parts, labelled = [], -math.inf
  for x in _levels(low, high):
    at = across(x)
    parts.append(f'<line class="tick" x1="{at:.1f}" x2="{at:.1f}" y1="{_BOTTOM}" y2="{_BOTTOM + 5}"/>')
    if at - labelled >= 56:
      parts.append(f'<text x="{at:.1f}" y="{_BOTTOM + 23}" text-anchor="middle">{x:,.6g}</text>')
      labelled = at
  return parts
