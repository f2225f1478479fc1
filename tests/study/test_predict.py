"""`--stages predict`: the classifier that was measured names images, and what cannot be read is said."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from synthjax import study
from synthjax.disk.workdir import open_workdir
from synthjax.learning import head
from synthjax.products.arm import Arm
from synthjax.runtime.errors import UserError
from synthjax.small_world import digits as real
from synthjax.spec import config as fields_of
from synthjax.spec import validation
from synthjax.spec.command import Command


def run(config, workdir: Path, *stages: str) -> None:
  validation.check(config)
  study.run(Command(config, str(workdir), stages=stages))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
  folder = tmp_path_factory.mktemp("pictures")
  for i, image in enumerate(real.load("first")[0][:30]):
    (folder / str(i % 3)).mkdir(exist_ok=True)
    Image.fromarray(image).save(folder / str(i % 3) / f"{i:03d}.png")
  (folder / "=broken.jpg").write_bytes(b"no image")
  return folder


def test_the_csv_holds_every_file_and_what_the_measured_classifier_says(digits, tmp_path, pictures, capsys):
  config, workdir = digits(), tmp_path / "w"
  run(config, workdir)
  config.predict.update(images=f"folder:{pictures}", arm="LE+CE", seed=1)
  run(config, workdir, "predict")
  err = capsys.readouterr().err
  assert "broken.jpg" in err and err.count("cannot be read") == 1
  with (workdir / "predictions.csv").open(newline="") as file:
    rows = {row["file"]: row for row in csv.DictReader(file)}
  assert len(rows) == 31 and rows["'=broken.jpg"]["class_id"] == ""
  arm = next(a for a in study.design(config, open_workdir(str(workdir))).of(Arm) if a.arm == "LE+CE")
  stored = np.load(workdir / "embeddings/digits/clip/all.npz")["features"][:30]
  wanted = head.read(arm.classifier_folder(1)).logits(stored).argmax(axis=1)
  assert [int(rows[f"{i % 3}/{i:03d}.png"]["class_id"]) for i in range(30)] == wanted.tolist()
  assert all(0 < float(r["probability"]) <= 1 for r in rows.values() if r["class_id"])
  assert rows["0/000.png"]["class_name"].startswith("digit ")


@pytest.mark.parametrize(
  "fields, said",
  [
    (dict(), "predict needs images"),
    (dict(images="folder:/no/such"), "there is no such folder"),
    (dict(arm="LE+CEE"), "config.predict.arm 'LE+CEE' (did you mean 'LE+CE'?)"),
    (dict(arm="LE+CE"), "arm LE+CE is not trained yet"),
    (dict(arm="LE+CE", seed=2), "arm LE+CE has seeds 0 to 1"),
    (dict(arm="folder:/no/such"), "classifier: /no/such/classifier.json is missing"),
    (dict(output="/no/such/out.csv"), "its folder does not exist"),
  ],
)
def test_mistakes_are_one_line(digits, tmp_path, pictures, fields, said):
  config = digits()
  config.predict.update({"images": f"folder:{pictures}"} | fields if fields else {})
  with pytest.raises(UserError) as e:
    run(config, tmp_path / "w", "predict")
  assert said in str(e.value)


# --- learners ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def learner_study(tmp_path_factory):
  """A learner of seconds on real digits, and its workdir."""
  config = fields_of.study_config(labels="digits")
  config.real.few = fields_of.real_images("embedded:digits:first", shots=2)
  config.tests.real = "embedded:digits:second"
  config.learning.update(model="resnet-mini", size=8, real="few", batch=8, steps=30, per_device_batch=100)
  config.learners.first = fields_of.learner(steps=2)
  config.learners.second = fields_of.learner()
  config.seeds = 2
  config.runtime.compile_cache = ""
  workdir = tmp_path_factory.mktemp("learner") / "w"
  run(config, workdir)
  return config, workdir


def test_a_learner_names_its_own_test_just_as_the_study_measured(learner_study, tmp_path, capsys):
  config, workdir = learner_study
  pictures, labels = real.load("second")
  for i, image in enumerate(pictures):
    Image.fromarray(image).save(tmp_path / f"{i:03d}.png")
  (tmp_path / "5000.png").write_bytes(b"no image")
  config = config.copy_and_resolve_references()
  config.predict.update(images=f"folder:{tmp_path}", seed=1)
  run(config, workdir, "predict")
  assert "5000.png" in capsys.readouterr().err
  with (workdir / "predictions.csv").open(newline="") as file:
    rows = {row["file"]: row for row in csv.DictReader(file)}
  assert len(rows) == len(labels) + 1 and rows["5000.png"]["class_id"] == ""
  right = [rows[f"{i:03d}.png"]["class_id"] == str(k) for i, k in enumerate(labels)]
  measured = [json.loads(line) for line in (workdir / "results.jsonl").read_text().splitlines()]
  (top1,) = [
    r["value"] for r in measured if (r["arm"], r["seed"], r["metric"]) == ("second", 1, "top1")
  ]  # the last learner is the default, as the last arm is
  assert 100 * np.mean(right) == pytest.approx(top1, abs=1e-9)
  assert rows["000.png"]["class_name"].startswith("digit ")


@pytest.mark.parametrize(
  "fields, said",
  [
    (dict(arm="secnd"), "config.predict.arm 'secnd' (did you mean 'second'?)"),
    (dict(seed=2), "config.predict.seed 2: learner second has seeds 0 to 1"),
    (dict(arm="first"), "learner first is not trained yet; run the study first"),
  ],
)
def test_mistakes_with_a_learner_are_one_line(learner_study, tmp_path, pictures, fields, said):
  config = learner_study[0].copy_and_resolve_references()
  config.predict.update({"images": f"folder:{pictures}"} | fields)
  with pytest.raises(UserError) as e:
    run(config, tmp_path / "empty", "predict")
  assert str(e.value) == said
