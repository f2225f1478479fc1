"""The figures and tables of a scaling page: every point is in it, names are texts, and many curves are shown axis by axis."""

import dataclasses
import math
import re

import numpy as np
import pytest

from synthjax.pages import inputs, loglog, provenance, published, scaling
from synthjax.pages.loglog import Line
from synthjax.pages.plane import plane
from synthjax.products.scaling import _figures
from synthjax.scaling import classes, curves
from synthjax.scaling.curves import Point
from synthjax.spec import config as fields_of
from synthjax.spec.study import resolve

SIZES = (10, 20, 40, 80, 160, 320)


def points(curve: str, a: float, k: float, seeds: int = 2, sizes=SIZES, images: int = 1000) -> list[Point]:
  found = []
  for size in sizes:
    for seed in range(seeds):
      wrong = np.full(10, round(a * size**-k * images) + seed)
      found.append(Point(curve, size, seed, wrong, np.full(10, images), loss=3 * a * size**-k + 0.01 * seed))
  return found


def part(*own: curves.Curve) -> scaling.Part:
  return scaling.Part("digits", "10 images", "error", own, "", (), 0.0, {}, {})


def page(*own: curves.Curve, **fields) -> str:
  about = dict(
    title="t", parts=(part(*own),), figures=(("", tuple(c.name for c in own)),), have=1, want=2, seeds=2
  )
  about |= dict(
    draws="",
    classes=10,
    costs={},
    progress=(),
    reproduce="c",
    files=("a.csv",),
    caveat="",
    refresh_seconds=0,
  )
  return scaling.render(scaling.Page(**(about | fields)))


def test_marks_stand_where_both_logarithms_say():
  svg = str(loglog.figure([Line("a", {10: [0.4], 100: [0.1], 1000: [0.025]})], "x", "y"))
  places = [
    (float(x), float(y)) for x, y in re.findall(r'class="mark"[^>]*translate\(([\d.]+),([\d.]+)\)', svg)
  ]
  (x0, y0), (x1, y1), (x2, y2) = places
  assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2) and y1 - y0 == pytest.approx(y2 - y1, abs=0.2)
  assert x0 < x1 and y0 < y1  # down is less


def test_a_law_is_dashed_beyond_what_it_was_fitted_to_and_nowhere_else():
  law = lambda x: 2 / x  # noqa: E731
  inside = str(loglog.figure([Line("a", {10: [0.2], 100: [0.02]}, law, (10, 100))], "x", "y"))
  assert "beyond" not in inside and "polyline" in inside
  wider = [Line("a", {10: [0.2], 100: [0.02]}, law, (10, 100)), Line("b", {1000: [0.1]})]
  assert str(loglog.figure(wider, "x", "y")).count("beyond") == 1


def test_figures_stand_up_to_one_point_equal_values_and_none():
  assert loglog.figure([], "x", "y") == ""
  assert loglog.figure([Line("a", {})], "x", "y") == ""
  for sizes in ({10: [0.5]}, {10: [0.5], 20: [0.5]}, {1: [1e-9], 10**8: [1e9]}):
    svg = str(loglog.figure([Line("a", sizes)], "x", "y"))
    assert "nan" not in svg and "inf" not in svg and 'class="mark"' in svg


def test_names_are_texts_and_a_page_has_no_script():
  own = curves.of_points(points("<script>alert(1)</script>", 0.9, 0.4), "error")
  html = page(*own)
  assert "<script" not in html and "&lt;script&gt;" in html and "default-src 'none'" in html
  assert "prefers-color-scheme: dark" in html


def test_an_error_of_zero_counts_as_half_an_image():
  point = Point("a", 10, 0, np.zeros(10), np.full(10, 100), 0.1)
  assert point.error == 0.5 / 1000


def test_curves_that_cannot_be_fitted_say_why_and_are_drawn_all_the_same():
  few = curves.of_points(points("few", 0.9, 0.4, sizes=SIZES[:3]), "error")
  lost = curves.of_points([Point("lost", 10, 0, np.ones(10), np.full(10, 9), math.nan)], "loss")
  assert "3 sizes are too few for law power" in few[0].why and "no logarithm" in lost[0].why
  html = page(*few, *lost)
  assert "too few for law power" in html and html.count('class="mark"') >= 3
  assert curves.against(few[0], few) == [] and curves.by_class(few[0].points) is None


