"""Figures, and the numbers in them."""

import re

import pytest

from synthjax.pages import figures
from synthjax.pages.figures import number, signed

_NAN, _INF = float("nan"), float("inf")


def test_a_doubling_is_as_wide_anywhere():
  svg = str(figures.curve((("c", ((1, (10.0,)), (2, (20.0,)), (4, (20.0,)), (16, (30.0,)))),), 15.0))
  path = re.search(r'<polyline points="([^"]+)"', svg).group(1)
  x = [float(point.partition(",")[0]) for point in path.split()]
  assert x[1] - x[0] == pytest.approx(x[2] - x[1], abs=0.11) == pytest.approx((x[3] - x[2]) / 2, abs=0.11)
  assert svg.count('class="reference"') == 1
  assert "reference" not in figures.curve((("c", ((1, (10.0,)),)),), None)
  assert figures.curve((("zero images", ((0, (10.0,)),)),), 15.0) == ""


def test_ticks_hold_the_data_between_them():
  for low, high in ((0.0, 0.0), (41.2, 58.3), (-0.3, 100.2), (9.99, 10.01), (99.0, 100.0)):
    ticks = figures._ticks(low, high)
    assert ticks[0] <= low and ticks[-1] >= high and 2 <= len(ticks) <= 7


def _luminance(colour: str) -> float:
  parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
  linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
  return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("palette", [figures.BLUES, figures.ORANGES])
def test_colours_darken_step_by_step_and_their_text_is_legible(palette):
  grounds = [_luminance(ground) for ground, _ in palette]
  assert grounds == sorted(grounds, reverse=True) and len(set(grounds)) == len(grounds)
  for ground, text in palette:
    low, high = sorted((_luminance(ground), _luminance(text)))
    assert (high + 0.05) / (low + 0.05) >= 4.5


def test_numbers():
  assert (number(-0.04), number(-1.25), number(None), number(_INF)) == ("0.0", "−1.2", "–", "–")
  assert (signed(0.04), signed(0.06), signed(-0.06), signed(_NAN)) == ("0.0", "+0.1", "−0.1", "–")
  assert [figures.shade(v) for v in (-5.0, 4.9, 5.1, 100.0, 120.0, _NAN)] == [0, 0, 1, 10, 10, None]
