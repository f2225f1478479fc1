"""The CLIPs that ship know what the world is made of, and what they were not shown they know badly."""

import jax
import numpy as np
import pytest
from PIL import Image

from synthjax.encoders.clip import Clip, embed
from synthjax.labels import spaces
from synthjax.runtime import devices
from synthjax.small_world import weights, world


@pytest.mark.parametrize("name, least", [("clip", 80), ("clip-resnet", 90)])
def test_a_clip_names_printed_digits(name, least):
  clip, labels = Clip(weights.folder(f"embedded:{name}")), spaces.load("digits")
  params = clip.load_params(devices.local_mesh(jax.local_devices()[:1]))
  classifier = clip.zero_shot(params, labels.names, (labels.template,))
  pictures = world.pictures(100, labels, ("printed",), seed=99).pixels
  features = embed(clip, params, [clip.preprocess.pixels(Image.fromarray(p)) for p in pictures])
  assert 100 * ((features @ classifier.T).argmax(1) == np.arange(100) % 10).mean() > least
