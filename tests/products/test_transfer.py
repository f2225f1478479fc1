"""The CIFAR-100 recipes as they are shipped, and end to end in small: generated images, pre-training, transfer."""

import json

import pytest

from synthjax import study
from synthjax.cli import command_line as command_line
from synthjax.learning import settings
from synthjax.learning.optimizer import schedule
from synthjax.runtime.errors import UserError
from synthjax.spec import validation
from synthjax.spec.command import Command
from synthjax.spec.study import learner_of
from tests.data import tfds_files

FILE = "configs/cifar100_transfer.py"
RECIPES = ("resnet50", "resnet50-imagenet", "deit-s", "deit-s-imagenet")
MINI = {"resnet50": "resnet-mini", "resnet50-cifar": "resnet-mini", "vit-s16": "vit-mini"}
IMAGES = 1_200_000  # of ImageNet's size


def rate_of(fields, steps):
  return schedule(settings.recipe(fields, steps, 0))


@pytest.mark.parametrize("arg", ["", *RECIPES])
def test_recipes_are_valid_and_those_of_the_papers(arg):
  config = command_line.load_config_file(FILE, arg)
  config.learners.transfer.init = config.learners.transfer.init.replace("folder:weights", "")
  validation.check(config)
  fields = learner_of(config, "transfer")
  steps = settings.steps(fields, [50_000], [128])
  rate = rate_of(fields, steps)
  assert steps == 78_125
  passes = [int(epoch * 50_000 / 128) + 2 for epoch in (0, 60, 120, 160)]
  assert [rate(s) for s in passes] == pytest.approx([3e-3 * 0.2**i for i in range(4)], rel=1e-5)
  if not arg:
    return
  fields = learner_of(config, "pretrain")
  batch, last = fields.batch, 300 if "deit" in arg else 90
  rate = rate_of(fields, settings.steps(fields, [IMAGES], [batch]))
  at = lambda epoch: float(rate(int(epoch * IMAGES / batch) + 1))  # noqa: E731
  if "deit" in arg:
    assert at(2.5) == pytest.approx(5e-4 * batch / 512 / 2, rel=1e-2) and at(5) == pytest.approx(
      1e-3, rel=1e-2
    )
  elif "imagenet" in arg:
    assert [at(0), at(30), at(60)] == pytest.approx([0.2, 0.02, 0.002], rel=1e-5)
  else:
    assert (at(0), at(45)) == pytest.approx((1e-4, 5e-5), rel=1e-2) and fields.weight_decay == 0.9
  assert at(last - 0.1) < at(last / 2 + 1)


def test_another_recipe_is_one_line():
  with pytest.raises(UserError, match="it is one of resnet50, resnet50-imagenet, deit-s"):
    command_line.load_config_file(FILE, "resnet")


@pytest.mark.slow
@pytest.mark.parametrize("arg", ["resnet50", "deit-s-imagenet"])
def test_in_small_from_generated_images_to_a_transfer(tmp_path, weights, monkeypatch, arg):
  monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
  tfds_files.write(tmp_path / "tfds", "cifar100", 100)
  config = command_line.load_config_file(FILE, arg)
  config.sampling.update(generator=str(weights), images_per_class=1, steps=1, stored_size=8, dtype="float32")
  config.prompts.LE.update(writer="words", draws=2, per_class=1)
  config.sampling.long_prompts = "cut"  # words of so small a text encoder are bytes
  if "imagenet" in arg:
    (tmp_path / "labels.yaml").write_text("classes: {a: ant, b: bee, c: cat}\ntemplates: ['a {}']\n")
    config.prompts.LE.labels = str(tmp_path / "labels.yaml")
  for own in (config.learning, *config.learners.values()):
    own.update({"size": 8, "stored_size": 8, "batch": 16, "epochs": 0.0, "steps": 3, "dtype": "float32"})
    own.model = MINI.get(own.model, own.model)
  config.runtime.compile_cache = ""
  validation.check(config)
  study.run(Command(config, str(tmp_path / "w"), line="python -m synthjax.main ..."))
  rows = [json.loads(line) for line in (tmp_path / "w" / "results.jsonl").read_text().splitlines()]
  found = {arm: {r["metric"] for r in rows if r["arm"] == arm} for arm in ("pretrain", "transfer")}
  own = set() if "imagenet" in arg else {"top1", "top5", "mean_class", "loss"}
  assert found == {
    "pretrain": own | {"knn", "linear_probe"},
    "transfer": {"top1", "top5", "mean_class", "loss"},
  }
  runs = [json.loads(f.read_text()) for f in (tmp_path / "w").glob("runs/*/run.json")]
  assert {run["learner"]: bool(run["identity"]["init"]) for run in runs} == {
    "pretrain": False,
    "transfer": True,
  }
