"""Figures as inline SVG, and the numbers they stand on. No figure says by colour alone what it says.

Every function returns Markup: what it was handed as text is escaped, everything else is a number.
Positions across a bar are in percent, so that a bar fills whatever room a phone or a sheet of paper leaves it.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Callable, Iterable, Sequence

from markupsafe import Markup

# (ground, text) from 0 to 100 percent. One hue each, so that they survive colour blindness and a grey printer; text
# on its ground has a contrast of 4.5 or more (a test holds that).
BLUES = (
  ("#ffffff", "#1a1a1a"),
  ("#edf4fb", "#1a1a1a"),
  ("#d9e8f5", "#1a1a1a"),
  ("#c1d9ee", "#1a1a1a"),
  ("#a3c8e4", "#1a1a1a"),
  ("#7fb3d8", "#1a1a1a"),
  ("#5a9bcb", "#111111"),
  ("#2f73ab", "#ffffff"),
  ("#1f5f9b", "#ffffff"),
  ("#124a83", "#ffffff"),
  ("#083567", "#ffffff"),
)
ORANGES = (
  ("#ffffff", "#767676"),
  ("#fff1e2", "#1a1a1a"),
  ("#fee0c2", "#1a1a1a"),
  ("#fdc999", "#1a1a1a"),
  ("#fbae6b", "#1a1a1a"),
  ("#f28e3c", "#111111"),
)
# Okabe and Ito's, the dark ones. Neighbours differ in marker as well.
_INKS = ("#0072b2", "#c04f00", "#00795a", "#a03e78", "#444444", "#8a6a00")
MARKERS = (
  "M-5,0a5,5 0 1,0 10,0a5,5 0 1,0 -10,0z",  # circle
  "M-4.5,-4.5h9v9h-9z",
  "M0,-6L5.5,4.5h-11z",
  "M0,-6.5L6.5,0L0,6.5L-6.5,0z",
)


_Scale = Callable[[float], float]  # from a value to a place in the figure


@dataclasses.dataclass(frozen=True)
class Seeds:
  """The values of one arm's seeds, in percent. Those that are not finite are counted, and left out of all else."""

  values: tuple[float, ...] = ()
  lost: int = 0

  @classmethod
  def of(cls, values: Iterable[float]) -> Seeds:
    values = tuple(values)
    finite = tuple(float(v) for v in values if math.isfinite(v))
    return cls(finite, len(values) - len(finite))

  @property
  def mean(self) -> float | None:
    return statistics.fmean(self.values) if self.values else None

  @property
  def spread(self) -> float | None:
    """The sample standard deviation; None for fewer than two seeds."""
    return statistics.stdev(self.values) if len(self.values) > 1 else None

  def __str__(self) -> str:
    if self.spread is None:
      return number(self.mean)
    return f"{number(self.mean)} ± {number(self.spread)}"


_Point = tuple[float, int, Seeds, float]  # log2 of the images a class, the images a class, top-1, its mean


def number(value: float | None, digits: int = 1) -> str:
  """A dash for what is not there or not finite; never "-0.0"."""
  if value is None or not math.isfinite(value):
    return "–"
  return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "\u2212")


def signed(value: float | None, digits: int = 1) -> str:
  text = number(value, digits)
  return f"+{text}" if value is not None and math.isfinite(value) and round(value, digits) > 0 else text


def breakable(name: str) -> Markup:
  """The name, with leave to break its line after each +."""
  return Markup("+<wbr>").join(name.split("+"))


def shade(value: float, full: float = 100.0, steps: int = len(BLUES)) -> int | None:
  """Which of `steps` colours stands for the value, the last one from `full` on; None if it is not finite."""
  if not math.isfinite(value):
    return None
  return round(min(max(value / full, 0.0), 1.0) * (steps - 1))


def bar(seeds: Seeds, reference: float | None, interval: tuple[float, float] | None = None) -> Markup:
  """Mean as a bar from 0 to 100, an interval as a whisker, seeds as rings, the reference as a dashed line."""
  parts = []
  if seeds.mean is not None:
    parts.append(f'<rect class="fill" y="5" height="12" width="{_across(seeds.mean)}"/>')
  if interval is not None:
    ends = [_across(end) for end in interval]
    parts.append(f'<line class="whisker" x1="{ends[0]}" x2="{ends[1]}" y1="11" y2="11"/>')
    parts += [f'<line class="whisker" x1="{x}" x2="{x}" y1="7" y2="15"/>' for x in ends]
  parts += [f'<circle class="seed" cx="{_across(v)}" cy="11" r="2.5"/>' for v in seeds.values]
  if reference is not None:
    parts.append(
      f'<line class="reference" x1="{_across(reference)}" x2="{_across(reference)}" y1="0" y2="22"/>'
    )
  return Markup(f'<svg class="bar" height="22" aria-hidden="true">{"".join(parts)}</svg>')


def stack(parts: Sequence[tuple[str, float]], whole: float) -> Markup:
  """Parts of a whole, one after the other, as (CSS class, size)."""
  at, rects = 0.0, []
  for kind, size in parts:
    if whole > 0 and size > 0:
      rects.append(
        f'<rect class="{kind}" x="{_across(100 * at / whole)}" width="{_across(100 * size / whole)}"'
        ' y="3" height="12"/>'
      )
      at += size
  return Markup(f'<svg class="bar" height="18" aria-hidden="true">{"".join(rects)}</svg>')


