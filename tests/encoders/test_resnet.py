"""CLIP's residual image tower computes what the reference implementation does, batch norms included.

`clip_resnet_tiny.npz` holds the weights of a small one (published names, random float32), images, tokens, and what the
reference made of them: features of images by running statistics and by the batch's own, features of texts, logits.
"""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from synthjax.encoders.clip import Clip, embed
from synthjax.encoders.layouts import OPENCLIP
from synthjax.runtime import devices
from synthjax.runtime.errors import UserError

FIXTURE = Path(__file__).parent / "clip_resnet_tiny.npz"
MODEL = dict(
  embed_dim=64,
  quick_gelu=True,
  vision_cfg=dict(image_size=64, layers=[2, 1, 2, 1], width=8, patch_size=None),
  text_cfg=dict(context_length=16, vocab_size=100, width=64, heads=4, layers=2),
)
AS_IT_IS = dict(mean=[0, 0, 0], std=[1 / 255] * 3)  # the fixture's images are normalised already


@pytest.fixture(scope="module")
def reference():
  with np.load(FIXTURE) as arrays:
    return dict(arrays)


@pytest.fixture(scope="module")
def folder(reference, tmp_path_factory):
  folder = tmp_path_factory.mktemp("rn")
  (folder / OPENCLIP).write_text(json.dumps(dict(model_cfg=MODEL, preprocess_cfg=AS_IT_IS)))
  tensors = {k.removeprefix("weights/"): v for k, v in reference.items() if k.startswith("weights/")}
  save_file(tensors, folder / "open_clip_model.safetensors")
  return folder


@pytest.fixture(scope="module")
def encoder(folder):
  return Clip(folder)


@pytest.fixture(scope="module")
def params(encoder):
  return encoder.load_params(devices.local_mesh(jax.local_devices()[:1]))


@pytest.fixture(scope="module")
def images(reference):
  return jnp.asarray(reference["input/images_nchw"].transpose(0, 2, 3, 1))


@pytest.fixture(scope="module")
def evaluate(encoder):
  return jax.jit(encoder.image_features)


@pytest.fixture(scope="module")
def train(encoder):
  return jax.jit(encoder.image_features_in_training)


def error(ours, theirs) -> float:
  return float(np.linalg.norm(np.asarray(ours) - theirs) / np.linalg.norm(theirs))


def test_features_and_logits_are_the_references(encoder, evaluate, train, params, images, reference):
  image = np.asarray(evaluate(params, images))
  text = np.asarray(jax.jit(encoder.text_features)(params, reference["input/tokens"]))
  trained, _ = train(params, images)
  unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (image, text)]
  errors = {
    "image": error(image, reference["output/image_features_eval"]),
    "image in training": error(trained, reference["output/image_features_train_mode"]),
    "text": error(text, reference["output/text_features"]),
    "logits": error(float(encoder.scale(params)) * unit[0] @ unit[1].T, reference["output/logits_per_image"]),
  }
  print(f"\n{errors}")
  assert max(errors.values()) <= 1e-5


def test_running_statistics_follow_a_batch(train, params, images):
  """Of the first norm, by hand: a tenth of the batch's mean and of its unbiased variance, as PyTorch has it."""
  _, new = train(params, images)
  kernel = np.asarray(params["visual"]["conv1"]["kernel"], np.float64)
  padded = np.pad(np.asarray(images, np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
  windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))[:, ::2, ::2]
  y = np.einsum("bijchw,hwco->bijo", windows, kernel).reshape(-1, kernel.shape[-1])
  old = params["batch_stats"]["visual"]["bn1"]
  got = new["visual"]["bn1"]
  np.testing.assert_allclose(got["mean"], 0.9 * old["mean"] + 0.1 * y.mean(0), rtol=1e-4, atol=1e-6)
  np.testing.assert_allclose(got["var"], 0.9 * old["var"] + 0.1 * y.var(0, ddof=1), rtol=1e-5)
  assert jax.tree.structure(new) == jax.tree.structure(params["batch_stats"])