def test_exchange_rates_and_targets_are_those_of_planted_laws():
  real, synthetic = (
    curves.of_points(points(name, a, k), "error")[0]
    for name, a, k in (("real", 0.9, 0.5), ("synthetic", 0.9, 0.25))
  )
  (found,) = curves.against(real, [real, synthetic])
  rate = next(r for r in found.rates if r.size == 20)
  assert rate.images.value == pytest.approx(400, rel=0.1)  # 20^.5 = 400^.25
  assert found.exponents.value == pytest.approx(-0.25, abs=0.02)
  target = curves.target_of([real, synthetic])
  assert target == pytest.approx(0.9 * 320**-0.25, rel=0.02)
  assert curves.to_target([real], target)["real"].value == pytest.approx(math.sqrt(320), rel=0.1)


def test_names_of_curves_say_what_differs_within_a_source():
  keys = [
    {"source": "real", "real_set": "first"},
    {"source": "synthetic", "set": "LE", "guidance": 2.0},
    {"source": "synthetic", "set": "LE", "guidance": 4.5},
  ]
  assert list(curves.names(keys).values()) == ["real", "synthetic, guidance 2", "synthetic, guidance 4.5"]


def test_many_curves_are_shown_by_axis_with_others_at_their_first_values():
  columns = [{"source": "real"}]
  columns += [{"source": "synthetic", "prompts": p, "guidance": g} for p in "ABC" for g in (1, 2, 4)]
  names = [str(i) for i in range(10)]
  assert dict(_figures(columns, names)) == {
    "By source": ("0", "1"), "By prompts": ("1", "4", "7"), "By guidance": ("1", "2", "3"),
  }  # fmt: skip
  assert dict(_figures(columns[:4], names[:4])) == {"": ("0", "1", "2", "3")}


def test_the_papers_exponents_stand_beside_curves_of_its_network_and_generator():
  val, sd = "tfds:imagenet2012:validation", "stable-diffusion-v1-5/stable-diffusion-v1-5"
  assert published.exponent(val, "vit-b16", "", "") == 0.528
  assert published.exponent(val, "vit-b16", sd, "templates") == 0.195
  for other in (
    (val, "resnet50", sd, "templates"),
    (val, "vit-b16", "sdxl", "templates"),
    (val, "vit-b16", sd, "gloss"),
    ("x", "vit-b16", "", ""),
  ):
    assert published.exponent(*other) is None
  (own,) = curves.of_points(points("real", 0.9, 0.5), "loss")
  html = page(own, parts=(dataclasses.replace(part(own), published={"real": 0.528}),))
  assert "k 0.528: Fan et al. 2024" in html


def test_labels_are_few_and_round_whatever_the_range():
  for low, high in ((0.78, 0.95), (2.291, 2.303), (1e-4, 0.9), (3, 5), (10, 2000), (0.5, 0.5)):
    found = loglog._levels(low, high)
    assert 1 <= len(found) <= 12 and all(low - 1e-9 <= x <= high + 1e-9 for x in found)
    assert len(found) > 1 or low == high


def test_sets_of_one_series_are_joined_and_labelled_by_their_guidance():
  guided = (("LE", f"{g:g}", 50.0 + 10 * g, 2.0 - 0.1 * g) for g in (1.0, 2.0, 4.0))
  sets = (*guided, ("<B>", "1", 40.0, 2.5))
  quality = scaling.Quality("clip", "spread", sets, ())
  (own,) = curves.of_points(points("real", 0.9, 0.5), "error")
  html = page(own, qualities=(quality,))
  svg = html[html.index('id="quality-1"') :]
  assert svg.count('class="mark"') == 4 + 2 and svg.count("<polyline") == 1 and "&lt;B&gt;" in svg
  assert plane([("a", [("x", math.nan, 1.0)])], "x", "y") == ""


def test_rendered_and_generated_images_are_not_called_real():
  config = fields_of.study_config()
  for source, kind in {
    "embedded:glyphs:printed": "rendered", "embedded:digits:first": "real", "synthjax:w/images/LE": "generated",
  }.items():  # fmt: skip
    config.tests.t = source
    run = inputs.Run(name="a", how="", tests={"t": inputs.Measured("x", "y", 10)})
    assert provenance.test(resolve(config), "t", run) == f"t (x, y): 10 {kind} images"


def test_of_three_classes_there_is_no_correlation_and_the_page_is_drawn():
  found = classes.Classes(np.array([0.1, 0.2, 0.3]), np.ones(3), ["scaling"] * 3, None)
  assert curves.correlation(found, np.array([1.0, 2.0, 3.0])) is None
  more = dataclasses.replace(found, k_C=np.arange(5.0))
  assert curves.correlation(more, np.array([1.0, 2.0, np.nan, 3.0, 4.0])) is None
  correlation = curves.correlation(more, np.arange(5.0) ** 2)
  assert correlation is not None and correlation.rho == pytest.approx(1)
