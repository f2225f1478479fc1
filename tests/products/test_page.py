"""What the page says of where its numbers come from, how sure they are, and what is refused."""

import dataclasses
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from synthjax import study
from synthjax.cli import command_line as command_line
from synthjax.disk import workdir
from synthjax.evaluation.accuracy import Tally
from synthjax.pages import comparisons, provenance
from synthjax.pages.inputs import Measured, Run
from synthjax.products.arm import Arm
from synthjax.products.keep_list import KeepList
from synthjax.products.learner import Learner
from synthjax.products.report import Report
from synthjax.products.sampled_set import SampledSet
from synthjax.runtime.errors import UserError
from synthjax.spec import config as fields_of
from synthjax.spec import validation
from synthjax.spec.command import Command
from synthjax.store import corrections, records
from tests.pages.test_report import Outline, words


def run(config, root: Path, **kwargs) -> None:
  validation.check(config)
  study.run(Command(config, str(root), line="python -m synthjax.main ...", **kwargs))


def design(config, root: Path) -> study.Study:
  validation.check(config)
  return study.design(config, workdir.open_workdir(str(root)), "python -m synthjax.main ...")


def drawn(config, root: Path) -> str:
  """The page as it is while nothing is there yet."""
  report = design(config, root).get(Report)
  report.render(refresh_seconds=5)
  html = report.page.read_text()
  Outline(html)  # every tag is closed where it should be
  return html


def learners(**sets: str):
  """Learners alone, on sets that have generators of their own; no encoder, and none for all sets."""
  config = fields_of.study_config(labels="digits")
  config.study = "nets"
  config.prompts.LE = fields_of.prompt_list("LE", per_class=4, draws=6)
  config.tests.half = "embedded:digits:first"
  config.tests.other = "embedded:digits:second"
  config.real.few = fields_of.real_images("embedded:digits:first", shots=2)
  config.learning.update(model="resnet-mini", size=8, batch=8, real="few", steps=1)
  config.learners.real = fields_of.learner()
  for name, generator in sets.items():
    config.sets[name] = fields_of.image_set("LE", generator=generator, images_per_class=2, steps=1)
    config.learners[f"{name}-both"] = fields_of.learner(name)
  return config


def caveat(config, root: Path) -> str:
  return provenance.caveat(provenance.networks(config, [p.about() for p in design(config, root).products]))


def test_the_caveat_is_of_the_networks_that_had_a_part_and_of_no_others(tmp_path, weights):
  assert caveat(learners(), tmp_path) == caveat(learners(LE=str(weights)), tmp_path) == ""
  html = drawn(learners(), tmp_path)
  assert "cannot prove" not in html and "embedded:generator" not in html
  own = caveat(learners(A="embedded:generator", B=str(weights)), tmp_path)
  assert "trained on rendered glyphs: embedded:generator (drew A)." in own and "random" not in own
  noise = caveat(learners(A="random:tiny"), tmp_path)
  assert "random weights, whose images are noise: random:tiny (drew A)." in noise and "glyphs" not in noise
  html = drawn(learners(A="embedded:generator"), tmp_path)  # config.sampling.generator is empty
  assert "What this can and cannot prove" in html and "A sampled by embedded:generator" in html


def test_title_and_lead_name_the_tests_with_their_counts(digits, tmp_path):
  text = words(drawn(learners(A="embedded:generator"), tmp_path / "a"))
  assert "nets: learning from generated and real images, tested on half and other" in text
  assert "Top-1 on half (digits, first): 898 real images" in text
  assert "other (digits, second): 899 real images" in text and "This page shows half" in text
  text = words(drawn(learners(), tmp_path / "b"))
  assert "nets: learning from real images, tested on half and other" in text
  config = digits()
  for name in ("LE+CE", "LE+CF+SCE"):
    del config.arms[name]
  text = words(drawn(config, tmp_path / "c"))
  assert "small: zero-shot classification, tested on digits" in text and "clip: embedded:clip" in text
  assert "899" not in text


def tally(right: np.ndarray, known: bool = True) -> Tally:
  """Of ten classes in turn; what is wrong is taken for the next class."""
  confusion, labels = np.zeros((10, 10), np.int64), np.arange(len(right)) % 10
  np.add.at(confusion, (labels, np.where(right, labels, (labels + 1) % 10)), 1)
  return Tally(confusion, 0.0, right_N=right if known else None)


