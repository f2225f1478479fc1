"""A whole study: from prompts to the page. What is made once, what grows, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from synthjax import study
from synthjax.disk.workdir import open_workdir
from synthjax.learning import head
from synthjax.products.arm import Arm
from synthjax.products.keep_list import KeepList
from synthjax.runtime.errors import UserError
from synthjax.spec import config as fields_of
from synthjax.spec import validation
from synthjax.spec.command import Command


def run(config, workdir: Path, **kwargs) -> None:
  validation.check(config)
  study.run(Command(config, str(workdir), line="python -m synthjax.main ...", **kwargs))


@pytest.fixture
def learnt(monkeypatch) -> list:
  """(arm, seeds) as they are learnt."""
  seen, learn = [], Arm._learn

  def spy(self, index, seeds, stop):
    seen.append((self.arm, tuple(seeds)))
    learn(self, index, seeds, stop)

  monkeypatch.setattr(Arm, "_learn", spy)
  return seen


def results(workdir: Path) -> list[dict]:
  return [json.loads(line) for line in (workdir / "results.jsonl").read_text().splitlines()]


def test_a_study_once_through_and_then_nothing_is_missing(digits, tmp_path, learnt, capsys):
  config, workdir = digits(), tmp_path / "w"
  run(config, workdir)
  assert learnt == [("zero-shot", (0,)), ("LE+CE", (0, 1)), ("LE+CF+SCE", (0, 1))]
  rows = results(workdir)
  assert len(rows) == 3 * (1 + 2 + 2)  # top1, mean_class, loss
  assert {r["n"] for r in rows} == {898} and {r["split"] for r in rows} == {"first"}
  zero = next(r["value"] for r in rows if r["arm"] == "zero-shot" and r["metric"] == "top1")
  assert 25 < zero < 75
  assert {r["images"] for r in rows if r["arm"] == "LE+CE"} == {40}
  assert "zero-shot        digits  top-1" in capsys.readouterr().out
  run(config, workdir, plan=True)
  assert "nothing is missing" in capsys.readouterr().out
  files = {p: p.stat().st_mtime_ns for p in workdir.rglob("*") if p.is_file()}
  run(config, workdir)
  assert {p: p.stat().st_mtime_ns for p in workdir.rglob("*") if p.is_file()} == files
  page = (workdir / "report" / "index.html").read_text()
  assert "LE+CF+SCE" in page and 'http-equiv="refresh"' not in page


def test_a_further_seed_and_a_further_arm_compute_only_that(digits, tmp_path, learnt):
  config, workdir = digits(), tmp_path / "w"
  run(config, workdir)
  before = results(workdir)
  learnt.clear()
  config.seeds = 3
  config.arms["LE+SCE"] = fields_of.arm("LE", loss="SCE")
  run(config, workdir)
  assert sorted(learnt) == [("LE+CE", (2,)), ("LE+CF+SCE", (2,)), ("LE+SCE", (0, 1, 2))]
  after = results(workdir)
  assert all(row in after for row in before)
  assert len(after) == len(before) + 3 * 5


def test_the_filter_draws_more_where_too_few_stay_and_arms_without_it_see_none_of_that(digits, tmp_path):
  config, workdir = digits(), tmp_path / "w"
  run(config, workdir)
  summary = json.loads((workdir / "keep/LE/CF-clip/summary.json").read_text())
  drawn = [row["drawn"] for row in summary["classes"]]
  assert summary["rounds"] == 2 and max(drawn) > 4  # noise is seldom the digit it should be
  assert all(row["kept"] == 3 for row in summary["classes"])
  kept = (workdir / "keep/LE/CF-clip/ids.txt").read_text().split()
  scores = np.load(workdir / "keep/LE/CF-clip/scores.npz")
  assert kept == scores["ids"][scores["stays"]].tolist() and len(set(kept)) == 30
  sources = tfds.builder_from_directory(workdir / "images/LE").as_data_source("train")
  assert len(sources) == sum(drawn) == len(scores["ids"])
  assert [row["image_id"].decode() for row in sources] == scores["ids"].tolist()
  assert {r["images"] for r in results(workdir) if r["arm"] == "LE+CE"} == {40}


def test_a_larger_quota_keeps_what_passed_and_a_larger_set_too(digits, tmp_path):
  config, workdir = digits(), tmp_path / "w"
  config.filters.CF.when_short = "fewer"
  run(config, workdir)
  before = (workdir / "keep/LE/CF-clip/ids.txt").read_text().split()
  config.filters.CF.kept_per_class = 4
  config.sampling.images_per_class = 6
  run(config, workdir)
  after = (workdir / "keep/LE/CF-clip/ids.txt").read_text().split()
  assert set(before) < set(after)


def test_what_was_kept_is_written_as_a_data_set_byte_for_byte(digits, tmp_path):
  config, workdir = digits(), tmp_path / "w"
  config.filters.CF.write = True
  run(config, workdir)
  folder = workdir / "keep/LE/CF-clip/dataset"
  written = list(tfds.builder_from_directory(folder).as_data_source("train"))
  kept = (workdir / "keep/LE/CF-clip/ids.txt").read_text().split()
  assert [row["image_id"].decode() for row in written] == kept
  whole = {
    r["image_id"]: r for r in tfds.builder_from_directory(workdir / "images/LE").as_data_source("train")
  }
  for row in written:
    same = whole[row["image_id"]]
    assert row["prompt"] == same["prompt"] and (row["image"] == same["image"]).all()
  keep = study.design(config, open_workdir(str(workdir))).of(KeepList)[0]
  assert keep.faults() == []
  for file in ("train.array_record-00000", "features.json", "kept_from.json"):
    data = (folder / file).read_bytes()
    (folder / file).write_bytes(data[:100] + bytes([data[100 % len(data)] ^ 1]) + data[101:])
    if file != "features.json":  # TFDS' own files get checksums where they are written
      assert [str(file) for file in keep.faults()[0].files] == [str(folder)]
    (folder / file).write_bytes(data)


def test_the_images_of_a_smaller_arm_are_a_prefix(digits, tmp_path):
  config, workdir = digits(), tmp_path / "w"
  config.arms["LE+CE-2"] = fields_of.arm("LE", images_per_class=2)
  run(config, workdir)
  by_name = {arm.arm: arm for arm in study.design(config, open_workdir(str(workdir))).of(Arm)}
  assert (
    by_name["LE+CE-2"]._chosen.places.tolist()
    == by_name["LE+CE"]._chosen.places[:20].tolist()
    == list(range(20))
  )
  assert "curve" in (workdir / "report" / "index.html").read_text().lower()


def test_the_saved_classifier_is_what_was_measured(digits, tmp_path):
  config, workdir = digits(), tmp_path / "w"
  run(config, workdir)
  arm = study.design(config, open_workdir(str(workdir))).of(Arm)[1]
  classifier = head.read(arm.classifier_folder(1))
  real = np.load(workdir / "embeddings/digits/clip/all.npz")
  right = (classifier.logits(real["features"]).argmax(1) == real["labels"]).mean()
  row = next(r for r in results(workdir) if (r["arm"], r["seed"], r["metric"]) == ("LE+CE", 1, "top1"))
  assert row["value"] == pytest.approx(100 * right)
  assert classifier.class_ids == tuple("0123456789") and classifier.encoder["reference"] == "embedded:clip"
  other = head.read(arm.classifier_folder(0))
  assert (other.W_KxD != classifier.W_KxD).any()


@pytest.mark.parametrize(
  "change, said",
  [
    (lambda c: c.arms.update({"X": fields_of.arm("LEE")}), "image set 'LEE' (did you mean 'LE'?)"),
    (lambda c: c.arms.update({"X": fields_of.arm("LE/RF")}), "filter 'RF' (known: CF)"),
    (lambda c: c.arms.update({"X": fields_of.arm("LE", loss="CSE")}), "loss 'CSE' (did you mean 'CE'?)"),
    (
      lambda c: c.arms.update({"X": fields_of.arm("LE", images_per_class=9)}),
      "images_per_class 9, but LE has 4",
    ),
    (
      lambda c: c.arms.update({"X": fields_of.arm("LE", encoder="clap")}),
      "encoder 'clap' (did you mean 'clip'?)",
    ),
    (lambda c: c.filters.CF.update(threshold=1.5), "threshold is a probability"),
    (lambda c: c.filters.CF.update(encoder="vit"), "config.filters.CF: encoder 'vit'"),
    (lambda c: c.tuning.update(learning_rate=0.0), "learning_rate is above 0"),
    (
      lambda c: c.encoders.clip.update(weights="embedded:clap"),
      "weights 'embedded:clap' (did you mean 'clip'?)",
    ),
    (lambda c: c.tests.update({"digits": "embeded:digits"}), "did you mean 'embedded"),
    (
      lambda c: c.tests.update({"LE": "embedded:digits:first"}),
      "config.tests: LE is the name of an image set",
    ),
    (lambda c: c.update(seeds=0), "config.seeds is at least 1"),
    (lambda c: c.arms.update({"X": fields_of.arm("/CF")}), "config.arms.X: image set ''"),
    (lambda c: c.encoders.clip.update(weights="/no/such"), "encoder /no/such is no folder"),
    (lambda c: c.tests.update({"digits": "folder:/no/such"}), "there is no such folder"),
  ],
)
def test_mistakes_are_one_line(digits, tmp_path, change, said):
  config = digits()
  change(config)
  with pytest.raises(UserError) as e:
    run(config, tmp_path / "w")
  assert said in str(e.value) and "\n" not in str(e.value)
  assert not (tmp_path / "w" / "images").exists()  # told before anything was drawn


def test_two_filters_on_one_set_do_not_disturb_each_other(digits, tmp_path, learnt):
  """What one draws more is not the other's, and the first arms stay as they were."""
  config, workdir = digits(), tmp_path / "w"
  run(config, workdir)
  before, kept = results(workdir), (workdir / "keep/LE/CF-clip/ids.txt").read_text()
  learnt.clear()
  config.filters.strict = fields_of.image_filter("clip", threshold=0.2, kept_per_class=4, max_rounds=1)
  config.arms["LE+strict+CE"] = fields_of.arm("LE/strict")
  run(config, workdir)
  assert [arm for arm, _ in learnt] == ["LE+strict+CE"]
  assert (workdir / "keep/LE/CF-clip/ids.txt").read_text() == kept
  assert results(workdir)[: len(before)] == before
  segments = [json.loads(p.read_text()) for p in sorted((workdir / "images/LE/segments").glob("*.json"))]
  assert [s["asked_by"] for s in segments] == ["", *["CF-clip 3 a class"] * 2, "strict-clip 4 a class"]
  page = (workdir / "report" / "index.html").read_text()
  assert "LE/CF" in page and "LE/strict" in page


