"""How sure a page is of its numbers, in words: intervals over test images, and p-values corrected for all it shows."""

from __future__ import annotations

from collections.abc import Sequence

from synthjax.evaluation import intervals
from synthjax.pages.figures import number, signed
from synthjax.pages.page import Arm, Difference, Method

LEVEL = 0.05


def corrected(differences: Sequence[Difference | None]) -> list[float | None]:
  """The p-value of each, by Holm over all that are there."""
  found = iter(intervals.holm([d.p for d in differences if d]))
  return [next(found) if d else None for d in differences]


def p_value(p: float) -> str:
  if p < 0.001:
    return "p < 0.001"
  return f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def span(low: float, high: float) -> str:
  return f"{number(low)} to {number(high)}"


def signed_span(low: float, high: float) -> str:
  return f"{signed(low)} to {signed(high)}"


def family(differences: Sequence[Difference | None]) -> str:
  """What the p-values were corrected for."""
  n = sum(d is not None for d in differences)
  return f"corrected (Holm) for the {n} comparisons of this page" if n > 1 else "of one comparison"


def remark(arms: Sequence[Arm], best: Arm) -> str:
  """Whether the best arm differs from what it is compared with; "" where that is not known."""
  differences = [arm.difference for arm in arms]
  p, d = corrected(differences)[[arm is best for arm in arms].index(True)], best.difference
  if d is None or p is None:
    return ""
  result = (
    f"Image by image against {d.against}: {signed(d.points)} points, {signed_span(d.low, d.high)} with 95 % over other "
    f"test images of this kind; {p_value(p)}, {family(differences)}"
  )
  return f"{result}." if p < LEVEL else f"{result}: not a significant difference."


def margin(methods: Sequence[Method], images: int) -> float | None:
  """How far the farther end of the widest 95 % interval over test images lies from its mean, in points."""
  means = [sum(values) / len(values) / 100 for m in methods for _, values in m.points if values]
  if not images or not all(0 <= mean <= 1 for mean in means):
    return None
  ends = [(mean, end) for mean in means for end in intervals.wilson(mean, images)]
  return max((100 * abs(end - mean) for mean, end in ends), default=None)
