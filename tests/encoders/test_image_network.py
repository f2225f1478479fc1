"""Inception and DINOv2 as encoders: a folder's images to features, as computed directly and as the published code prepares them."""

import json
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath
from PIL import Image
from safetensors.numpy import save_file

from synthjax.encoders import clip
from synthjax.encoders.encoder import encoder_of
from synthjax.encoders.image_network import Squared
from synthjax.labels.spaces import load
from synthjax.models import inception
from synthjax.runtime.errors import UserError
from synthjax.spec import config as fields_of
from synthjax.spec import validation
from synthjax.spec.study import resolve
from synthjax.weights import metric_networks
from tests.models.test_dinov2 import saved
from tests.models.test_metric_networks import SHAPES

RNG = np.random.default_rng(11)
PICTURES = [Image.fromarray(RNG.integers(0, 256, (h, w, 3), np.uint8)) for h, w in ((60, 44), (32, 32))]
LARGE = Image.fromarray(RNG.integers(0, 256, (400, 310, 3), np.uint8))


def encoder(weights: str, **given):
  config = fields_of.study_config(labels="digits")
  config.encoders.other = fields_of.encoder(weights, **given)
  validation.check(config)
  return encoder_of(resolve(config), epath.Path("/nowhere"), "other", load("digits"))


@pytest.mark.parametrize("picture", [*PICTURES, LARGE, Image.new("L", (1, 3), 90)])
def test_bilinear_is_the_network_s_own_rule(picture):
  found = Squared("bilinear").pixels(picture)
  pixels = jnp.asarray(picture.convert("RGB"), jnp.float32)[None] / 255
  np.testing.assert_allclose(2 * found / 255 - 1, inception.resized(pixels)[0], atol=1e-4)


@pytest.mark.parity
def test_bilinear_is_pytorch_s(torch):
  for picture in (*PICTURES, LARGE):
    x = torch.tensor(np.asarray(picture, np.float32).transpose(2, 0, 1))[None]
    theirs = torch.nn.functional.interpolate(x, size=(299, 299), mode="bilinear", align_corners=False)
    found = Squared("bilinear").pixels(picture)
    np.testing.assert_allclose(
      found, theirs[0].numpy().transpose(1, 2, 0), atol=0.01
    )  # they place pixels in 32 bits


def test_bicubic_is_antialiased_and_not_rounded():
  stripes = Image.fromarray(np.tile(np.array([0, 255], np.uint8), (598, 299)))
  smooth, rough = (Squared(rule).pixels(stripes) for rule in ("bicubic", "bilinear"))
  assert smooth.shape == rough.shape == (299, 299, 3) and smooth.dtype == np.float32
  assert np.abs(smooth[50:-50, 50:-50] - 127.5).max() < 1
  assert np.abs(Squared("bicubic").pixels(LARGE) % 1).max() > 0.1
  flat = Squared("bicubic").pixels(Image.new("RGB", (50, 20), (10, 20, 30)))
  np.testing.assert_allclose(flat, np.broadcast_to([10, 20, 30], flat.shape), atol=1e-3)


@pytest.mark.slow  # 24 million weights
def test_inception_is_the_direct_computation(tmp_path, monkeypatch):
  monkeypatch.setattr(clip, "_CPU_BATCH", 1)  # 128 pictures would be computed for two
  tensors = {}
  for name, shape in SHAPES["inception"].items():
    x = RNG.standard_normal(shape, np.float32)
    spread = np.sqrt(2 / max(np.prod(shape[1:]), 1)) if len(shape) > 1 else 0.1
    tensors[name] = 1 + 0.1 * np.abs(x) if name.endswith(("bn.weight", "running_var")) else spread * x
  save_file(tensors, tmp_path / metric_networks.FILE)
  found = encoder(f"inception:{tmp_path}", resize="bilinear")
  found.check()
  assert found.feature == ((2048,), np.float32)
  ours = found.embed([found.preprocess.pixels(picture) for picture in PICTURES])
  variables = metric_networks.read_inception(tmp_path)
  network = jax.jit(inception.Inception().apply)
  for row, picture in zip(ours, PICTURES, strict=True):
    pixels = jnp.asarray(picture, jnp.float32)[None] / 255
    theirs = np.asarray(network(variables, inception.resized(pixels))[-1][0])
    assert theirs.std() > 0
    np.testing.assert_allclose(row, theirs, rtol=1e-3, atol=1e-4 * np.abs(theirs).max())
  other = encoder(f"inception:{tmp_path}")
  assert found.identity != other.identity and other.identity["resize"] == "bicubic"


