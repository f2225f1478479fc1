"""CT through the images: against CT on features, flax's own steps, and counts by hand, on a small residual CLIP."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from synthjax.encoders.encoder import with_changes
from synthjax.encoders.layouts import openclip_architecture
from synthjax.encoders.preprocess import Preprocess
from synthjax.encoders.towers import STATISTICS, Towers
from synthjax.learning import head, tune_images
from synthjax.learning.optimizer import Recipe, optimizer
from synthjax.learning.step import State, train_step
from synthjax.learning.tune import Tune
from synthjax.learning.tune_images import TuneImages
from synthjax.models import initial
from synthjax.runtime.errors import UserError

K, N = 4, 12
TEXT = dict(context_length=8, vocab_size=20, width=16, heads=2, layers=1)
RESIDUAL = dict(image_size=32, layers=[1, 1, 1, 1], width=8)
PATCHES = dict(image_size=32, layers=3, width=32, patch_size=16, head_width=16)


def make(vision) -> tuple[Towers, dict]:
  model = dict(embed_dim=16, quick_gelu=True, vision_cfg=vision, text_cfg=TEXT)
  towers = Towers(openclip_architecture(Path("x"), model), Preprocess(32, 32))
  params = initial.scaled(towers.param_shapes(), np.random.default_rng(0))
  return towers, jax.tree.map(jnp.asarray, params)


@pytest.fixture(scope="module")
def residual():
  towers, params = make(RESIDUAL)
  rng = np.random.default_rng(1)  # statistics of a network that has seen something
  seen = jax.tree.map(lambda x: x + 0.2 * rng.random(x.shape, np.float32), params[STATISTICS])
  return towers, params | {STATISTICS: seen}


@pytest.fixture(scope="module")
def data():
  rng = np.random.default_rng(2)
  return {
    domain: {
      "pixels": rng.integers(0, 256, (N, 32, 32, 3), np.uint8),
      "labels": rng.integers(0, K, N).astype(np.int32),
    }
    for domain in ("synthetic", "real")
  }


@pytest.fixture(scope="module")
def zero_shot():
  return (3 * np.random.default_rng(3).normal(size=(K, 16))).astype(np.float32)


def steps(task, variables, batch, recipe):
  state = State(jnp.int32(0), variables, optimizer(recipe).init(variables["params"]), {})
  step_of = jax.jit(functools.partial(train_step, task, recipe))
  for _ in range(recipe.steps):
    state, _ = step_of(state, batch, jax.random.key(0))
  return state.variables


RECIPE = Recipe(steps=3, learning_rate=0.02, weight_decay=0.1, decay_all=True)


@pytest.mark.parametrize("soft", [False, True])
def test_a_frozen_encoder_teaches_the_head_what_its_features_teach_it(residual, data, zero_shot, soft):
  towers, params = residual
  through = TuneImages(towers, K, (), False, soft, real_weight=0.5)
  got = steps(through, through.initial_params(params, zero_shot), data, RECIPE)
  features = {d: towers.image_features(params, x["pixels"])[None] for d, x in data.items()}
  batch = {d: {"features": f, "labels": data[d]["labels"][None]} for d, f in features.items()}
  on_features = Tune(zero_shot, 1, soft, real_weight=0.5)
  wanted = steps(on_features, on_features.init(jax.random.key(0), batch), batch, RECIPE)
  for name in ("W", "b"):
    np.testing.assert_allclose(got["params"][name], wanted["params"][name][0], rtol=1e-5, atol=1e-5)
  assert np.abs(np.asarray(got["params"]["W"]) - zero_shot).max() > 0.03
  jax.tree.map(np.testing.assert_array_equal, got[STATISTICS], params[STATISTICS])  # frozen: to the bit


def test_unfrozen_statistics_follow_both_batches_one_after_the_other(residual, data, zero_shot):
  towers, params = residual
  task = TuneImages(towers, K, (), True, False)
  variables = task.initial_params(params, zero_shot)
  _, (updates, _) = task.loss(variables, data, jax.random.key(0), 0)
  wanted = params
  for domain in ("synthetic", "real"):
    wanted = params | {STATISTICS: towers.image_features_in_training(wanted, data[domain]["pixels"])[1]}
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
    updates[STATISTICS],
    wanted[STATISTICS],
  )
  old, new = params[STATISTICS]["visual"]["bn1"], updates[STATISTICS]["visual"]["bn1"]
  assert np.abs(old["mean"] - new["mean"]).max() > 1e-3


def test_only_what_was_chosen_learns(residual, data, zero_shot):
  towers, params = residual
  paths = tune_images.chosen(params, "visual/layer4_.*kernel|visual/attnpool")
  task = TuneImages(towers, K, paths, False, False)
  after = traverse_util.flatten_dict(
    task.encoder_params(steps(task, task.initial_params(params, zero_shot), data, RECIPE)), sep="/"
  )
  before = traverse_util.flatten_dict(params, sep="/")
  changed = {p for p in after if not np.array_equal(after[p], before[p])}
  assert changed == set(paths) and any("attnpool" in p for p in paths) and not any("bn" in p for p in paths)


def test_a_share_is_counted_from_the_output_back(residual):
  _, params = residual
  sizes = {p: x.size for p, x in tune_images.flat(params).items()}
  of = {
    m: sum(n for p, n in sizes.items() if m in p)
    for m in ("attnpool", "layer4", "layer3", "layer2", "layer1")
  }
  total = sum(sizes.values())
  assert sum(of.values()) < total  # the stem
  just = of["attnpool"] / total
  assert {p.split("/")[1] for p in tune_images.chosen(params, f"{just}")} == {"attnpool"}
  more = tune_images.chosen(params, f"{just + 1e-6}")
  assert {p.split("/")[1] for p in more} == {"attnpool", "layer4_0"}
  assert tune_images.share(params, more, 68) == pytest.approx(
    100 * (of["attnpool"] + of["layer4"] + 68) / (total + 68)
  )
  assert set(tune_images.chosen(params, "1.0")) == set(sizes) and tune_images.chosen(params, "") == ()


def test_transformers_too_learn_from_the_output_back(data, zero_shot):
  towers, params = make(PATCHES)
  sizes = {p: x.size for p, x in tune_images.flat(params).items()}
  head_of = [p for p in sizes if p.startswith("visual_projection") or "post_layernorm" in p]
  share = (sum(sizes[p] for p in head_of) + 1) / sum(sizes.values())
  paths = tune_images.chosen(params, str(share))
  assert set(head_of) < set(paths)
  assert {p.split("layers/")[1][0] for p in set(paths) - set(head_of)} == {"2"}  # the last of three blocks
  task = TuneImages(towers, K, paths, False, True)
  after = steps(task, task.initial_params(params, zero_shot), data, RECIPE)
  assert np.isfinite(np.asarray(after["params"]["W"])).all()
  with pytest.raises(UserError, match="this encoder has no batch norms"):
    tune_images.check(towers, "unfrozen")


def test_the_teacher_is_the_encoder_as_it_was(residual, data, zero_shot):
  towers, params = residual
  task = TuneImages(towers, K, tune_images.chosen(params, "visual/layer4|visual/attnpool"), True, True)
  begun = task.initial_params(params, zero_shot)
  pixels = data["synthetic"]["pixels"]
  before = task._taught(begun, pixels)
  after = steps(task, begun, data, RECIPE)
  np.testing.assert_allclose(task._taught(after, pixels), before, rtol=1e-5, atol=1e-5)
  assert (
    np.abs(
      towers.image_features(task.encoder_params(after), pixels) - towers.image_features(params, pixels)
    ).max()
    > 0.1
  )


def test_what_has_changed_is_kept_beside_the_classifier(residual, data, tmp_path):
  from etils import epath

  _, params = residual
  changed = {"visual/conv1/kernel": np.asarray(params["visual"]["conv1"]["kernel"]) * 1.1}
  about = dict(class_ids=tuple("abcd"), class_names=tuple("abcd"), encoder={}, made={})
  one = head.Classifier(np.zeros((K, 16)), np.zeros(K), **about, tower=changed)
  one.write(epath.Path(tmp_path))
  read = head.read(epath.Path(tmp_path))
  new = with_changes(params, read.tower)
  np.testing.assert_array_equal(new["visual"]["conv1"]["kernel"], changed["visual/conv1/kernel"])
  np.testing.assert_array_equal(new["visual"]["conv2"]["kernel"], params["visual"]["conv2"]["kernel"])


def test_a_pattern_that_matches_nothing_is_one_line(residual):
  with pytest.raises(UserError, match="learns 'visual/layer9' matches no parameter of the image tower"):
    tune_images.chosen(residual[1], "visual/layer9")
