import base64
import dataclasses
import io
import re
from html.parser import HTMLParser

import PIL.Image
import pytest

from synthjax.pages.figures import Seeds
from synthjax.pages.page import (
  Acceptance,
  Arm,
  Cell,
  Difference,
  Outdated,
  Page,
  Progress,
  Sheet,
)
from synthjax.pages.prompt_lists import described, distinct
from synthjax.pages.report import render, verdict
from synthjax.prompts.meanings import ClassMeanings
from synthjax.store.prompt import Prompt

_VOID = {"meta", "link", "br", "wbr"}
_NAN, _INF = float("nan"), float("inf")


class Outline(HTMLParser):
  """Elements with their attributes, text by element; fails on a tag that is not closed where it should be."""

  def __init__(self, html: str):
    super().__init__()
    self.elements, self.open, self.text = [], [], {}
    self.feed(html)
    self.close()
    assert not self.open

  def handle_starttag(self, tag, attrs):
    self.elements.append((tag, dict(attrs)))
    assert len(dict(attrs)) == len(attrs), f"an attribute twice on {tag}"
    if tag not in _VOID:
      self.open.append(tag)

  def handle_startendtag(self, tag, attrs):
    self.elements.append((tag, dict(attrs)))

  def handle_endtag(self, tag):
    assert self.open and self.open.pop() == tag, f"</{tag}> closes another element"

  def handle_data(self, data):
    for tag in self.open:
      self.text[tag] = self.text.get(tag, "") + data

  def all(self, tag: str) -> list[dict]:
    return [attrs for name, attrs in self.elements if name == tag]


def jpeg(colour: int, side: int = 32, **kwargs) -> bytes:
  buffer = io.BytesIO()
  PIL.Image.new("RGB", (side, side), (colour, 255 - colour, 7)).save(buffer, "JPEG", **kwargs)
  return buffer.getvalue()