@pytest.mark.parametrize("moment", ["_learn", "_classifier"])
def test_another_process_asks_for_more_images_while_an_arm_is_learnt(digits, tmp_path, monkeypatch, moment):
  undisturbed, workdir = tmp_path / "undisturbed", tmp_path / "w"
  run(digits(), undisturbed)
  asked, method = [], getattr(Arm, moment)

  def ask(self, *args):
    if not asked and self.arm == "LE+CE":
      asked.append(self._set.top_up((1,) * 10, 3, "strict-clip 4 a class"))
    return method(self, *args)

  monkeypatch.setattr(Arm, moment, ask)
  run(digits(), workdir)
  assert asked and (workdir / "images/LE/segments/00003.json").exists()
  assert results(workdir) == results(undisturbed)
  for arm in (workdir / "runs").glob("*/rows.jsonl"):
    assert arm.read_bytes() == (undisturbed / arm.relative_to(workdir)).read_bytes() != b""


def test_a_larger_quota_has_rounds_of_its_own(digits, tmp_path):
  config, workdir = digits(), tmp_path / "w"
  config.filters.CF.max_rounds = 1
  run(config, workdir)
  config.filters.CF.kept_per_class = 6
  run(config, workdir)
  segments = [json.loads(p.read_text()) for p in sorted((workdir / "images/LE/segments").glob("*.json"))]
  assert [s["asked_by"] for s in segments] == ["", "CF-clip 3 a class", "CF-clip 6 a class"]