def steps(steps: Sequence[tuple[float | None, float | None]]) -> Markup:
  """From a first to a last value, from 0 to 100: ours above in circles, theirs below, dashed, in squares."""
  parts = []
  for (before, after), kind, y in zip(steps, ("ours", "theirs"), (7, 19), strict=True):
    if before is not None and after is not None:
      ends = f'x1="{_across(before)}" x2="{_across(after)}" y1="{y}" y2="{y}"'
      parts.append(f'<line class="{kind}" {ends}/>')
    for value, end in ((before, "from"), (after, "to")):
      if value is None:
        continue
      if kind == "ours":
        parts.append(f'<circle class="{kind} {end}" cx="{_across(value)}" cy="{y}" r="4"/>')
      else:
        parts.append(
          f'<rect class="{kind} {end}" x="{_across(value)}" y="{y - 3.5}" width="7" height="7" transform="translate(-3.5)"/>'
        )
  return Markup(f'<svg class="steps" height="26" aria-hidden="true">{"".join(parts)}</svg>')


def marker(index: int) -> Markup:
  """The mark of the curve with that number, for a legend."""
  return Markup(
    '<svg class="key" width="34" height="14" viewBox="-17 -7 34 14" aria-hidden="true">'
    f'<path d="M-17,0H17" stroke="{_ink(index)}" stroke-width="2"/>{_mark(index, 0, 0)}</svg>'
  )


def curve(
  curves: Sequence[tuple[str, Sequence[tuple[int, Sequence[float]]]]],
  reference: float | None,
  across_is: str = "images a class",
) -> Markup:
  """Top-1, or points of it, against images a class, on a log2 axis; whiskers are sample standard deviations.

  Ticks across stand at the numbers that were measured. The axis of top-1 covers what there is, not 0 to 100.
  An empty Markup where no point has a finite value.
  """
  lines = [
    (
      name,
      [
        (math.log2(n), n, seeds, mean)
        for n, values in sorted(points)
        if n > 0 and (mean := (seeds := Seeds.of(values)).mean) is not None
      ],
    )
    for name, points in curves
  ]
  points = [point for _, line in lines for point in line]
  if not points:
    return Markup("")
  left, right, top, bottom = 54, 624, 12, 272
  across = _axis([x for x, *_ in points], left + 14, right - 14)
  levels = [mean + side * (seeds.spread or 0) for _, _, seeds, mean in points for side in (-1, 1)]
  levels += [] if reference is None else [reference]
  ticks = _ticks(min(levels), max(levels))
  up = _axis(ticks, bottom, top)
  parts = []
  for y in ticks:
    parts.append(f'<line class="rule" x1="{left}" x2="{right}" y1="{up(y):.1f}" y2="{up(y):.1f}"/>')
    parts.append(f'<text x="{left - 8}" y="{up(y):.1f}" dy=".35em" text-anchor="end">{y:g}</text>')
  labelled = -math.inf
  for x, n in sorted({(x, n) for x, n, *_ in points}):
    at = across(x)
    parts.append(f'<line class="tick" x1="{at:.1f}" x2="{at:.1f}" y1="{bottom}" y2="{bottom + 5}"/>')
    if at - labelled >= 62:
      parts.append(f'<text x="{at:.1f}" y="{bottom + 23}" text-anchor="middle">{n:,}</text>')
      labelled = at
  parts.append(f'<line class="base" x1="{left}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
  middle = (left + right) // 2
  parts.append(f'<text x="{middle}" y="{bottom + 50}" text-anchor="middle">{across_is}</text>')
  if reference is not None:
    parts.append(
      f'<line class="reference" x1="{left}" x2="{right}" y1="{up(reference):.1f}" y2="{up(reference):.1f}"/>'
    )
  parts += [_line(i, name, line, across, up) for i, (name, line) in enumerate(lines)]
  return Markup(
    f'<svg class="curve" viewBox="0 0 640 {bottom + 58}" role="img"><title>Top-1 in percent against images a class'
    f"</title>{''.join(parts)}</svg>"
  )


def _line(index: int, name: str, line: Sequence[_Point], across: _Scale, up: _Scale) -> str:
  ink, parts = _ink(index), []
  path = " ".join(f"{across(x):.1f},{up(mean):.1f}" for x, _, _, mean in line)
  parts.append(f'<polyline points="{path}" fill="none" stroke="{ink}" stroke-width="2"/>')
  for x, n, seeds, mean in line:
    at, y = across(x), up(mean)
    spread = ""
    if seeds.spread is not None:
      low, high = up(mean - seeds.spread), up(mean + seeds.spread)
      spread = (
        f'<path d="M{at:.1f},{low:.1f}V{high:.1f}M{at - 4:.1f},{low:.1f}h8M{at - 4:.1f},{high:.1f}h8"'
        f' fill="none" stroke="{ink}" stroke-width="1.5"/>'
      )
    hover = Markup("<title>{}, {:,} images a class: {}</title>").format(name, n, str(seeds))
    parts.append(f"<g>{hover}{spread}{_mark(index, at, y)}</g>")
  return "".join(parts)


def _across(percent: float) -> str:
  return f"{min(max(percent, 0.0), 100.0):.2f}%"


def _ink(index: int) -> str:
  return _INKS[index % len(_INKS)]


def _mark(index: int, x: float, y: float) -> str:
  shape = MARKERS[index % len(MARKERS)]
  return f'<path d="{shape}" transform="translate({x:.1f},{y:.1f})" fill="{_ink(index)}" stroke="#fff"/>'


def _axis(values: Sequence[float], start: float, end: float) -> _Scale:
  low, high = min(values), max(values)
  if low == high:
    return lambda value: (start + end) / 2
  return lambda value: start + (end - start) * (value - low) / (high - low)


def _ticks(low: float, high: float) -> list[float]:
  """Four to seven round levels that hold both ends between them."""
  step = next((s for s in (0.5, 1, 2, 5, 10, 20) if (high - low) / s <= 5), 50)
  first, last = math.floor(low / step), math.ceil(high / step)
  return [i * step for i in range(first, max(last, first + 1) + 1)]
