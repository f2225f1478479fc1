"""A value that would make a study hang, fill the memory or wait for itself is one line, before anything begins."""

import functools
import operator

import pytest

from synthjax import study
from synthjax.runtime.errors import UserError
from synthjax.spec import config as fields_of
from synthjax.spec import validation
from synthjax.spec.command import Command


@pytest.fixture
def config(digits):
  config = digits()
  config.real.few = fields_of.real_images("embedded:digits:first", shots=2)
  config.networks.ae = fields_of.network("autoencode")
  config.networks.one = fields_of.network("denoise", autoencoder="ae")
  config.networks.two = fields_of.network("denoise", autoencoder="ae")
  config.networks.three = fields_of.network("denoise", autoencoder="ae")
  config.learning.update(model="resnet-mini", size=8, batch=8, steps=1)
  config.learners.both = fields_of.learner("LE", real="few")
  config.learners.other = fields_of.learner("LE")
  return config


def test_what_the_other_tests_spoil_is_in_order(config):
  validation.check(config)


INFINITE, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
  ("field", "value", "said"),
  [
    ("seeds", 10**9, "config.seeds is at most 10,000, not 1,000,000,000"),
    pytest.param("seeds", 10**5000, "not a number of 5,001 digits", id="digits"),
    ("prompts.LE.draws", 10**8, "config.prompts.LE.draws is at most 100,000"),
    ("prompts.LE.per_class", -5, "config.prompts.LE: per_class is at least 1, not -5"),
    ("prompts.LE.seed", 10**30, "config.prompts.LE.seed is at most"),
    ("sampling.images_per_class", 10**9, "images_per_class is at most 100,000,000"),
    ("sampling.size", 10**9, "config.sampling.size is at most 16,384"),
    ("sampling.guidance", INFINITE, "config.sampling.guidance is a number, not inf"),
    ("sampling.per_device_batch", 10**12, "per_device_batch is at most"),
    (
      "sampling.negative_prompt",
      "half \ud83d",
      "config.sampling.negative_prompt holds a character that no file",
    ),
    ("sampling.negative_prompt", "x" * 10**6, "a text of 1,000,000 characters"),
    ("labels", "a\0b.yaml", "config.labels holds a character that no file"),
    ("filters.CF.kept_per_class", 10**12, "kept_per_class is at most"),
    ("filters.CF.max_drawn", INFINITE, "max_drawn is a number, not inf"),
    ("tuning.batch", 10**12, "config.tuning.batch is at most 1,048,576, not 1,000,000,000,000"),
    ("tuning.learning_rate", INFINITE, "learning_rate is a number, not inf"),
    ("tuning.search_step", (10**9, 10**9), "search_step"),
    ("tuning.learns", "(", "learns '(' is no pattern"),
    ("learning.steps", 10**15, "config.learning.steps is at most"),
    ("learning.momentum", NAN, "momentum is between 0 and 1, not nan"),
    ("learning.drop_factor", NAN, "config.learning.drop_factor is a number, not nan"),
    ("learning.drops", (0.5, "x"), "drops are shares of the steps, between 0 and 1, not 'x'"),
    ("learning.crop", 5.0, "crop is between 0 and 1, not 5.0"),
    ("learning.share", 0.01, "share 0.01 of a batch of 8 leaves no synthetic image in it"),
    ("learning.share", 1.0, "share 1 of a batch of 8 leaves no real image in it"),
    ("real.few.imbalance", INFINITE, "imbalance is a number, not inf"),
    ("networks.one.pictures", 10**12, "pictures is at most"),
    ("networks.one.learning_rate", NAN, "learning_rate is above 0, not nan"),
    ("networks.one.ema", 5.0, "ema is from 0 to below 1, not 5.0"),
    ("networks.one.warmup", -5, "warmup is at least 0, not -5"),
    ("networks.ae.begin_with", "one", "config.networks.ae: it would be made from itself: ae <- one <- ae"),
    ("runtime.save_seconds", 1e20, "config.runtime.save_seconds is at most"),
    ("runtime.grace_seconds", INFINITE, "grace_seconds is a number, not inf"),
    ("report.refresh_seconds", 10**20, "config.report.refresh_seconds is at most 1,000,000,000"),
    ("sets.LE.steps", 10**30, "config.sets.LE.steps is at most"),
    ("sets.LE.prompts", None, "prompts is the name of one of config.prompts, not None"),
  ],
)
def test_a_value_out_of_reason_is_one_line(config, field, value, said):
  *groups, name = field.split(".")
  functools.reduce(operator.getitem, groups, config)[name] = value
  with pytest.raises(UserError) as e:
    validation.check(config)
  assert said in str(e.value) and "\n" not in str(e.value) and len(str(e.value)) < 300