def arm_of(name: str, tallies: list[Tally], digest: str = "d") -> Run:
  n = tallies[0].n if tallies else 0
  return Run(name, "", {"t": Measured("digits", "first", n, digest=digest, tallies=tuple(tallies))})


def test_arms_are_paired_on_the_same_images_only():
  rng = np.random.default_rng(0)
  right = rng.random(400) < 0.5
  better = right | (rng.random(400) < 0.2)
  zero, seeds = arm_of("zero-shot", [tally(right)]), [tally(better), tally(right)]
  found = comparisons.difference(arm_of("A", seeds), seeds, zero, "t")
  assert found.against == "zero-shot" and found.points == pytest.approx(50 * (better.mean() - right.mean()))
  assert found.low < found.points < found.high and found.p < 1e-6
  for other in (
    arm_of("zero-shot", [tally(right)], digest="another source"),
    arm_of("zero-shot", [tally(right[:-1])]),  # one could not be read
    arm_of("zero-shot", [tally(right, known=False)]),  # an older release's
    arm_of("zero-shot", []),
  ):
    assert comparisons.difference(arm_of("A", seeds), seeds, other, "t") is None
  low, high = comparisons.interval([tally(right, known=False)])
  assert low < 100 * right.mean() < high < low + 12 and comparisons.interval([]) is None


@pytest.mark.parametrize(
  "file, pairs",
  [
    ("real_and_synthetic.py", {"shared-1x": "real", "auxiliary-4x": "real", "real": None}),
    (
      "pretrain_transfer.py:resnet",
      {"resnet-digits-4": "resnet-random-4", "resnet-random-4": None, "resnet-pre-digits": None},
    ),
    ("quickstart.py", {"LE+CE": "zero-shot", "zero-shot": None}),
  ],
)
def test_what_shipped_studies_are_held_against(file, pairs, tmp_path):
  path, _, arg = file.partition(":")
  config = command_line.load_config_file(f"configs/{path}", arg)
  made = design(config, tmp_path)
  runs = [product.about().run for product in (*made.of(Arm), *made.of(Learner))]
  found = {run.name: comparisons.reference_of(run, runs) for run in runs}
  assert {name: found[name] and found[name].name for name in pairs} == pairs


def answers(monkeypatch, known: bool) -> None:
  """Of each result, which images were right, as a newer release keeps it (the first so many), or as an older one does not."""
  read = Arm.tallies

  def tallies(self, test):
    return [
      dataclasses.replace(t, right_N=np.arange(t.n) < np.trace(t.confusion_KxK) if known else None)
      for t in read(self, test)
    ]

  monkeypatch.setattr(Arm, "tallies", tallies)


@pytest.fixture(scope="module")
def filtered(tmp_path_factory):
  """(config, workdir) of a study whose filter had to fill classes up, made once."""
  root = tmp_path_factory.mktemp("report") / "w"
  config = fields_of.study_config(labels="digits")
  config.study, config.seeds, config.report.images = "small", 2, 3
  config.prompts.LE = fields_of.prompt_list("LE", per_class=4, draws=6)
  config.sets.LE = fields_of.image_set("LE")
  config.sampling.update(generator="embedded:generator", steps=4, images_per_class=3, per_device_batch=8)
  config.encoders.clip = fields_of.encoder()
  config.filters.CF = fields_of.image_filter("clip", threshold=0.6, kept_per_class=2, max_rounds=0)
  config.tests.digits = "embedded:digits:first"
  config.tuning.update(batch=16, epochs=4)
  config.arms.update({"zero-shot": fields_of.arm(), "LE+CE": fields_of.arm("LE")})
  config.arms["LE+CF+SCE"] = fields_of.arm("LE/CF", loss="SCE")
  config.runtime.compile_cache = ""
  run(config, root)
  return config, root


def drawn_again(config, root: Path) -> str:
  report = design(config, root).get(Report)
  report.render(refresh_seconds=0)
  return report.page.read_text()


def test_images_that_were_filled_up_do_not_look_like_those_that_passed(filtered):
  config, root = filtered
  html = drawn_again(config, root)
  keep = design(config, root).of(KeepList)[0]
  below = set((a := keep.load())["ids"][a["stays"] & (a["scores"] <= 0.6)])  # by the filter's own scores
  filled = sum(row["filled"] for row in keep.summary()["classes"])
  assert len(below) == filled > 0
  shown = {i: fate for fate, i in re.findall(r'<li class="(\w+)">.*? · ([0-9a-f]{32})</title>', html)}
  assert len(shown) == 30 and {i for i, fate in shown.items() if fate == "filled"} == below & set(shown)
  above = set(a["ids"][~a["stays"] & (a["scores"] > 0.6)])  # more than the quota
  assert above & set(shown) == {i for i, fate in shown.items() if fate == "left"} != set()
  assert words(html).count(f"{filled} of the 20 kept") == 2 and "double frame" in html


