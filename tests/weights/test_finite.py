"""Weights with NaN or inf are refused by the tensor's name and its file, wherever weights come from."""

import json
import shutil

import jax
import ml_dtypes
import numpy as np
import pytest
from etils import epath
from safetensors.numpy import load_file, save_file

from synthjax.disk import checksums
from synthjax.encoders.clip import Clip
from synthjax.generators.stable_diffusion import StableDiffusion
from synthjax.learning import head
from synthjax.models import networks
from synthjax.runtime import devices
from synthjax.runtime.errors import UserError
from synthjax.small_world import weights as embedded
from synthjax.weights import finite, image_networks
from synthjax.weights.convert import convert

BAD = [np.nan, -np.nan, np.inf, -np.inf]
FLOATS = [np.float16, ml_dtypes.bfloat16, np.float32, np.float64]


@pytest.mark.parametrize("dtype", FLOATS)
def test_every_bit_pattern_is_told_as_numpy_tells_it(dtype):
  rng = np.random.default_rng(0)
  size = np.dtype(dtype).itemsize
  bits = np.arange(2**16, dtype=np.uint16) if size == 2 else rng.integers(0, 2**64, 4096, np.uint64)
  for value in bits.astype(f"u{size}").view(dtype)[:: 64 if size == 2 else 16]:
    assert finite.is_finite(np.array([0, value], dtype)) == bool(np.isfinite(value)), value
  largest = ml_dtypes.finfo(dtype).max
  assert finite.is_finite(np.array([largest, -largest, 0.0, -0.0], dtype))
  assert finite.is_finite(np.zeros((0, 3), dtype)) and finite.is_finite(np.arange(3))


@pytest.mark.parametrize("dtype", FLOATS)
def test_one_in_a_large_tensor_is_found_wherever_it_is(dtype):
  whole = np.random.default_rng(0).standard_normal((513, 1025)).astype(dtype)
  assert finite.is_finite(whole) and finite.is_finite(whole.T[1:])
  for value in BAD:
    for place in ((0, 0), (512, 1024), (300, 7)):
      broken = whole.copy()
      broken[place] = value
      assert not finite.is_finite(broken) and not finite.is_finite(broken.T)


def spoil(file, name="", value=np.nan):
  """Returns what the line has to name."""
  tensors = load_file(file)
  name = name or max(tensors, key=lambda n: tensors[n].size)
  tensors[name] = tensors[name].copy()
  tensors[name].flat[tensors[name].size // 2] = value
  save_file(tensors, file)
  return f"{name} of {file} holds NaN or inf"


def refused(action, *said):
  with pytest.raises(UserError) as e:
    action()
  assert all(s in str(e.value) for s in said) and "\n" not in str(e.value), str(e.value)


def test_a_generators(weights, tmp_path):
  folder = shutil.copytree(weights, tmp_path / "weights")
  generator = StableDiffusion(folder)
  parts = ("unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model", "text_encoder/model")
  for file in (folder / f"{part}.safetensors" for part in parts):
    whole = file.read_bytes()
    for value in BAD:
      said = spoil(file, value=value)
      refused(lambda: generator.load_params(devices.local_mesh()), said)
      file.write_bytes(whole)
  generator.load_params(devices.local_mesh())


@pytest.mark.parametrize("name", ["logit_scale", "text_projection.weight"])
def test_an_encoders(tmp_path, name):
  folder = shutil.copytree(embedded.folder("embedded:clip"), tmp_path / "clip")
  said = spoil(folder / "model.safetensors", name)
  refused(lambda: Clip(folder).load_params(devices.local_mesh()), said)


def test_a_network_to_begin_with(tmp_path):
  shape = jax.eval_shape(
    lambda: networks.build("resnet-mini", 3).init(jax.random.key(0), np.zeros((1, 8, 8, 3), np.float32))
  )
  layout = image_networks.Layout()
  flat = {
    (*k,): np.zeros(layout.torch_shape(k, v.shape), np.float32)
    for k, v in image_networks.traverse_util.flatten_dict(dict(shape)).items()
  }
  tensors = {
    (layout.torch_names(k)[0] if k[1] != "head" else f"fc.{image_networks._LEAVES[k[-1]]}"): v
    for k, v in flat.items()
  }
  save_file(tensors, tmp_path / "model.safetensors")
  image_networks.read_torch(tmp_path, shape)
  said = spoil(tmp_path / "model.safetensors", "conv1.weight")
  refused(lambda: image_networks.read_torch(tmp_path, shape), said)


def test_a_classifiers_and_a_learners(tmp_path):
  W, b = np.ones((2, 3), np.float32), np.zeros(2, np.float32)
  encoder = {"reference": "", "encoder": "", "dtype": "float32", "preprocessing": {}}
  made = head.Classifier(W, b, ("a", "b"), ("a", "b"), encoder, {}, tower={"x/kernel": W})
  for file in ("classifier.safetensors", "encoder.safetensors"):
    folder = epath.Path(tmp_path / file)
    made.write(folder)
    head.read(folder)
    tensors = load_file(folder / file)
    next(iter(tensors.values())).flat[0] = np.inf
    checksums.replace(folder / file, head.save(tensors))  # as it was learnt: nothing is damaged
    refused(lambda folder=folder: head.read(folder), f"of {folder / file} holds NaN or inf")
  data = image_networks.to_bytes({"params": {"a": {"kernel": np.array([1, np.nan])}}})
  refused(
    lambda: image_networks.from_bytes(data, "learnt.safetensors"), "params/a/kernel of learnt.safetensors"
  )


@pytest.mark.parity
def test_a_conversion_does_not_write_what_could_not_be_read(torch, tmp_path):
  (tmp_path / "source").mkdir()
  torch.save({"a": torch.ones(2), "big": torch.tensor([1e5])}, tmp_path / "source/pytorch_model.bin")
  refused(
    lambda: convert(tmp_path / "source", tmp_path / "out", dtype="float16"),
    "big of ",
    "model.safetensors holds NaN or inf as float16",
    "take another --dtype",
  )
  assert not (tmp_path / "out").exists()
  convert(tmp_path / "source", tmp_path / "out", dtype="bfloat16")


@pytest.mark.parametrize("scale", [float("nan"), float("inf"), 0, "0.18"])
def test_the_scale_of_the_latents(weights, tmp_path, scale):
  folder = shutil.copytree(weights, tmp_path / "weights")
  file = folder / "vae/config.json"
  file.write_text(json.dumps(json.loads(file.read_text()) | {"scaling_factor": scale}))
  refused(lambda: StableDiffusion(folder), f"{file} has scaling_factor={scale!r}")