def test_a_filter_that_keeps_nothing_is_one_line(digits, tmp_path):
  config = digits()
  config.filters.CF.update(threshold=0.999, max_rounds=0, when_short="fewer")
  with pytest.raises(UserError, match=r"arm LE\+CF\+SCE: its filter kept no image; lower its threshold"):
    run(config, tmp_path / "w")


def test_a_data_set_of_what_was_kept_follows_the_list(digits, tmp_path):
  config, workdir = digits(), tmp_path / "w"
  for write, quota in ((True, 2), (False, 3), (True, 3)):
    config.filters.CF.update(write=write, kept_per_class=quota)
    run(config, workdir)
  rows = list(tfds.builder_from_directory(workdir / "keep/LE/CF-clip/dataset").as_data_source("train"))
  kept = (workdir / "keep/LE/CF-clip/ids.txt").read_text().split()
  assert [row["image_id"].decode() for row in rows] == kept and len(kept) == 30


def test_a_further_test_is_measured_without_learning_again(digits, tmp_path, learnt):
  config, workdir = digits(), tmp_path / "w"
  run(config, workdir)
  learnt.clear()
  config.tests.again = "embedded:digits:first"
  run(config, workdir)
  assert learnt == []
  values = {d: [r["value"] for r in results(workdir) if r["dataset"] == d] for d in ("digits", "again")}
  assert len(values["digits"]) == 15 and values["digits"] == values["again"]