def test_a_page_says_how_sure_it_is(filtered, monkeypatch):
  config, root = filtered
  answers(monkeypatch, known=True)
  html = drawn_again(config, root)
  assert words(html).count("corrected (Holm) for the 2 comparisons of this page") == 2
  assert len(re.findall(r"p (?:&lt;|=) [\d.]+</span>", html)) == 2 and "no paired test" not in html
  zero = json.loads((root / "results.jsonl").read_text().splitlines()[0])
  assert zero["arm"] == "zero-shot" and zero["n"] == 898
  low, high = re.search(r"one seed</span> <span class=\"over\">([\d.]+) to ([\d.]+)</span>", html).groups()
  assert float(low) < zero["value"] < float(high) and 4 < float(high) - float(low) < 7


def test_of_an_older_release_it_says_what_is_not_known(filtered, monkeypatch):
  config, root = filtered
  answers(monkeypatch, known=False)
  text = words(drawn_again(config, root))
  assert "Of 2 of these results it is not known which images were right" in text
  assert "95 % interval over test images" in text and "p =" not in text and "p <" not in text


def test_an_imported_set_is_as_small_as_what_drew_it(filtered, tmp_path):
  """A learner has no encoder, so that the generator alone can be to blame."""
  config = learners()
  config.sets.A = fields_of.imported_set(f"synthjax:{filtered[1]}/images/LE")
  config.learners.A = fields_of.learner("A")
  assert "embedded:generator (drew A)" in caveat(config, tmp_path / "w")
  assert "learning from generated and real images" in drawn(config, tmp_path / "w")


def test_a_page_names_what_is_refused_and_shows_none_of_it(filtered, tmp_path, monkeypatch):
  config, root = filtered[0], tmp_path / "w"
  shutil.copytree(filtered[1], root)
  rule = "prompts are read as CLIP reads them"
  monkeypatch.setitem(corrections.RULES, "toy", rule)
  whole = SampledSet._record

  def corrected(self):
    record = whole(self)
    return dataclasses.replace(record, identity=record.identity | corrections.applied(toy=True))

  monkeypatch.setattr(SampledSet, "_record", corrected)
  with pytest.raises(records.Corrected, match="images/LE was made under a rule"):
    run(config, root)
  text = words((root / "report/index.html").read_text())
  assert "Refused, or made again" in text and text.count(rule) == 1  # of all that hang on it, one line
  assert "images/LE, embeddings/LE/clip, keep/LE/CF-clip, runs/LE+CE and 1 more (refused)" in text
  assert text.count("refused: see above") == 2 and "Generated images" not in text


def test_a_matrix_names_what_is_refused_and_what_it_can_prove(digits, tmp_path, monkeypatch):
  config, root = digits(images_per_class=1), tmp_path / "w"
  config.study = "one"
  del config.arms["LE+CF+SCE"], config.filters["CF"]
  config.seeds, config.tuning.epochs = 1, 1
  with monkeypatch.context() as context:
    answers(context, known=True)
    run(fields_of.matrix({"a": config}), root)
  html = (root / "report/index.html").read_text()
  Outline(html)
  text = words(html)
  assert "embedded:clip (encoder clip)" in text and "95 % interval over test images" in text
  assert re.search(r"[−+]?[\d.]+ to [−+]?[\d.]+ ?p [<=] [\d.]+", text) and "of one comparison" in text
  header, *cells = (root / "matrix.csv").read_text().splitlines()
  assert header.endswith("published_by,top1_low,top1_high,gain,gain_low,gain_high,p")
  assert cells[0].endswith(",,,,") and not cells[1].endswith(",")  # zero-shot is held against nothing

  def refused(self):
    raise records.Corrected("images/LE was made under a rule that has been corrected since: toy")

  monkeypatch.setattr(SampledSet, "status", refused)
  monkeypatch.setattr(SampledSet, "make", lambda self, stop: refused(self))
  with pytest.raises(UserError, match="corrected since: toy"):
    run(fields_of.matrix({"a": config}), root)
  text = words((root / "report/index.html").read_text())
  assert "Refused, or made again" in text and "a/runs/LE+CE (refused)" in text and "1 of 2 cells" in text
