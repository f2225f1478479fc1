"""Tip-Adapter's random views: what its keys are the mean of, what an epoch learns from, and what stays without them."""

import dataclasses
import hashlib
import importlib.util
from pathlib import Path

import numpy as np
import pytest
from etils import epath
from PIL import Image

from synthjax import study
from synthjax.data import crops
from synthjax.data.sources import label_space, open_real
from synthjax.encoders.encoder import encoder_of
from synthjax.learning import adapter, classifier_tuning
from synthjax.learning.adapter import TipAdapter
from synthjax.learning.training import Training
from synthjax.learning.views import Views
from synthjax.products.arm import Arm
from synthjax.runtime.errors import UserError
from synthjax.runtime.stopping import Stop
from synthjax.spec import config as fields_of
from synthjax.spec import validation
from synthjax.spec.study import arm_of, resolve
from synthjax.store.features import Features

ROOT = Path(__file__).parent.parent.parent
SIDE = 32  # of the CLIP that ships


@pytest.fixture
def config():
  config = fields_of.study_config(labels="digits")
  config.encoders.clip = fields_of.encoder()
  config.real.few = fields_of.real_images("embedded:digits:first", shots=1)
  config.real.others = fields_of.real_images("embedded:digits:first", shots=3, draw=9)
  config.tests.real = "embedded:digits:second"
  config.arms.plain = fields_of.arm(real="few", adapter="tip", validation="others")
  config.arms.linear = fields_of.arm(real="few")
  return config


@pytest.fixture
def seen(config, tmp_path):
  """The encoder, the source of `few`, and its views."""
  labels = label_space("digits")
  encoder = encoder_of(resolve(config), epath.Path(tmp_path), "clip", labels)
  source = open_real(resolve(config).real["few"], labels)
  with Stop() as stop:
    yield encoder, source, lambda ids: Views(encoder, source, ids, "runs/tip", config.runtime, stop)


