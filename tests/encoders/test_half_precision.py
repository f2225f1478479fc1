"""An encoder in 16 bits chooses what one in 32 bits chooses."""

import jax
import numpy as np
import pytest

from synthjax.encoders.clip import Clip, embed
from synthjax.filters.choose import choose
from synthjax.filters.clip import own_class_probability
from synthjax.labels import spaces
from synthjax.runtime import devices
from synthjax.small_world import looks, world
from synthjax.small_world import weights as embedded

N = 2000
QUOTA = 150  # of 200 a class


@pytest.fixture(scope="module")
def scored():
  """By dtype: features and scores of glyphs in every look, with the labels they were drawn for."""
  labels = spaces.load("digits")
  pixels = world.pictures(N, labels, looks.STYLES, seed=3).pixels
  own = np.arange(N) % len(labels)
  found = {}
  for dtype in ("float32", "bfloat16"):
    encoder = Clip(embedded.folder("embedded:clip"), dtype)
    params = encoder.load_params(devices.local_mesh(jax.local_devices()[:2]))
    features = embed(encoder, params, pixels)
    classifier = encoder.zero_shot(params, labels.names, (labels.template,))
    found[dtype] = features, own_class_probability(features, own, classifier)
  return own, found


def test_features_are_near(scored):
  (whole, _), (half, _) = scored[1]["float32"], scored[1]["bfloat16"]
  error = np.linalg.norm(half - whole) / np.linalg.norm(whole)
  print(f"\nbfloat16 against float32: {error:.2%}")
  assert 1e-4 < error < 0.011


@pytest.mark.parametrize("quota", [0, QUOTA])
def test_the_keep_list_is_the_same(scored, quota):
  """CF with its threshold of 1/N, alone and with a quota that is filled up."""
  own, found = scored
  lists = [choose(scores, own, 10, 0.1, quota, True).stays_N for _, scores in found.values()]
  equal = (lists[0] == lists[1]).mean()
  print(f"\nquota {quota}: {equal:.2%} of {N} equal, {lists[0].mean():.1%} stay")
  assert 0.5 < lists[0].mean() < 0.97  # else there was nothing to choose
  assert equal >= 0.995
