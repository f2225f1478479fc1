"""Learners as products of a study: rows, domains, what they begin with, resuming, and what is refused."""

import json

import numpy as np
import pytest
from etils import epath

from synthjax import study
from synthjax.evaluation import results as result_files
from synthjax.learning import settings
from synthjax.products.learner import Learner
from synthjax.runtime.errors import UserError
from synthjax.spec import config as fields_of
from synthjax.spec import validation
from synthjax.spec.command import Command
from synthjax.spec.study import learner_of
from synthjax.store import corrections
from synthjax.weights import image_networks


def run(config, workdir, **kwargs) -> None:
  validation.check(config)
  study.run(Command(config, str(workdir), line="python -m synthjax.main ...", **kwargs))


@pytest.fixture
def few():
  """Learners of seconds, on real digits alone."""

  def make(**learning):
    config = fields_of.study_config(labels="digits")
    config.study = "few"
    config.real.few = fields_of.real_images("embedded:digits:first", shots=2)
    config.tests.real = "embedded:digits:first"
    config.learning.update(
      dict(model="resnet-mini", size=8, real="few", batch=8, steps=3, prefetch=1, ema=0.9) | learning
    )
    config.learners.few = fields_of.learner()
    config.seeds = 1
    config.runtime.compile_cache = ""
    return config

  return make


@pytest.fixture
def learnt(monkeypatch) -> list:
  seen, learn = [], Learner._learn

  def spy(self, seed, mesh, stop):
    seen.append((self.learner, seed))
    return learn(self, seed, mesh, stop)

  monkeypatch.setattr(Learner, "_learn", spy)
  return seen


def results(workdir) -> list[dict]:
  return [json.loads(line) for line in (workdir / "results.jsonl").read_text().splitlines()]


def test_rows_name_the_shots_and_a_finished_learner_is_left_alone(few, tmp_path, learnt, capsys):
  config = few(probe="few")
  run(config, tmp_path)
  rows = results(tmp_path)
  assert {r["metric"] for r in rows} == {"top1", "top5", "mean_class", "loss", "knn", "linear_probe"}
  assert {(r["arm"], r["shots"], r["real"], r["images"], r["n"], r["seed"]) for r in rows} == {
    ("few", 2, 20, 0, 898, 0)
  }
  top = {r["metric"]: r["value"] for r in rows}
  assert top["top1"] <= top["top5"] and 0 <= top["knn"] <= 100
  page = (tmp_path / "report" / "index.html").read_text()
  assert "resnet-mini on real images of few" in page
  learnt.clear()
  config.seeds = 2
  run(config, tmp_path)
  assert learnt == [("few", 1)]
  run(config, tmp_path, plan=True)
  assert "nothing is missing" in capsys.readouterr().out


def test_a_learner_begins_with_another_and_keeps_its_own_head(few, tmp_path):
  config = few(learning_rate=1e-12, weight_decay=0.0)
  config.learners.more = fields_of.learner(init="learner:few", norm="shared")
  run(config, tmp_path)
  folders = {json.loads(f.read_text())["learner"]: f.parent for f in tmp_path.glob("runs/*/run.json")}
  first, second = (
    image_networks.from_bytes((folders[n] / "seed-0/learnt.safetensors").read_bytes())
    for n in ("few", "more")
  )
  for path, value in first.items():
    if path[0] == "params":
      np.testing.assert_allclose(value, second[path], atol=1e-6)


@pytest.mark.slow
def test_real_and_synthetic_in_one_batch_with_norms_of_their_own(digits, tmp_path):
  config = digits()
  for name in list(config.arms):
    del config.arms[name]
  config.real.few = fields_of.real_images("embedded:digits:first", shots=2)
  config.learning.update(model="resnet-mini", size=8, real="few", batch=8, steps=3)
  config.learners.both = fields_of.learner("LE", norm="auxiliary", ratio=1.0)
  config.learners.kept = fields_of.learner("LE/CF", images_per_class=2, norm="shared")
  config.seeds = 1
  run(config, tmp_path)
  rows = {r["arm"]: r for r in results(tmp_path) if r["metric"] == "top1"}
  assert rows["both"]["images"] == rows["both"]["real"] == 20 and rows["both"]["ratio"] == 1.0
  assert rows["kept"]["images"] == 20
  folders = {json.loads(f.read_text())["learner"]: f.parent for f in tmp_path.glob("runs/*/run.json")}
  both = image_networks.from_bytes((folders["both"] / "seed-0/learnt.safetensors").read_bytes())
  mean = both["batch_stats", "bn1", "mean"]
  assert mean.shape == (2, 24) and not np.allclose(mean[0], mean[1])
  config.learners.both.ratio = 4.0
  with pytest.raises(
    UserError, match=r"learner both needs 8 synthetic images a class, and one has \d; raise"
  ):
    run(config, tmp_path)


@pytest.mark.parametrize(
  "fields, said",
  [
    (dict(steps=0), "set exactly one of steps, epochs and examples"),
    (dict(epochs=1.0), "set exactly one of steps, epochs and examples"),
    (dict(model="resnet19"), "no network 'resnet19' (did you mean 'resnet18'?)"),
    (dict(norm="auxiliary"), "norm auxiliary keeps real and synthetic images apart; it needs both"),
    (dict(init="learner:few"), "init forms a cycle: few <- few"),
    (dict(init="few"), "it is learner:NAME or folder:PATH"),
    (dict(freeze="("), "is no pattern"),
    (dict(ratio=2.0), "it needs both"),
    (dict(drop_path=0.1), "drop_path belongs to vision transformers"),
    (dict(real="lots"), "real 'lots'"),
  ],
)
def test_what_cannot_be_meant_is_one_line(few, tmp_path, fields, said):
  config = few()
  config.learners.few.update(fields)
  with pytest.raises(UserError) as e:
    run(config, tmp_path)
  assert said in str(e.value) and "\n" not in str(e.value)
  assert not (tmp_path / "runs").exists()


