"""What the report shows of few real images: methods by shots, parents beside their children."""

from synthjax.pages.page import Family, Method
from synthjax.pages.report import render
from tests.pages.test_report import jpeg, page, words


def test_methods_at_several_shots_have_a_table_two_figures_and_gains_by_draw():
  methods = (
    Method("real alone", "10 real", ((1, (50.0, 54.0)), (4, (70.0, 74.0))), ()),
    Method(
      "RG", "images of set RG", ((1, (58.0, 62.0)), (4, (71.0, 75.0))), ((1, (8.0, 8.0)), (4, (1.0, 1.0)))
    ),
    Method("once", "at one number of shots alone", ((16, (90.0,)),), ()),
  )
  html = render(page(methods=methods))
  text = words(html)
  for shown in ("52.0 ± 2.8", "60.0 ± 2.8", "+8.0", "73.0 ± 2.8", "+1.0"):
    assert shown in html
  assert "the same draw of real alone" in text and "at one number of shots" not in text
  assert html.count("real images a class</text>") == 2
  assert "Few real images" not in render(page())
  assert "change, with 95 % by up to 9.8 points" in words(
    render(page(methods=methods, images=100))
  )  # of 60 in 100


def test_parents_stand_beside_their_children_by_strength():
  family = Family("a", "first/17", jpeg(7), ((0.35, (jpeg(8), jpeg(9))), (0.05, (jpeg(1),))))
  html = render(page(families=(family,)))
  assert 'alt="parent first/17"' in html and "0.35" in html and "0.05" in html
  table = html.split('class="families"')[1].split("</table>")[0]
  assert table.count("<svg") == 3 and table.count("<img") == 1
