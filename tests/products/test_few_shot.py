"""Few real images beside generated ones: every kind of arm, its rows, its page, and what a stopped study does again."""

import csv
import dataclasses
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from synthjax import study
from synthjax.disk.workdir import open_workdir
from synthjax.learning import head
from synthjax.products.arm import Arm
from synthjax.runtime.errors import UserError
from synthjax.spec import config as fields_of
from synthjax.spec import validation
from synthjax.spec.command import Command
from synthjax.spec.fields import BY_SHOTS, Tuning


def run(config, workdir: Path, **kwargs) -> None:
  validation.check(config)
  study.run(Command(config, str(workdir), line="python -m synthjax.main ...", **kwargs))


def rows(workdir: Path) -> list[dict]:
  return [json.loads(line) for line in (workdir / "results.jsonl").read_text().splitlines()]


@pytest.fixture
def few(digits):
  """Two draws of one and two shots, a set from each, and arms of every kind."""

  def make():
    config = digits(steps=20)
    config.seeds = 1
    for name in ("LE+CE", "LE+CF+SCE"):
      del config.arms[name]
    config.real.others = fields_of.real_images("embedded:digits:first", shots=3, draw=9)
    for cell in ("1-0", "1-1", "2-0", "2-1"):
      shots, draw = map(int, cell.split("-"))
      real, own = f"real-{cell}", fields_of.real_images("embedded:digits:first", shots=shots, draw=draw)
      config.real[real] = own
      parents = dict(parents=f"real:{real}", strength=BY_SHOTS)
      config.sets[f"RG-{cell}"] = fields_of.image_set("LE", **parents)
      config.filters[f"RF-{cell}"] = fields_of.image_filter("real", against=real)
      config.arms[f"init-{cell}"] = fields_of.arm(method="init", real=real)
      config.arms[f"RG-{cell}"] = fields_of.arm(f"RG-{cell}", method="RG", real=real, loss="SCE")
      config.arms[f"RF-{cell}"] = fields_of.arm(f"LE/RF-{cell}", method="RF", real=real)
    tip = dict(real="real-2-0", validation="others", adapter="tip", clip_norm=0.0)
    config.arms["tip"] = fields_of.arm(**tip)
    for order in ("real-synthetic", "synthetic-real"):
      config.arms[order] = fields_of.arm("RG-2-0", real="real-2-0", order=order)
    config.arms.through = fields_of.arm("RG-2-0", real="real-2-0", learns="0.05", steps=2)
    return config

  return make


@pytest.fixture
def learnt(monkeypatch) -> list[str]:
  seen, learn = [], Arm._learn

  def spy(self, index, seeds, stop):
    seen.append(self.arm)
    learn(self, index, seeds, stop)

  monkeypatch.setattr(Arm, "_learn", spy)
  return seen


@pytest.mark.slow
def test_a_study_of_few_shots(few, tmp_path, learnt, monkeypatch, capsys):
  config, undisturbed, workdir = few(), tmp_path / "undisturbed", tmp_path / "w"
  run(config, undisturbed)
  wanted, first = rows(undisturbed), [*learnt]

  # Rows say what they are of.
  own = next(r for r in wanted if r["arm"] == "RG-2-1" and r["metric"] == "top1")
  assert {k: own[k] for k in ("real", "images", "shots", "draw", "method")} == dict(
    real=20, images=40, shots=2, draw=1, method="RG"
  )
  assert next(r for r in wanted if r["arm"] == "through")["tuned_percent"] >= 5
  assert len({r["value"] for r in wanted if r["metric"] == "loss"}) > 12  # arms differ

  # Each image names its parent, one of its class and of its draw; parents take turns.
  source = tfds.builder_from_directory(undisturbed / "images/RG-2-1").as_data_source("train")
  children: dict[tuple[int, bytes], int] = {}
  for row in source:
    children[row["label"], row["parent_id"]] = children.get((row["label"], row["parent_id"]), 0) + 1
  assert len(children) == 20 and set(children.values()) == {2}
  drawn = np.load(undisturbed / "embeddings/real-2-1/clip/all.npz")
  assert {(label, key.decode()) for label, key in children} == set(
    zip(drawn["labels"], drawn["ids"], strict=True)
  )
  assert 0 < float(source[0]["strength"]) < 1

  # What real filtering left out is named beside the real image of another class that is nearest.
  keep = undisturbed / "keep/LE/RF-1-0-clip"
  scores = np.load(keep / "scores.npz")
  named = list(csv.DictReader(io.StringIO((keep / "pairs.csv").read_text())))
  assert {r["image_id"] for r in named} == set(scores["ids"][~scores["stays"]].tolist()) and named
  assert all(r["class"] != r["nearest_class"] for r in named)
  assert (scores["stays"] == (scores["scores"] >= 0)).all()

  # The page has the methods by shots, and parents beside their children.
  page = (undisturbed / "report/index.html").read_text()
  assert "Few real images" in page and "Parents and children" in page and "RG, 2 shots" in page
  assert "Images that LE/RF-1-0 rejected" in page
  assert "top-1 by shots  1:" in capsys.readouterr().out

  # Classifiers that are more than a head are kept whole.
  arms = {arm.arm: arm for arm in study.design(config, open_workdir(str(undisturbed))).of(Arm)}
  assert head.read(arms["tip"].classifier_folder(0)).memory.keys_MxD.shape == (20, 128)
  assert head.read(arms["through"].classifier_folder(0)).tower

  # Stopped between cells and in one, it does no cell twice and ends with the same rows.
  learnt.clear()
  before, done = Arm._classifier, []

  def dies(self, one, seed):
    if self.arm == "RF-1-1" and not done:
      done.append(self.arm)
      raise KeyboardInterrupt
    return before(self, one, seed)

  for name in ("prompts", "images", "embeddings", "keep"):  # what arms are made from: others ask about that
    shutil.copytree(undisturbed / name, workdir / name)
  monkeypatch.setattr(Arm, "_classifier", dies)
  with pytest.raises(KeyboardInterrupt):
    run(few(), workdir)
  so_far = [*learnt]
  run(few(), workdir)
  assert so_far[-1] == "RF-1-1" and sorted(learnt) == sorted([*first, "RF-1-1"])
  assert rows(workdir) == wanted


