"""A learner whose task shares no field with classify is made, measured, found done, and started from, like any other."""

import dataclasses
import json

import pytest
from etils import epath

from synthjax import study
from synthjax.disk import workdir
from synthjax.learning import rates, settings
from synthjax.learning.tasks import TASKS
from synthjax.products.learner import Learner
from synthjax.runtime.registry import Registry
from synthjax.spec import config as fields_of
from synthjax.spec import tasks, validation
from synthjax.spec.command import Command
from synthjax.spec.fields import Classify, Learning
from synthjax.spec.group import Amount, Identity
from synthjax.spec.study import resolve


class Scaled(Learning):
  scale: Identity[Amount] = 2.0  # of the loss


class ScaledTask:
  def __init__(self, fields: Scaled, classes: int):
    like = Classify(model=fields.model, size=fields.size)
    self.classes, self._like, self._scale = classes, settings.task(like, classes), fields.scale
    self.init, self.predict = self._like.init, self._like.predict

  def loss(self, variables, batch, key, step):
    loss, others = self._like.loss(variables, batch, key, step)
    return loss * self._scale, others


@pytest.fixture(autouse=True)
def registered(monkeypatch):
  monkeypatch.setattr(tasks, "GROUPS", Registry("task", tasks.SHIPPED))
  TASKS.register("scaled", fields=Scaled)(ScaledTask)


def run(config, workdir, **kwargs) -> None:
  validation.check(config)
  study.run(Command(config, str(workdir), line="python -m synthjax.main ...", **kwargs))


@pytest.fixture
def config():
  config = fields_of.study_config(labels="digits")
  config.real.few = fields_of.real_images("embedded:digits:first", shots=2)
  config.tests.real = "embedded:digits:first"
  config.learning.update(model="resnet-mini", size=8, real="few", batch=8, steps=2, mixup=0.5, probe="few")
  config.learners.scaled = fields_of.learner(task="scaled", scale=3.0)
  config.learners.next = fields_of.learner(init="learner:scaled", probe="")
  config.seeds = 1
  config.runtime.compile_cache = ""
  return config


def test_its_identity_has_its_own_fields_alone(config, tmp_path, capsys):
  run(config, tmp_path, plan=True)
  assert "runs/scaled" in capsys.readouterr().out
  designed = study.design(config, workdir.open_workdir(str(tmp_path)))
  made = {learner.learner: learner for learner in designed.of(Learner)}
  identity = made["scaled"].identity
  assert identity["scale"] == 3.0 and identity.keys().isdisjoint({"mixup", "norm", "test_norm"})
  assert made["next"].identity["mixup"] == 0.5 and "scale" not in made["next"].identity
  config.learners.scaled.scale = 4.0
  other = study.design(config, workdir.open_workdir(str(tmp_path))).of(Learner)
  assert not {made[learner.learner].folder for learner in other} & {learner.folder for learner in other}


@pytest.mark.slow
def test_it_is_made_measured_found_done_and_begun_with(config, tmp_path, capsys):
  run(config, tmp_path)
  made = {
    about["learner"]: about for f in tmp_path.glob("runs/*/run.json") if (about := json.loads(f.read_text()))
  }
  assert made["scaled"]["fields"]["scale"] == 3.0 and made["next"]["identity"]["mixup"] == 0.5
  rows = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
  assert {row["metric"] for row in rows if row["arm"] == "scaled"} >= {"top1", "knn", "linear_probe"}
  assert "resnet-mini on real images of few" in (tmp_path / "report/index.html").read_text()
  run(config, tmp_path, plan=True)
  assert "nothing is missing" in capsys.readouterr().out
  own = resolve(config).learners["scaled"]
  assert rates.of_learners(epath.Path(tmp_path), own) > 0
  assert rates.of_learners(epath.Path(tmp_path), dataclasses.replace(own, task="other")) == 0
