"""Points in a plane of two numbers, joined where they are of one series, as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from markupsafe import Markup

from synthjax.pages.figures import MARKERS
from synthjax.pages.loglog import INKS, levels

Series = tuple[str, Sequence[tuple[str, float, float]]]  # its name, and (label, across, up)
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 616, 16, 300


def plane(series: Sequence[Series], across_is: str, up_is: str) -> Markup:
  """Empty where no point has two finite numbers."""
  found = [
    (name, [(label, x, y) for label, x, y in own if math.isfinite(x) and math.isfinite(y)])
    for name, own in series
  ]
  points = [point for _, own in found for point in own]
  if not points:
    return Markup("")
  xs, ys = [x for _, x, _ in points], [y for _, _, y in points]
  across, up = _axis(xs, _LEFT + 20, _RIGHT - 30), _axis(ys, _BOTTOM - 16, _TOP + 16)
  parts = []
  for y in levels(min(ys), max(ys)):
    parts.append(f'<line class="rule" x1="{_LEFT}" x2="{_RIGHT}" y1="{up(y):.1f}" y2="{up(y):.1f}"/>')
    parts.append(f'<text x="{_LEFT - 8}" y="{up(y):.1f}" dy=".35em" text-anchor="end">{y:.4g}</text>')
  for x in levels(min(xs), max(xs)):
    parts.append(
      f'<line class="tick" x1="{across(x):.1f}" x2="{across(x):.1f}" y1="{_BOTTOM}" y2="{_BOTTOM + 5}"/>'
    )
    parts.append(f'<text x="{across(x):.1f}" y="{_BOTTOM + 23}" text-anchor="middle">{x:.4g}</text>')
  parts.append(f'<line class="base" x1="{_LEFT}" x2="{_RIGHT}" y1="{_BOTTOM}" y2="{_BOTTOM}"/>')
  middle = (_LEFT + _RIGHT) // 2
  parts.append(
    Markup('<text x="{}" y="{}" text-anchor="middle">{}</text>').format(middle, _BOTTOM + 46, across_is)
  )
  for i, (name, own) in enumerate(found):
    places = [(label, across(x), up(y), x, y) for label, x, y in own]
    line = " ".join(f"{x:.1f},{y:.1f}" for _, x, y, _, _ in places)
    drawn = [f'<polyline class="mean" points="{line}"/>' if len(places) > 1 else ""]
    for label, at, height, x, y in places:
      title = Markup("<title>{} {}: {} {:.4g}, {} {:.4g}</title>").format(name, label, across_is, x, up_is, y)
      mark = (
        f'<path class="mark" d="{MARKERS[i % len(MARKERS)]}" transform="translate({at:.1f},{height:.1f})"/>'
      )
      text = Markup('<text x="{:.1f}" y="{:.1f}">{}</text>').format(at + 9, height - 7, label)
      drawn.append(f"<g>{title}{mark}{text}</g>")
    parts.append(f'<g class="ink{i % INKS}">{"".join(drawn)}</g>')
  title = Markup("<title>{} against {}</title>").format(up_is, across_is)
  return Markup(
    f'<svg class="curve loglog" viewBox="0 0 640 {_BOTTOM + 54}" role="img">{title}{"".join(parts)}</svg>'
  )


def _axis(values: Sequence[float], start: float, end: float) -> Callable[[float], float]:
  low, high = min(values), max(values)
  if low == high:
    return lambda value: (start + end) / 2
  return lambda value: start + (end - start) * (value - low) / (high - low)