def test_phases_are_one_after_the_other(few, tmp_path):
  """Real images first: as if an arm on them alone had been gone on with on the synthetic ones."""
  from synthjax.learning import classifier_tuning

  fields = Tuning(epochs=3, batch=16, real_batch=8)
  counts = {"synthetic": 40, "real": 20}
  (mix,) = classifier_tuning.phases(fields, counts)
  assert (mix.domains, mix.sizes, mix.steps) == (("synthetic", "real"), (16, 8), 8)
  one, two = classifier_tuning.phases(dataclasses.replace(fields, order="real-synthetic"), counts)
  assert (one.domains, one.sizes, one.steps) == (("real",), (8,), 8)
  assert (two.domains, two.sizes, two.steps) == (("synthetic",), (16,), 8)
  assert [
    p.domains[0]
    for p in classifier_tuning.phases(dataclasses.replace(fields, order="synthetic-real"), counts)
  ] == [
    "synthetic",
    "real",
  ]
  assert classifier_tuning.phases(dataclasses.replace(fields, steps=5), {"real": 4})[0].steps == 5
  (alone,) = classifier_tuning.phases(
    fields, {"real": 4}
  )  # a batch holds none twice, and an epoch is a step at least
  assert (alone.sizes, alone.steps) == ((4,), 3)


def test_the_second_phase_begins_where_the_first_ended(tmp_path):
  from etils import epath

  from synthjax.learning import classifier_tuning
  from synthjax.learning.training import Training
  from synthjax.runtime.stopping import Stop
  from synthjax.store.features import Features

  rng = np.random.default_rng(0)

  def features(n):
    return Features(rng.normal(size=(n, 6)).astype(np.float32), np.arange(n) % 3, np.arange(n).astype(str))

  parts = {"synthetic": features(24), "real": features(9)}
  runtime = fields_of.study_config().runtime
  fields = Tuning(epochs=2, batch=8)
  W = rng.normal(size=(3, 6)).astype(np.float32)
  with Stop() as stop:

    def learn(name, zero_shot=W, parts=parts, **changed):
      where = Training(epath.Path(tmp_path / name), name, runtime, stop)
      return classifier_tuning.linear(dataclasses.replace(fields, **changed), zero_shot, parts, [0], where)[0]

    together = learn("both", order="real-synthetic")
    first = learn("first", parts={"real": parts["real"]})
    second = learn("second", zero_shot=first.W_KxD, parts={"synthetic": parts["synthetic"]})
  # A head that begins at the first one's W, but at b = 0, which is not where the first ended.
  assert np.abs(first.b_K).max() > 1e-4
  np.testing.assert_allclose(together.W_KxD, second.W_KxD, atol=2e-3)
  assert np.abs(together.W_KxD - first.W_KxD).max() > np.abs(together.W_KxD - second.W_KxD).max()


@pytest.mark.parametrize(
  "change, said",
  [
    (
      lambda c: c.sets["RG-1-0"].update(parents="real:reel-1-0"),
      "real images 'reel-1-0' (did you mean 'real-1-0'?)",
    ),
    (lambda c: c.sets["RG-1-0"].update(parents="embedded:digits:first"), "BY_SHOTS needs parents real:NAME"),
    (lambda c: c.sets["RG-1-0"].update(sampler="lcm", steps=4), "BY_SHOTS is not for sampler lcm"),
    (lambda c: c.filters["RF-1-0"].update(against="digits"), "against: real images 'digits'"),
    (lambda c: c.filters["RF-1-0"].update(metric="cos"), "metric 'cos' (did you mean 'cosine'?)"),
    (lambda c: c.filters["RF-1-0"].update(threshold=0.5), "rule real has a margin, not a threshold"),
    (lambda c: c.arms["init-1-0"].update(real="few"), "config.arms.init-1-0: real 'few'"),
    (lambda c: c.arms["init-1-0"].update(loss="SCE"), "loss SCE is for synthetic images, and it has none"),
    (lambda c: c.arms["RG-1-0"].update(order="mixed"), "order 'mixed' (did you mean 'mix'?)"),
    (
      lambda c: c.arms.tip.update(validation=""),
      "adapter tip learns from real images alone and needs others",
    ),
    (lambda c: c.arms.through.update(batch_norm="unfrozen"), "this encoder has no batch norms"),
    (lambda c: c.arms.through.update(learns="vision_modle"), "learns 'vision_modle' matches no parameter"),
  ],
)
def test_mistakes_are_one_line(few, tmp_path, change, said):
  config = few()
  change(config)
  with pytest.raises(UserError) as e:
    run(config, tmp_path / "w")
  assert said in str(e.value) and "\n" not in str(e.value)
  assert not (tmp_path / "w/images").exists()  # told before anything was drawn