def test_a_subset_of_the_classes_restricts_the_answers(few, tmp_path, monkeypatch):
  """As ImageNet-R and -A are scored: a class that the test lacks is never the answer."""
  from PIL import Image

  config = few(subset_tests="some")
  for class_id in "37":
    (tmp_path / "some" / class_id).mkdir(parents=True)
    Image.new("RGB", (8, 8), "white").save(tmp_path / "some" / class_id / "1.png")
  config.tests.some = config.tests.all = f"folder:{tmp_path / 'some'}"
  run(config, tmp_path / "w")
  (file,) = (epath.Path(f) for f in (tmp_path / "w").glob("runs/*/tests/some-*.npz"))
  asked = result_files.read(file.with_suffix(""), 2).confusion_KxK.sum(0)
  assert asked[[3, 7]].sum() == 2 == asked.sum()


def test_the_page_draws_learners_that_differ_in_shots_as_one_line(few, tmp_path):
  config = few()
  config.real.more = fields_of.real_images("embedded:digits:first", shots=4)
  config.learners["few-4"] = fields_of.learner(real="more")
  config.learners["few-2"] = fields_of.learner()
  del config.learners["few"]
  run(config, tmp_path)
  page = (tmp_path / "report" / "index.html").read_text()
  assert "few, 2 images a class" in page and "few, 4 images a class" in page


def test_sweeps_are_products():
  found = list(fields_of.sweep(norm=("shared", "auxiliary"), ratio=(1, 2)))
  assert [tuple(f.values()) for f in found] == [
    ("shared", 1),
    ("shared", 2),
    ("auxiliary", 1),
    ("auxiliary", 2),
  ]


# --- a corrected rule --------------------------------------------------------------------------------


# The folders that these had when two dimensions were what decided on weight decay.
OLDER = {"few": "54f86748692e", "vit": "5175ba7442d9", "next": "cd939cbd4cc9", "free": "f2efad02f01a"}


def test_a_vit_of_the_older_decay_and_what_begins_with_it_are_made_again_and_said(few, tmp_path, capsys):
  config = few()
  config.learners.vit = fields_of.learner(model="vit-mini")
  config.learners.next = fields_of.learner(model="vit-mini", weight_decay=0.0, init="learner:vit")
  config.learners.free = fields_of.learner(model="vit-mini", weight_decay=0.0)
  for folder in OLDER.values():
    (tmp_path / "runs" / folder).mkdir(parents=True)
    (tmp_path / "runs" / folder / "run.json").write_text("{}")
  run(config, tmp_path, plan=True)
  said = [line for line in capsys.readouterr().out.splitlines() if "an older result" in line]
  rule = "was made before: norms of two domains, and a ViT's pos_embed and cls_token, have no weight decay"
  assert said == [
    f"runs/vit: an older result, runs/{OLDER['vit']}, {rule}",
    f"runs/next: an older result, runs/{OLDER['next']}, is initialised from learner vit, which {rule}",
  ]


def test_edges_that_no_patch_holds_are_noted(few, tmp_path, capsys):
  config = few()
  config.learners.vit = fields_of.learner(model="vit-mini", size=15)
  config.learners.whole = fields_of.learner(model="vit-mini", size=16)
  run(config, tmp_path, plan=True)
  assert [
    line for line in capsys.readouterr().err.splitlines() if line.startswith("note: config.learners")
  ] == [
    "note: config.learners.vit: size 15 is no multiple of the patches of vit-mini, which never sees the last 3 rows and "
    "columns; size 12 has none left over"
  ]


def test_learners_that_decay_as_before_keep_their_folders(few, tmp_path):
  config = few()
  config.learners.free = fields_of.learner(model="vit-mini", weight_decay=0.0)
  folders = {p.learner: p.folder.name for p in study.design(config, epath.Path(tmp_path)).of(Learner)}
  assert folders == {name: OLDER[name] for name in ("few", "free")}


@pytest.mark.parametrize(
  "fields, affected",
  [
    (dict(norm="auxiliary"), True),
    (dict(model="vit-s16"), True),
    (dict(model="vit-mini", optimizer="sgd"), True),
    (dict(model="resnet50"), False),
    (dict(model="vit-s16", weight_decay=0.0), False),
    (dict(model="vit-s16", decay_all=True), False),
    (dict(norm="auxiliary", decay_all=True), False),
    (dict(model="vit-mini", freeze="blocks"), True),
    (dict(model="vit-mini", freeze="pos_embed|cls_token"), False),
    (dict(model="vit-mini", freeze="pos_embed|cls_token", norm="auxiliary"), True),
  ],
)
def test_the_hash_changes_of_those_learners_alone_that_decay_otherwise(few, fields, affected):
  config = few(**fields)
  found = corrections.applied(decay=settings.decays_otherwise(learner_of(config, "few")))
  assert found == ({"corrections": ["decay"]} if affected else {})