@pytest.mark.parity
def test_dinov2_is_transformers_with_its_processor(torch, tmp_path):
  from transformers import BitImageProcessor

  model = saved(torch, tmp_path)
  processor = BitImageProcessor(
    size={"shortest_edge": 48},
    crop_size={"height": 42, "width": 42},
    image_mean=[0.485, 0.456, 0.406],
    image_std=[0.229, 0.224, 0.225],
  )
  processor.save_pretrained(tmp_path)
  found = encoder(f"dinov2:{tmp_path}")
  found.check()
  ours = found.embed([found.preprocess.pixels(picture) for picture in PICTURES])
  with torch.no_grad():
    inputs = processor([*PICTURES], return_tensors="pt")
    theirs = model(**inputs).pooler_output.numpy()
  assert np.linalg.norm(ours - theirs) / np.linalg.norm(theirs) <= 1e-5
  body = json.loads((tmp_path / "config.json").read_text())
  (tmp_path / "config.json").write_text(json.dumps(body | {"num_hidden_layers": 4}))
  with pytest.raises(UserError, match=r"missing: encoder.layer.3"):  # before a tensor is read
    encoder(f"dinov2:{tmp_path}").check()


@pytest.mark.parametrize(
  ("weights", "given", "said"),
  [
    ("inception:", {}, "weights 'inception:' names no folder; write inception:FOLDER"),
    ("inception:/nowhere", dict(dtype="bfloat16"), "inception computes in float32 alone"),
    (
      "dinov2:/nowhere",
      dict(resize="bilinear"),
      "resize belongs to inception:FOLDER, not to 'dinov2:/nowhere'",
    ),
    ("embedded:clip", dict(resize="bilinear"), "resize belongs to inception:FOLDER"),
    ("inception:/nowhere", {}, "encoder /nowhere is no folder"),
    ("dinov2:/nowhere", {}, "encoder /nowhere is no folder"),
  ],
)
def test_mistakes_are_one_line(weights, given, said):
  with pytest.raises(UserError, match=said) as e:
    encoder(weights, **given).check()
  assert "\n" not in str(e.value)


def test_a_folder_of_something_else_is_refused(tmp_path):
  save_file({"conv.weight": np.zeros((3, 3), np.float32)}, tmp_path / metric_networks.FILE)
  with pytest.raises(UserError, match="FID's Inception") as e:
    encoder(f"inception:{tmp_path}").check()
  assert "\n" not in str(e.value)


@pytest.mark.parametrize("what", ["filters", "arms", "prompts", "metrics"])
def test_where_classes_are_needed_they_are_refused(what):
  config = fields_of.study_config(labels="digits")
  config.encoders.other = fields_of.encoder("inception:/nowhere")
  config.sets.copies = fields_of.imported_set("embedded:digits:first")
  config.tests.digits = "embedded:digits:second"
  made = types.SimpleNamespace(
    filters=lambda: fields_of.image_filter("clip", encoder="other"),
    arms=lambda: fields_of.arm("copies", encoder="other"),
    prompts=lambda: fields_of.prompt_list("LAR", encoder="other", writer="server:http://x", real="few"),
    metrics=lambda: fields_of.set_metrics("other", metrics="recognizability"),
  )
  config.real.few = fields_of.real_images("embedded:digits:first")
  config[what].x = getattr(made, what)()
  with pytest.raises(
    UserError, match="encoder 'other' is of inception, which sees images and knows no classes"
  ):
    validation.check(config)