def test_a_class_called_script_does_no_harm(digits, tmp_path):
  labels, photos = tmp_path / "labels.yaml", tmp_path / "photos"
  labels.write_text("classes: {x: <script>, y: '\"><img src=x>'}\n")
  for class_id in "xy":
    (photos / class_id).mkdir(parents=True)
    Image.new("RGB", (40, 30), "red").save(photos / class_id / "1.png")
  config, workdir = digits(), tmp_path / "w"
  config.labels = str(labels)
  config.prompts.LE = fields_of.prompt_list("B")
  config.tests.digits = f"folder:{photos}"
  run(config, workdir)
  page = (workdir / "report" / "index.html").read_text()
  assert "<script" not in page and "<img src=x" not in page
  assert "&lt;script&gt;" in page
  assert {r["n"] for r in results(workdir)} == {2}


def test_a_stage_alone_says_what_it_lacks(digits, tmp_path):
  with pytest.raises(UserError, match=r"made from .*, which is missing; add .* to --stages"):
    run(digits(), tmp_path / "w", stages=("tune",))


def test_another_filter_setting_under_the_same_name_is_refused(digits, tmp_path):
  config, workdir = digits(), tmp_path / "w"
  run(config, workdir)
  config.filters.CF.threshold = 0.3
  with pytest.raises(UserError, match=r"keep/LE/CF-clip: threshold was 0.0 when it was made and is 0.3 now"):
    run(config, workdir)


def test_a_set_of_other_classes_is_shown_under_its_own(digits, tmp_path):
  config, workdir = digits(), tmp_path / "w"
  for name in ("LE+CE", "LE+CF+SCE"):
    del config.arms[name]
  config.prompts.letters = fields_of.prompt_list("B", labels="letters")
  config.sets.letters = fields_of.image_set("letters", images_per_class=1)
  run(config, workdir)
  page = (workdir / "report" / "index.html").read_text()
  assert "letters" in page and page.count("<image ") + page.count("<use ") == 40 + 26