@pytest.mark.parametrize(
  ("circle", "said"),
  [
    (dict(one="one"), "config.networks.one: it would be made from itself: one <- one"),
    (dict(one="two", two="one"), "config.networks.one: it would be made from itself: one <- two <- one"),
    (dict(one="three", three="two", two="one"), "one <- three <- two <- one; change begin_with of two"),
    (dict(one="two", two="three", three="two"), "two <- three <- two"),
  ],
)
def test_networks_that_wait_for_one_another_are_refused(config, circle, said):
  for name, other in circle.items():
    config.networks[name].begin_with = other
  with pytest.raises(UserError, match=said):
    validation.check(config)


def test_learners_that_wait_for_one_another_are_refused(config):
  config.learners.both.init, config.learners.other.init = "learner:other", "learner:both"
  with pytest.raises(UserError, match="forms a cycle: both <- other <- both"):
    validation.check(config)
  config.learners.both.init, config.learning.init = None, "learner:other"
  with pytest.raises(UserError, match="forms a cycle"):
    validation.check(config)


@pytest.mark.parametrize(
  ("sampling", "said"),
  [
    (dict(images_per_class=2 * 10**7), "20,000,000 of 10 classes are 200,000,000 images; a set has at most"),
    (
      dict(images_per_class=10**7, images_per_shard=1),
      "make more than .* shards; raise images_per_shard from 1",
    ),
  ],
)
def test_a_set_whose_plan_fits_no_memory_is_refused(config, tmp_path, sampling, said):
  config.sampling.update(sampling)
  validation.check(config)
  with pytest.raises(UserError, match=said):
    study.run(Command(config, str(tmp_path), plan=True))


@pytest.mark.parametrize("source", ["folder:/no/such", "synthjax:/no/such", "coop:/no/such.json:test"])
@pytest.mark.parametrize("stages", [(), ("sample", "embed", "tune", "learn")])
def test_real_images_that_are_missing_are_told_before_anything_is_made(
  config, tmp_path, capsys, source, stages
):
  for group, field in (("tests", "digits"), ("real.few", "source"), ("sampling", "parents")):
    spoilt = config.copy_and_resolve_references()
    if group == "sampling":
      spoilt.sampling.strength = 0.5
    functools.reduce(operator.getitem, group.split("."), spoilt)[field] = source
    with pytest.raises(UserError, match="/no/such"):
      study.run(Command(spoilt, str(tmp_path), stages=stages))
    study.run(Command(spoilt, str(tmp_path), plan=True, stages=stages))
    assert f"data that are not here: {source} (" in capsys.readouterr().out
  assert not list(tmp_path.iterdir())


def test_weights_that_are_missing_are_told_before_anything_is_made(config, tmp_path, capsys):
  config.learners.both.init = f"folder:{tmp_path / 'none'}"
  with pytest.raises(UserError, match=r"none/model\.safetensors is missing"):
    study.run(Command(config, str(tmp_path / "w")))
  study.run(Command(config, str(tmp_path / "w"), plan=True))
  assert "weights that are not here: folder:" in capsys.readouterr().out
  assert not (tmp_path / "w").exists()


def test_a_stage_needs_only_its_inputs(config, tmp_path):
  """Prompts are written where no image, no encoder and no generator is."""
  config.tests.digits = config.real.few.source = config.sampling.parents = "folder:/no/such"
  config.sampling.strength, config.sampling.generator = 0.5, "/no/such/generator"
  config.encoders.clip.weights = "/no/such/clip"
  study.run(Command(config, str(tmp_path), stages=("prompts",)))
  assert [*tmp_path.glob("prompts/*/prompts.jsonl")] and not (tmp_path / "images").exists()
