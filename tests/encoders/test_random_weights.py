"""The published architectures: their sizes are those that are published."""

import jax
import numpy as np
import pytest

from synthjax.encoders.clip import embed
from synthjax.encoders.layouts import openclip_architecture
from synthjax.encoders.preprocess import Preprocess
from synthjax.encoders.random_weights import ARCHITECTURES, random_encoder
from synthjax.encoders.towers import Towers
from synthjax.runtime.errors import UserError
from synthjax.weights import openclip


def towers(name: str) -> Towers:
  architecture = openclip_architecture(name, ARCHITECTURES[name])
  side = architecture.vision.image_size
  return Towers(architecture, Preprocess(side, side))


def size(shapes) -> int:
  return sum(a.size for a in jax.tree.leaves(shapes))


# From OpenCLIP's model profile: millions of parameters of the whole model, and of its image tower.
@pytest.mark.parametrize(
  ("name", "whole", "image"),
  [
    ("clip-b32", 151.28, 87.85),
    ("clip-b16", 149.62, 86.19),
    ("clip-l14", 427.62, 303.97),
    ("clip-rn50", 102.01, 38.32),
    ("clip-rn101", 119.69, 56.26),
    ("clip-rn50x4", 178.3, 87.14),
    ("clip-rn50x16", 290.98, 167.33),
    ("clip-rn50x64", 623.26, 420.38),
  ],
)
def test_the_number_of_parameters_is_the_published_one(name, whole, image):
  shapes = {k: v for k, v in towers(name).param_shapes().items() if k != "batch_stats"}
  text = size({k: v for k, v in shapes.items() if k in ("text_model", "text_projection", "logit_scale")})
  assert round(size(shapes) / 1e6, 2) == pytest.approx(whole, abs=0.011)
  assert round((size(shapes) - text) / 1e6, 2) == pytest.approx(image, abs=0.011)


@pytest.mark.parametrize(
  ("name", "published"), [("clip-b16", 35.13), ("clip-l14", 162.03), ("clip-rn50", 12.22)]
)
def test_flops_are_near_the_published_ones(name, published):
  """The compiler counts the softmax too, but no padding, and the one query that the attention pool has."""
  assert 0.92 * published < towers(name).flops() / 1e9 < 1.02 * published


def test_parameters_are_drawn_on_every_device_and_embed(monkeypatch):
  small = dict(image_size=32, width=64, head_width=16, layers=2, patch_size=8)
  text = dict(width=32, heads=2, layers=1, vocab_size=100)
  monkeypatch.setitem(ARCHITECTURES, "small", dict(embed_dim=24, vision_cfg=small, text_cfg=text))
  encoder, params = random_encoder("small", "bfloat16")
  assert all(len(a.devices()) == 4 and a.is_fully_replicated for a in jax.tree.leaves(params))
  images = np.random.default_rng(0).integers(0, 256, (9, 32, 32, 3), np.uint8)
  features = embed(encoder, params, images)
  assert features.shape == (9, 24) and len(np.unique(features, axis=0)) == 9
  assert 0.3 < features.std() < 3
  _, other = random_encoder("small", seed=1)
  kernels = [p["visual_projection"]["kernel"] for p in (params, other)]
  assert abs(np.corrcoef(*(np.asarray(k).ravel() for k in kernels))[0, 1]) < 0.1


def test_an_unknown_name():
  with pytest.raises(UserError, match="did you mean 'clip-rn50'"):
    random_encoder("clip-rn5")


def test_residual_towers_keep_the_names_that_are_published():
  """RN101 whole: each tensor of the reference implementation, counted by hand, and none besides."""
  shapes = towers("clip-rn101").param_shapes()
  flat = {openclip.torch_names(path)[0] for path in _paths(shapes)}
  want = {f"visual.conv{i}.weight" for i in (1, 2, 3)} | {"logit_scale", "text_projection"}
  norms = {f"visual.bn{i}" for i in (1, 2, 3)}
  for layer, blocks in enumerate((3, 4, 23, 3), start=1):
    for block in range(blocks):
      place = f"visual.layer{layer}.{block}"
      want |= {f"{place}.conv{i}.weight" for i in (1, 2, 3)}
      norms |= {f"{place}.bn{i}" for i in (1, 2, 3)}
      if block == 0:
        want.add(f"{place}.downsample.0.weight")
        norms.add(f"{place}.downsample.1")
  want |= {f"{norm}.{part}" for norm in norms for part in ("weight", "bias", "running_mean", "running_var")}
  layers = {f"visual.attnpool.{p}_proj" for p in "qkvc"} | {"ln_final"}
  for block in range(12):
    place = f"transformer.resblocks.{block}"
    layers |= {f"{place}.{part}" for part in ("ln_1", "ln_2", "attn.out_proj", "mlp.c_fc", "mlp.c_proj")}
    want |= {f"{place}.attn.in_proj_weight", f"{place}.attn.in_proj_bias"}
  want |= {f"{layer}.{part}" for layer in layers for part in ("weight", "bias")}
  want |= {"visual.attnpool.positional_embedding", "positional_embedding", "token_embedding.weight"}
  assert flat == want


def _paths(tree, at=()):
  for key, value in tree.items():
    yield from _paths(value, (*at, key)) if isinstance(value, dict) else [(*at, key)]
