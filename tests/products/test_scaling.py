"""A study of grids whose runs have planted errors: rows, page, tables, growth, and what is there while points are missing."""

import csv
import json

import numpy as np
import pytest

from synthjax import study
from synthjax.cli.fit import fit
from synthjax.data.draws import draw
from synthjax.disk import workdir
from synthjax.evaluation.accuracy import Tally
from synthjax.products.base import DONE
from synthjax.products.learner import Learner
from synthjax.products.scaling import Scaling
from synthjax.runtime.errors import UserError
from synthjax.spec import config as fields_of
from synthjax.spec import validation
from synthjax.spec.command import Command
from synthjax.weights import image_networks
from tests.pages.test_report import Outline, words
from tests.products.test_learner_runs import learner as one_learner

SIZES = (4, 7, 12, 20, 35, 60)
K = {"fast": 0.8, "slow": 0.3}


@pytest.fixture
def trained(monkeypatch) -> list[str]:
  """Nothing learns: a run of D images a class is wrong in A D^-k of its answers, and a little by its seed."""
  done = []

  def learn(self, seed, mesh, stop):
    done.append(f"{self.learner} {seed}")
    self.learnt_file(seed).parent.mkdir(parents=True, exist_ok=True)
    self.learnt_file(seed).write_bytes(
      image_networks.to_bytes({"params": {"x": np.full(2, seed, np.float32)}})
    )
    return {"seed": seed}

  def measured(self, task, variables, test, metric, mesh):
    labels, axes = np.asarray(self.tests[test].labels), dict(self.fields.axes)
    size = axes.get("shots") or axes["images_per_class"]
    rng = np.random.default_rng([variables["seed"], size])
    error = 1.2 * size ** -K[axes.get("learner", "fast")] * np.exp(0.02 * rng.normal())
    answers = labels.copy()
    wrong = rng.permutation(len(labels))[: round(error * len(labels))]
    answers[wrong] = (answers[wrong] + 1) % 10
    return Tally.empty(10).update(3 * np.eye(10)[answers], labels)

  monkeypatch.setattr(Learner, "_learn", learn)
  monkeypatch.setattr(Learner, "_measured", measured)
  return done


def config(sizes=SIZES, seeds: int = 4):
  made = fields_of.study_config(labels="digits")
  made.study, made.seeds = "grids", seeds
  made.real.first = fields_of.real_images("embedded:digits:first")
  made.tests.digits = "embedded:digits:second"
  made.learning.update(model="resnet-mini", size=8, batch=8, steps=3)
  made.learners.fast = fields_of.learner(learning_rate=1e-2)
  made.learners.slow = fields_of.learner(learning_rate=1e-4)
  made.scaling.real = fields_of.grid(real="first", learner=("fast", "slow"), shots=tuple(sizes))
  validation.check(made)
  return made


def run(root, **of) -> None:
  study.run(Command(config(**of), str(root), line="python -m synthjax.main ..."))


def table(root, name: str) -> list[dict[str, str]]:
  return list(csv.DictReader((root / "scaling" / name).read_text().splitlines()))


def test_a_study_of_grids_has_rows_with_axes_curves_laws_and_a_page(tmp_path, trained):
  run(tmp_path)
  rows = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
  errors = [r for r in rows if r["metric"] == "top1"]
  assert len(errors) == 2 * len(SIZES) * 4
  assert {(r["learner"], r["images_per_class"], r["source"]) for r in errors} == {
    (name, n, "real") for name in K for n in SIZES
  }
  values = {
    (r["curve"], r["seed"], float(r["images_per_class"])): float(r["value"])
    for r in table(tmp_path, "curves.csv")
    if r["measure"] == "error"
  }
  for r in errors:
    assert values[f"real, learner {r['learner']}", str(r["seed"]), r["images_per_class"]] == pytest.approx(
      1 - r["value"] / 100
    )

  laws = [
    r
    for r in table(tmp_path, "laws.csv")
    if r["measure"] == "error" and r["law"] == "power" and r["parameter"] == "k"
  ]
  assert {r["curve"]: float(r["value"]) for r in laws} == pytest.approx(
    {f"real, learner {n}": k for n, k in K.items()}, abs=0.04
  )
  # So does the command, on the rows alone.
  said = fit(
    [str(tmp_path / "results.jsonl"), "--y", "error", "--by", "learner", "--law", "power", "--range", "all"]
  )
  assert "learner=fast: 6 sizes, 4 seeds" in said and "bootstrap" in said

  rate = next(
    r for r in table(tmp_path, "exchange.csv") if r["measure"] == "error" and r["reference_images"] == "12.0"
  )
  assert rate["reference"] == "real, learner fast" and rate["curve"] == "real, learner slow"
  assert float(rate["value"]) == pytest.approx(12 ** (0.8 / 0.3), rel=0.3)  # 12^-.8 = x^-.3
  page = (tmp_path / "scaling" / "index.html").read_text()
  Outline(page)
  text = words(page)
  assert "12 of 12 runs measured, 4 seeds each" in text and "real, learner slow" in text and "a D^-k" in text
  assert "Still to be made" not in text
  # The report leaves them to that page, and the summary says their laws.
  report = words((tmp_path / "report" / "index.html").read_text())
  assert "The 12 runs of its grids are in scaling/index.html" in report