def test_statistics_that_were_followed_are_used(evaluate, train, params, images):
  """Again and again over one batch, the running statistics become the batch's, up to the bias of its variance."""
  followed, images = params, jnp.tile(images, (4, 1, 1, 1))
  for _ in range(120):
    trained, statistics = train(followed, images)
    followed = followed | {"batch_stats": statistics}
  before, after = (error(evaluate(p, images), np.asarray(trained)) for p in (params, followed))
  assert before > 0.5 and after < 0.1


def test_frozen_statistics_stay_under_a_gradient(encoder, params, images):
  """Gradients reach every parameter of the tower, frozen or not; they differ, since a batch's statistics depend on it."""
  weights = {k: v for k, v in params.items() if k != "batch_stats"}

  def frozen(p):
    return (encoder.image_features(p | {"batch_stats": params["batch_stats"]}, images) ** 2).mean()

  def following(p):
    features, _ = encoder.image_features_in_training(p | {"batch_stats": params["batch_stats"]}, images)
    return (features**2).mean()

  one, two = (jax.jit(jax.grad(f))(weights)["visual"] for f in (frozen, following))
  for gradients in (one, two):
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
      is_key_bias = "k_proj" in str(path) and "bias" in str(path)  # moves all logits of a softmax alike
      assert is_key_bias or np.abs(leaf).max() > 1e-9, path
  assert error(one["conv1"]["kernel"], np.asarray(two["conv1"]["kernel"])) > 0.1


def test_half_precision(folder, params, images, evaluate):
  half = Clip(folder, "bfloat16")
  features = jax.jit(half.image_features)(params, images)
  assert 1e-4 < error(features, np.asarray(evaluate(params, images))) < 0.02
  _, statistics = jax.eval_shape(half.image_features_in_training, params, images)
  assert {a.dtype for a in jax.tree.leaves(statistics)} == {np.dtype("float32")}


def test_devices_batch_and_neighbours_change_nothing(encoder):
  """At its place in the sequence; at another place in a batch, kernels of some CPUs round residual towers apart."""
  pixels = np.random.default_rng(0).integers(0, 256, (70, 64, 64, 3), np.uint8)
  one, four = (encoder.load_params(devices.local_mesh(jax.local_devices()[:n])) for n in (1, 4))
  features = embed(encoder, one, pixels)
  np.testing.assert_array_equal(embed(encoder, four, pixels, 7), features)
  others = np.where(np.arange(70)[:, None, None, None] == 41, pixels, 255 - pixels)
  np.testing.assert_array_equal(embed(encoder, four, others[:50])[41], features[41])
  order = np.random.default_rng(1).permutation(70)
  assert error(embed(encoder, four, pixels[order], 7), features[order]) < 1e-6


@pytest.mark.parametrize(
  ("change", "said"),
  [
    (lambda t: t.pop("visual.layer3.1.bn2.running_var"), "1 missing: visual.layer3.1.bn2.running_var"),
    (lambda t: t.update({"visual.bn4.weight": t["visual.bn3.weight"]}), "1 extra: visual.bn4.weight"),
    (
      lambda t: t.update(
        {"visual.layer1.0.downsample.0.weight": t["visual.layer1.0.downsample.0.weight"][:, :4]}
      ),
      "1 wrong-shaped: visual.layer1.0.downsample.0.weight is (32, 4, 1, 1), not (32, 8, 1, 1)",
    ),
    (
      lambda t: t.update({"text_projection": t["text_projection"][:, :32]}),
      "text_projection is (64, 32), not (64, 64)",
    ),
    (
      lambda t: t.update({"transformer.resblocks.0.attn.in_proj_weight": t["text_projection"]}),
      "transformer.resblocks.0.attn.in_proj_weight is (64, 64), not (192, 64)",
    ),
  ],
)
def test_every_tensor_is_accounted_for(folder, tmp_path, change, said):
  (tmp_path / OPENCLIP).write_text((folder / OPENCLIP).read_text())
  tensors = load_file(folder / "open_clip_model.safetensors")
  change(tensors)
  save_file({k: np.array(v, order="C") for k, v in tensors.items()}, tmp_path / "open_clip_model.safetensors")
  with pytest.raises(UserError) as e:
    Clip(tmp_path).load_params(devices.local_mesh(jax.local_devices()[:1]))
  assert said in str(e.value) and "\n" not in str(e.value)