def arm(name: str, *top1: float, images: int = 20, by_class=(), confusion=()) -> Arm:
  return Arm(name, f"how {name} is made", images, images // 2, top1, top1, by_class, confusion)


def zero_shot(*top1: float, **kwargs) -> Arm:
  return arm("zero-shot", *top1, images=0, **kwargs)


def page(**kwargs) -> Page:
  return Page(
    **dict(
      title="Two letters",
      classes=(("a", "letter A"), ("b", "letter B")),
      test="letters: 50 images",
      arms=(
        zero_shot(40.0, by_class=(30.0, 50.0), confusion=((30.0, 70.0), (50.0, 50.0))),
        arm("LE+CE", 50.0, 53.0, 56.0, by_class=(61.0, 45.0), confusion=((61.0, 39.0), (55.0, 45.0))),
        arm("LE+SCE", 48.0, 49.0),
      ),
      curves=(("LE", ((1, (20.0, 24.0)), (16, (50.0, 52.0)))),),
      sheets=(
        Sheet(
          "LE",
          "guidance 2",
          "CF",
          (("a", (Cell(jpeg(1), "an A", "a0", 0.93, True), Cell(jpeg(2), "an Å", "a1", 0.04, False))),),
        ),
        Sheet("B", "guidance 4", "", (("b", (Cell(jpeg(3), "a B", "b0", None, None),)),)),
      ),
      acceptance=(
        Acceptance("LE/CF", "own class above 0.1", (("a", 40, 30, 20, 0), ("b", 40, 12, 20, 8)), 1),
      ),
      progress=(Progress("images/LE", "running", 10, 40, "images"),),
      settings=(("sampling.guidance", "2.0"),),
      reproduce=("python -m synthjax.main",),
      software=(("jax", "0.8.1"),),
      caveat="It proves little.",
      refresh_seconds=0,
      facts=(("Encoder", "clip: a folder"),),
      outdated=(Outdated(("images/LE", "runs/LE+CE"), "refused", "its prompts were not cleaned"),),
    )
    | kwargs
  )


def words(html: str) -> str:
  return " ".join(Outline(html).text["body"].split())


def test_an_arm_is_held_against_its_own_encoders_zero_shot():
  small, large = zero_shot(40.0), dataclasses.replace(zero_shot(60.0), name="zero-shot-B", encoder="B")
  tuned = dataclasses.replace(arm("LE-B", 63.0), encoder="B")
  ruling = verdict((small, large, arm("LE", 45.0), tuned))
  assert ruling.zero_shot is large and "zero-shot 60.0 → LE-B 63.0 (+3.0)" in ruling.line
  assert verdict((small, tuned)).zero_shot is None


def test_the_page_is_well_formed_and_the_same_each_time():
  html = render(page())
  outline = Outline(html)
  assert html == render(page())
  assert outline.all("html") == [{"lang": "en"}]
  assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in outline.all("meta")
  assert len(outline.all("table")) == len(outline.all("caption")) == 11
  assert all("scope" in th for th in outline.all("th"))


def hostile(value, text: str):
  """The same with every str replaced, the id of a class too."""
  if isinstance(value, str):
    return text
  if isinstance(value, tuple):
    return tuple(hostile(v, text) for v in value)
  if dataclasses.is_dataclass(value):
    fields = {f.name: hostile(getattr(value, f.name), text) for f in dataclasses.fields(value)}
    return type(value)(**fields)
  return value


@pytest.mark.parametrize(
  "text",
  [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onload='alert(1)",
    "</style></title></details><a href=//evil.example>",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;script&gt;",
    "]]>--><svg/onload=alert(1)>",
    "https://evil.example/x.js",
  ],
)
def test_no_text_becomes_markup(text):
  harmless, outline = Outline(render(page())), Outline(render(hostile(page(refresh_seconds=5), text)))
  assert not {tag for tag, _ in outline.elements} - {tag for tag, _ in harmless.elements}
  for tag, attributes in outline.elements:
    assert tag not in ("script", "iframe", "img", "object", "embed", "form", "base")
    for name, value in attributes.items():
      assert not name.startswith("on")
      if name in ("src", "href", "xlink:href", "action", "style"):
        assert re.match(r"#[\w-]+$|data:image/jpeg;base64,[\w+/=]+$|data:,$", value), (tag, name, value)
  assert not re.search(r"url\(|@import|//", outline.text["style"])
  assert text in outline.text["title"] and outline.text["body"].count(text) > 30


def test_a_policy_forbids_scripts_and_requests():
  policy = next(
    m for m in Outline(render(page())).all("meta") if m.get("http-equiv") == "Content-Security-Policy"
  )
  assert policy["content"].startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'")


def test_means_and_spreads_are_those_by_hand():
  seeds = Seeds.of((50.0, 53.0, 56.0))
  assert (seeds.mean, seeds.spread) == (53.0, 3.0)  # (9 + 0 + 9) / 2 = 9
  assert Seeds.of((48.0, 49.0)).spread == pytest.approx(0.5**0.5)
  html = render(page())
  assert '<b>53.0</b> <span class="pm">± 3.0</span>' in html
  assert '<b>48.5</b> <span class="pm">± 0.7</span>' in html
  assert '<b>40.0</b> <span class="pm">one seed</span>' in html
  assert 'title="seeds: 50.00, 53.00, 56.00"' in html
  assert '<td class="n">+13.0</td>' in html and '<td class="n">+8.5</td>' in html


def test_values_that_are_not_finite_are_set_aside_and_said_to_be():
  assert Seeds.of((50.0, _NAN, 54.0, _INF)) == Seeds((50.0, 54.0), lost=2)
  arms = (
    zero_shot(_NAN),
    arm("half", 50.0, _NAN, by_class=(_NAN, 1.0), confusion=((_NAN, 1.0), (_INF, 0.0))),
    arm("none", _INF),
  )
  cell = Cell(jpeg(1), "p", "i", _NAN, False)
  text = words(
    render(
      page(
        arms=arms,
        curves=(("c", ((1, (_NAN,)), (2, (3.0, -_INF)))),),
        sheets=(Sheet("s", "", "F", (("a", (cell,)),)),),
      )
    )
  )
  assert "(1 not finite, set aside)" in text and "not finite" in text
  assert not re.search(r"\b(nan|inf)\b", text, re.IGNORECASE)
  assert "without zero-shot there is no gain to state" in text


def test_verdict_of_a_gain_says_how_the_best_was_chosen():
  said = verdict(page().arms)
  assert said.line == "zero-shot 40.0 → LE+CE 53.0 ± 3.0 (+13.0), best of 2 trained arms"
  assert "read off this very test" in said.remarks[0] and len(said.remarks) == 1
  assert said.best.name == "LE+CE" and said.line[1:] in render(page())


def test_verdict_when_nothing_improved():
  said = verdict((zero_shot(60.0), arm("A", 55.0, 57.0), arm("B", 58.0, 60.0)))
  assert (
    said.line == "nothing improved on zero-shot 60.0: B, best of 2 trained arms, reaches 59.0 ± 1.4 (−1.0)"
  )
  said = verdict((zero_shot(60.0), arm("A", 60.04)))
  assert said.line == "no improvement on zero-shot 60.0: A, the only trained arm, reaches 60.0 (0.0)"
  assert said.remarks == ("A was trained with one seed: how much of this is chance is not known.",)


def test_verdict_before_the_arms_are_there():
  assert verdict(()).line == "no arm has finished"
  assert verdict((zero_shot(), arm("A"))).line == "no arm has finished"
  assert verdict((zero_shot(41.2), arm("A"))).line == "zero-shot 41.2; no trained arm has finished"
  some = (zero_shot(41.2), arm("A", 50.0, 51.0), arm("B"), arm("C"))
  assert verdict(some).line.endswith("(+9.3), the first finished of 3 trained arms")
  some += (arm("D", 40.0, 41.0),)
  assert verdict(some).line.endswith("(+9.3), best of the 2 finished of 4 trained arms")


def test_a_gain_within_the_spread_is_called_so():
  said = verdict((zero_shot(50.0), arm("A", 49.0, 53.0)))
  assert said.line == "zero-shot 50.0 → A 51.0 ± 2.8 (+1.0), the only trained arm"
  assert said.remarks == ("The gain is within the spread of the seeds: this does not tell the two apart.",)


@pytest.mark.parametrize("seconds", [0, 30])
def test_only_a_running_study_reloads(seconds):
  html = render(page(refresh_seconds=seconds))
  refresh = [m["content"] for m in Outline(html).all("meta") if m.get("http-equiv") == "refresh"]
  assert refresh == (["30"] if seconds else [])
  assert ("The study is running." in html) == bool(seconds)


def test_progress_stays_until_all_is_there():
  unfinished, whole = page().progress, (Progress("images/LE", "done", 40, 40, "images"),)
  assert 'id="progress"' in render(page(progress=unfinished))
  assert 'id="progress"' not in render(page(progress=whole))
  assert 'id="progress"' in render(page(progress=whole, refresh_seconds=9))
  assert 'width="25.00%"' in render(page(progress=unfinished))


def test_every_image_is_there_once_and_shown_as_often_as_asked():
  first, *others = page().sheets
  html = render(page(sheets=(first, *others, dataclasses.replace(first, filter="CG"))))
  outline = Outline(html)
  pictures = [base64.b64decode(image["href"].partition(",")[2]) for image in outline.all("image")]
  assert pictures == [jpeg(1), jpeg(2), jpeg(3)]
  ids = [image["id"] for image in outline.all("image")]
  assert [use["href"] for use in outline.all("use")] == [f"#{ids[0]}", f"#{ids[1]}"]
  assert html.count("an Å · rejected by CF · score 0.04 · a1") == 1  # on hover
  assert html.count('<td class="prompt">an Å</td>') == 2  # in the lists
  kinds = [li.get("class") for li in outline.all("li") if "class" in li]
  assert kinds == ["kept", "rejected"] * 2
  assert html.count('<span class="mark" aria-hidden="true">✗</span> 0.04') == 2


def test_large_images_are_reduced_and_stay_marked():
  mark = b'<x:xmpmeta xmlns:x="adobe:ns:meta/">made by a model</x:xmpmeta>'
  cells = (Cell(jpeg(9, 512, xmp=mark), "p", "i", None, None), Cell(b"no JPEG", "q", "j", None, None))
  outline = Outline(render(page(sheets=(Sheet("LE", "", "", (("a", cells),)),))))
  small, odd = (base64.b64decode(image["href"].partition(",")[2]) for image in outline.all("image"))
  with PIL.Image.open(io.BytesIO(small)) as image:
    assert image.size == (128, 128) and image.info["xmp"] == mark
  assert odd == b"no JPEG"
  assert "small" not in [svg.get("class") for svg in outline.all("svg")]
  assert [svg.get("class") for svg in Outline(render(page())).all("svg")].count("small") == 3  # of 32 pixels


def test_a_thousand_classes_are_cut_with_a_word_about_it():
  k = 1000
  classes = tuple((f"n{i}", f"thing {i}") for i in range(k))
  confusion = tuple(
    tuple(70.0 if i == j else 30.0 if j == (i + 500) % k else 0.0 for j in range(k)) for i in range(k)
  )
  arms = (zero_shot(70.0, by_class=(70.0,) * k, confusion=confusion), arm("A", 71.0, by_class=(71.0,) * k))
  cell = Cell(jpeg(1), "p", "i", None, None)
  html = render(
    page(
      classes=classes,
      arms=arms,
      sheets=(Sheet("LE", "", "", tuple((c, (cell,) * 40) for c, _ in classes)),),
      acceptance=(
        Acceptance("LE/CF", "r", tuple((c, 10, i % 10, 5, 0) for i, (c, _) in enumerate(classes)), 0),
      ),
    )
  )
  outline, text = Outline(html), words(html)
  assert text.count("The first 30 of 1,000 classes are shown.") == 3  # heat, acceptance, images
  assert text.count("The first 20 of 1,000 classes are shown.") == 1
  assert "The first 24 of up to 40 images of each class are shown." in text
  assert len(outline.all("use")) + len(outline.all("image")) == 30 * 24
  assert "thing 29" in text and "thing 30 " not in text
  assert "4,500 of 10,000 images passed (45.0 %)" in text.replace("\xa0", " ")  # of all, not of those shown
  others = re.findall(r'<td class="b7 hit">70</td>.*?<td>30</td></tr>', html)
  assert len(others) == 20  # what went to classes that are not shown


def test_an_empty_study_has_a_page():
  text = words(
    render(
      page(
        arms=(),
        curves=(),
        sheets=(),
        acceptance=(),
        progress=(),
        settings=(),
        reproduce=(),
        software=(),
        caveat="",
      )
    )
  )
  assert "no arm has finished" in text and "cannot prove" not in text
  text = words(render(page(arms=(zero_shot(), arm("A")), classes=())))
  assert text.count("not there yet") == 2


def test_the_filters_counts_add_up_in_the_foot():
  html = render(page()).replace("&nbsp;", " ")
  assert "42 of 80 images passed (52.5 %): least of “letter B” (30 %), most of “letter A” (75 %)" in html
  foot = html[html.index("<tfoot>") : html.index("</tfoot>")]
  assert re.findall(r'<td class="n">(\w+)</td>', foot) == ["80", "42", "40", "8"]
  bars = re.findall(r'<rect class="(\w+)" x="([\d.]+)%" width="([\d.]+)%"', foot)
  assert bars == [("kept", "0.00", "40.00"), ("spare", "40.00", "12.50"), ("filled", "52.50", "10.00")]


def test_the_commonest_mistake_is_named():
  text = words(render(page())).replace("\xa0", " ")
  assert "letter A taken for letter B (70 %); letter B taken for letter A (50 %)." in text
  assert "letter B taken for letter A (55 %); letter A taken for letter B (39 %)." in text


def test_a_page_that_contradicts_itself_is_refused():
  with pytest.raises(ValueError, match="by_class has 1 values for 2 classes"):
    page(arms=(arm("A", 1.0, by_class=(1.0,)),))
  with pytest.raises(ValueError, match="confusion is not 2 by 2"):
    page(arms=(arm("A", 1.0, confusion=((1.0, 2.0),)),))


def difference(points: float, p: float) -> Difference:
  return Difference("zero-shot", points, points - 2.0, points + 2.0, p)


def sure(name: str, top1: float, points: float, p: float) -> Arm:
  return dataclasses.replace(
    arm(name, top1), interval=(top1 - 3.0, top1 + 3.0), difference=difference(points, p)
  )


def test_an_arm_has_an_interval_over_test_images_and_a_paired_test():
  zero = dataclasses.replace(zero_shot(40.0), interval=(36.8, 43.3))
  arms = (zero, sure("A", 50.0, 10.0, 1e-6), sure("B", 41.5, 1.5, 0.03), sure("C", 39.0, -1.0, 0.4))
  html = render(page(arms=arms, images=899))
  assert '<span class="over">36.8 to 43.3</span>' in html and '<span class="over">47.0 to 53.0</span>' in html
  assert '<span class="over">+8.0 to +12.0</span> <span class="over">p &lt; 0.001</span>' in html
  assert '<span class="over">−3.0 to +1.0</span> <span class="over">p = 0.40</span>' in html
  assert "p = 0.060" in html and "p = 0.030" not in html  # Holm: the second of three
  text = words(html)
  assert "95 % interval over test images (Wilson’s, of the mean over seeds and 899 images)" in text
  assert "corrected (Holm) for the 3 comparisons of this page" in text and "older release" not in text
  whiskers = re.findall(r'<line class="whisker" x1="([\d.]+)%" x2="([\d.]+)%" y1="11"', html)
  assert whiskers[:2] == [("36.80", "43.30"), ("47.00", "53.00")]


def test_the_verdict_says_whether_the_test_tells_the_best_from_its_reference():
  said = verdict((zero_shot(40.0), sure("A", 50.0, 10.0, 1e-6)))
  assert said.remarks[0].startswith("Image by image against zero-shot: +10.0 points, +8.0 to +12.0 with 95 %")
  assert said.remarks[0].endswith("p < 0.001, of one comparison.")
  said = verdict((zero_shot(40.0), sure("A", 41.0, 1.0, 0.04), sure("B", 40.0, 0.0, 1.0)))
  assert "p = 0.080, corrected (Holm) for the 2 comparisons" in said.remarks[1]
  assert said.remarks[1].endswith("not a significant difference.")


def test_a_learner_is_held_against_the_one_it_names():
  arms = (
    dataclasses.replace(arm("real", 90.0), encoder=""),
    dataclasses.replace(arm("both", 93.0), reference="real", difference=Difference("real", 3.0, 1, 5, 0.01)),
  )
  text = words(render(page(arms=arms)))
  assert "Against its reference" in text and "+3.0 +1.0 to +5.0 p = 0.010 against real" in text
  assert text.count("one seed reference") == 1


def test_images_that_were_filled_up_have_a_frame_a_mark_and_a_word_of_their_own():
  cells = (
    Cell(jpeg(1), "p", "i", 0.9, True),
    Cell(jpeg(2), "q", "j", 0.04, True, False),
    Cell(jpeg(3), "r", "k", 0.8, False, True),
  )
  html = render(page(sheets=(Sheet("LE", "", "CF", (("a", cells),), kept=20, filled=7),)))
  assert [li.get("class") for li in Outline(html).all("li") if "class" in li] == ["kept", "filled", "left"]
  assert (
    '<span class="mark" aria-hidden="true">△</span> 0.04' in html
    and "q · filled up by CF · score 0.04" in html
  )
  text = words(html)
  assert "double frame: did not pass, kept to fill up its class" in text
  assert "In all, 7 of the 20 kept fill up." in text and "8 of the 40 kept did not pass" in text
  assert "○ dotted frame: passed, and more than the quota" in text
  assert "double frame" not in render(page()) and "dotted frame" not in render(page())


def test_what_is_refused_stands_near_the_top_and_is_cut_where_it_is_much():
  html = render(page())
  text = words(html)
  assert "Refused, or made again images/LE, runs/LE+CE (refused): its prompts were not cleaned" in text
  assert html.index('id="outdated"') < html.index('class="verdict"')
  many = tuple(Outdated(tuple(f"runs/{i}-{k}" for k in range(9)), "missing", f"why {i}") for i in range(8))
  text = words(render(page(outdated=many)))
  assert "runs/0-3 and 5 more (missing): why 0" in text and "runs/0-4" not in text
  assert "And 2 more, which --plan names." in text
  assert "Refused, or made again" not in render(page(outdated=()))


def test_lists_of_a_language_model_are_shown_with_meanings_and_what_was_dropped():
  prompts = [Prompt("a", "an A <b>&", parts={}), Prompt("a", "an A in red"), Prompt("b", "a B")]
  meanings = [
    ClassMeanings("a", ("a vowel", "a <grade>"), (0.125, 0.25), "a <grade>", "real images"),
    ClassMeanings("b", ("a bee",), None, "letter after A", "gloss"),
  ]
  shown = described(
    "LAR", "LAR: some-model", prompts, {"near repeat": 2, "too long": 11}, meanings, ("clip", 0.4567)
  )
  html = render(page(prompts=(shown,)))
  outline = Outline(html)
  text = words(html)
  assert "Prompts that a language model wrote" in text and "LAR: some-model" in text
  assert "11 too long, 2 near repeat" in text and "1 (letter B)" in text
  assert "a vowel 0.125; a <grade> 0.250" in text and "letter after A" in text and "an A <b>&" in text
  assert "Distance" in text and "0.457 clip" in text
  assert html.count("<b>a &lt;grade&gt;</b>") == 1
  assert {"href": "#prompts"} in outline.all("a")
  assert "Prompts that a language model" not in words(render(page()))


def test_distinct_grams_are_counted_over_the_whole_list():
  assert distinct(["a red car", "a red bus"], 1) == 4 / 6  # a, red, car, bus
  assert distinct(["a red car", "a red bus"], 2) == 3 / 4
  assert distinct(["one", ""], 2) == 0