def test_a_finished_study_makes_nothing_and_a_further_size_only_its_own_runs(tmp_path, trained, capsys):
  run(tmp_path, sizes=SIZES[:4])
  assert len(trained) == 2 * 4 * 4
  before = (tmp_path / "scaling" / "index.html").read_bytes()
  trained.clear()
  run(tmp_path, sizes=SIZES[:4])
  assert trained == [] and (tmp_path / "scaling" / "index.html").read_bytes() == before
  run(tmp_path, sizes=(*SIZES[:4], 50))
  assert {t.split()[0] for t in trained} == {"real-fast-50", "real-slow-50"} and len(trained) == 8
  assert {float(r["images_per_class"]) for r in table(tmp_path, "curves.csv")} == {4, 7, 12, 20, 50}


def test_while_points_are_missing_the_page_has_those_that_are_there(tmp_path, trained):
  run(tmp_path, sizes=SIZES[:3], seeds=1)
  page = study.design(config(seeds=1), workdir.open_workdir(str(tmp_path))).get(Scaling)
  page.render(refresh_seconds=5)
  text = words(page.page.read_text())
  assert "6 of 12 runs measured, 1 seed each" in text and "Still to be made" in text
  assert "3 sizes are too few for law power" in text
  assert page.status().state != DONE


def test_a_point_that_asks_for_more_real_images_than_there_are_is_one_line_before_anything_runs(
  tmp_path, trained
):
  with pytest.raises(
    UserError, match=r"point real-fast-100: class .* of real first.* images, and shots is 100; lower it"
  ):
    run(tmp_path, sizes=(4, 100))
  assert trained == []


def test_each_seed_draws_images_of_its_own_and_a_larger_size_holds_the_smaller_ones(tmp_path, trained):
  def keys(n: int, seed: int, drawn_from: int = 6) -> set[str]:
    one = one_learner(tmp_path, real="few", images_per_class=n, drawn_from=drawn_from)
    with one._selection.held():
      return set(one.learns_from.sources(seed)["synthetic"].keys)

  one = one_learner(tmp_path, images_per_class=2, drawn_from=6)
  one._set.make(None)
  assert len(keys(2, 0)) == one.synthetic_images == 20
  assert keys(2, 0) < keys(4, 0) < keys(6, 0) == keys(6, 1)
  assert keys(2, 0) != keys(2, 1) and keys(2, 0, 0) == keys(2, 1, 0)
  # By the rank of each image: as if real ones had been drawn.
  source = one._set.as_source()
  assert keys(2, 1) == set(draw(source, one.labels, shots=2, seed=1).keys)


def test_what_is_drawn_from_names_the_run_and_without_it_names_are_as_before(tmp_path, trained):
  whole = one_learner(tmp_path, images_per_class=6)
  whole._set.make(None)
  names = {n: one_learner(tmp_path, images_per_class=n, drawn_from=6).folder.name for n in (2, 4, 6)}
  assert len({*names.values(), whole.folder.name}) == 4
  assert "drawn_from" not in whole.identity and "images_per_class" not in whole.identity


def test_metrics_of_the_sets_that_points_learn_from_are_on_the_page(tmp_path, trained):
  made = fields_of.study_config(labels="digits")
  made.sets.digits = fields_of.imported_set("embedded:digits:first")
  made.sets.unused = fields_of.imported_set("embedded:digits:first", images_per_class=3)
  made.encoders.clip = fields_of.encoder()
  made.metrics.small = fields_of.set_metrics(metrics="recognizability,spread")
  made.tests.half, made.seeds = "embedded:digits:second", 2
  made.learning.update(model="resnet-mini", size=8, batch=8, steps=3)
  made.scaling.few = fields_of.grid("digits", images_per_class=(2, 4, 8, 20))
  validation.check(made)
  study.run(Command(made, str(tmp_path), line="..."))
  numbers = {(r["set"], r["metric"]): float(r["value"]) for r in table(tmp_path, "metrics.csv")}
  assert {s for s, _ in numbers} == {"digits"} and 0 < numbers["digits", "recognizability_macro_f1"] < 100
  html = (tmp_path / "scaling" / "index.html").read_text()
  assert "Images of the sets, by metrics small" in words(html)
  # Over the ten classes, planted errors do not differ: there are both a point and a correlation near 0.
  svg = html[html.index('id="quality-1"') :]
  assert svg.count('class="mark"') == 1 + 1
  rows = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
  assert {r["metrics"] for r in rows if "metrics" in r} == {"small"}