def by_hand(encoder, source, places, seed, view):
  """Each image alone, by the pipeline's own parts: crop, resize, flip, encode."""

  pixels = []
  for place in places:
    key = hashlib.sha256(source.keys[place].encode()).digest()[:8]
    rng = np.random.default_rng([seed, view, int.from_bytes(key, "big")])
    image = source.image(place).convert("RGB")
    cut = image.crop(crops.box(*image.size, rng)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    pixels.append(np.asarray(cut)[:, :: -1 if rng.random() < 0.5 else 1])
  return encoder.embed(pixels)


def test_keys_are_the_mean_of_views_and_every_epoch_sees_a_further_one(config, seen, tmp_path, monkeypatch):
  encoder, source, views_of = seen
  places = [7, 2, 5, 0, 9, 3]  # not the source's order
  ids = np.array([source.keys[i] for i in places])
  real = Features(np.zeros((6, 128), np.float32), source.labels[places], ids)
  validation_on = Features(*(np.concatenate([x, x]) for x in (np.eye(6, 128), real.labels, ids + "x")))
  begun, batches, searched = [], [], []
  monkeypatch.setattr(TipAdapter, "__init__", _spy(TipAdapter.__init__, begun))
  monkeypatch.setattr(adapter, "search", _spy(adapter.search, searched))
  fields = dataclasses.replace(
    arm_of(config, "plain"),
    views=3,
    epochs=2,
    real_batch=4,
    init_alpha=3.0,
    init_beta=2.0,
    search_scale=(0.3, 0.2),
    search_step=(2, 2),
  )
  with Stop() as stop:
    where = Training(epath.Path(tmp_path / "run"), "runs/tip", config.runtime, stop)
    train = Training.run

    def spied(self, task, batch_at, *rest):
      batches.extend(batch_at(step) for step in range(3))
      return train(self, task, batch_at, *rest)

    monkeypatch.setattr(Training, "run", spied)
    (learnt,) = classifier_tuning.tip_adapter(
      fields, encoder.zero_shot, real, validation_on, [5], where, views_of(ids)
    )
  mean = np.mean([by_hand(encoder, source, places, 5, v) for v in range(3)], axis=0)
  _, _, keys, labels, alpha, beta = begun[0]
  np.testing.assert_allclose(keys, mean, atol=1e-5)
  assert (labels == real.labels).all() and (alpha, beta) == (3.0, 2.0)
  (*_, ratios, sharpnesses) = searched[0]
  assert ratios == pytest.approx((0.1, 0.15)) and sharpnesses == pytest.approx((0.1, 0.2))
  assert learnt.memory.ratio in ratios and learnt.memory.sharpness in sharpnesses

  # Six images in batches of four: three steps are two epochs, of views 3 and 4. The second batch spans both.
  features = np.concatenate([b["real"]["features"] for b in batches])
  labels = np.concatenate([b["real"]["labels"] for b in batches])
  for epoch, view in enumerate((3, 4)):
    known = by_hand(encoder, source, places, 5, view)
    own = slice(6 * epoch, 6 * epoch + 6)
    nearest = np.abs(features[own, None] - known[None]).max(-1).argmin(1)
    assert sorted(nearest) == list(range(6))
    np.testing.assert_allclose(features[own], known[nearest], atol=1e-5)
    assert (labels[own] == real.labels[nearest]).all()


def _spy(function, seen):
  def wrapped(*args):
    seen.append(args)
    return function(*args)

  return wrapped


def test_a_view_does_not_depend_on_the_images_beside_it(seen):
  _, source, views_of = seen
  all_of = views_of(list(source.keys)).features(0, 1)
  one = views_of([source.keys[4]]).features(0, 1)
  np.testing.assert_array_equal(all_of[4:5], one)
  assert not np.allclose(all_of, views_of(list(source.keys)).features(0, 2), atol=1e-3)
  assert not np.allclose(all_of, views_of(list(source.keys)).features(1, 1), atol=1e-3)


def test_fields_at_their_defaults_leave_every_run_where_it_was(config, tmp_path):
  """The folders that these arms had before the fields were there."""
  config.real.few.shots = 2
  config.arms["zero-shot"] = fields_of.arm()
  tip = dict(real="few", adapter="tip", validation="others")
  same = dict(
    init_alpha=1.0, init_beta=1.0, search_scale=(7.0, 3.0), search_step=(200, 20), views=0, epsilon=1e-8
  )
  config.arms.same = fields_of.arm(**tip, **same)
  changed = dict(
    init_alpha=2.0, init_beta=2.0, search_scale=(12.0, 5.0), search_step=(200, 10), views=10, epsilon=1e-4
  )
  for name, value in changed.items():
    config.arms[name] = fields_of.arm(**tip, **{name: value})
  validation.check(config)
  found = {arm.arm: arm.folder.name for arm in study.design(config, epath.Path(tmp_path)).of(Arm)}
  before = {"zero-shot": "3ec29da43f97", "linear": "8301280190c3", "plain": "74b40a90593a"}
  assert {name: found[name] for name in (*before, "same")} == before | {"same": before["plain"]}
  assert len({found[name] for name in (*changed, "plain")}) == 7


@pytest.mark.parametrize(
  "arm, fields, said",
  [
    ("plain", dict(views=-1), "config.arms.plain: views is at least 0, not -1"),
    ("plain", dict(init_alpha=0.0), "config.arms.plain: init_alpha is above 0, not 0.0"),
    ("plain", dict(init_beta=-1.0), "config.arms.plain: init_beta is above 0, not -1.0"),
    ("plain", dict(epsilon=0.0), "config.arms.plain: epsilon is above 0, not 0.0"),
    ("plain", dict(search_scale=(7.0,)), "search_scale is two numbers from 0.1 on, of beta and of alpha"),
    ("plain", dict(search_scale=("7", 3.0)), "search_scale is two numbers from 0.1 on, of beta and of alpha"),
    ("plain", dict(search_step=(200, 0)), "search_step is two numbers from 1 on, of beta and of alpha"),
    ("plain", dict(search_step=(2.5, 20)), "search_step is two numbers from 1 on, of beta and of alpha"),
    ("linear", dict(views=2), "config.arms.linear: views belongs to adapter tip"),
    ("linear", dict(init_alpha=2.0), "config.arms.linear: init_alpha belongs to adapter tip"),
  ],
)
def test_what_cannot_be_meant_is_one_line(config, arm, fields, said):
  config.arms[arm].update(fields)
  with pytest.raises(UserError) as e:
    validation.check(config)
  assert said in str(e.value) and "\n" not in str(e.value)


def test_published_data_sets_have_the_papers_settings():
  """As its code's configs have them; the digits keep ours."""
  spec = importlib.util.spec_from_file_location("few_shot", ROOT / "configs" / "few_shot.py")
  few_shot = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(few_shot)
  few_shot.SHOTS = (4,)
  wanted = {
    "imagenet": (1.17, (7, 3), 20),
    "aircraft": (5, (30, 30), 20),
    "caltech101": (3, (12, 5), 20),
    "pets": (1.17, (7, 3), 20),
    "cars": (3, (20, 10), 20),
    "sun397": (1.17, (12, 10), 20),
    "dtd": (2, (13, 13), 20),
    "eurosat": (2, (12, 10), 100),
  }
  for name, (alpha, scale, epochs) in wanted.items():
    config = few_shot.get_config(f"{name},1")
    fields = arm_of(config, "tip-4-0")
    assert (fields.init_alpha, fields.search_scale, fields.epochs) == (alpha, scale, epochs)
    assert (fields.init_beta, fields.search_step, fields.views) == (1, (200, 20), 10)
    assert (fields.learning_rate, fields.epsilon, fields.real_batch) == (1e-3, 1e-4, 256)
    assert (fields.weight_decay, fields.clip_norm) == (0.01, 0)
  fields = arm_of(few_shot.get_config("digits,1"), "tip-4-0")
  assert (fields.views, fields.init_alpha, fields.epsilon) == (0, 1.0, 1e-8)
