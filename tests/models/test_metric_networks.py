"""FID's Inception and LPIPS compute what their reference implementations did on the same weights, read by the published names.

The weights follow from a tensor's name and shape, so that none lie here (metric_networks.json has names and shapes).
"""

import json
import zlib
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from synthjax.models import inception, lpips
from synthjax.runtime.errors import UserError
from synthjax.weights import metric_networks

HERE = Path(__file__).parent
SHAPES = json.loads((HERE / "metric_networks.json").read_text())
FOUND = np.load(HERE / "metric_networks.npz")
SCALING = {"shift": [-0.030, -0.088, -0.188], "scale": [0.458, 0.448, 0.450]}


def tensor(name, shape):
  stem, _, leaf = name.rpartition(".")
  if stem == "scaling_layer":
    return np.array(SCALING[leaf], np.float32).reshape(shape)
  if name.startswith("lin") and not name.startswith("lins"):  # the same tensor under a second name
    return tensor(name.replace("lin", "lins.", 1), shape)
  n = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)
  if name.startswith("lins"):
    n = np.abs(n)
  if leaf == "running_var":
    return 0.2 * np.abs(n) + 0.8
  if leaf != "running_mean" and n.ndim > 1:
    return (n / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
  return 1 + 0.1 * n if leaf == "weight" else 0.1 * n


def folder(path, network, **changed):
  path.mkdir(exist_ok=True)
  tensors = {name: tensor(name, shape) for name, shape in SHAPES[network].items()} | changed
  save_file({k: v for k, v in tensors.items() if v is not None}, path / metric_networks.FILE)
  return path


@pytest.mark.slow  # 15 s, most of them for making and reading 24 million weights
def test_inception_is_the_reference(tmp_path):
  variables = metric_networks.read_inception(folder(tmp_path, "inception"))
  rng = np.random.RandomState(3)
  small, large = (rng.uniform(0, 1, (2, 3, *size)).astype(np.float32) for size in ((96, 80), (299, 299)))
  network = jax.jit(inception.Inception().apply)
  for name, x in (
    ("small", inception.resized(small.transpose(0, 2, 3, 1))),
    ("299", 2 * large.transpose(0, 2, 3, 1) - 1),
  ):
    for i, (features, width) in enumerate(zip(network(variables, x), inception.WIDTHS, strict=True)):
      assert features.shape == (2, width)
      np.testing.assert_allclose(features, FOUND[f"inception_{name}_block{i}_means"], atol=1e-5)


@pytest.mark.parametrize("network", ["alex", "vgg"])
def test_lpips_is_the_reference(tmp_path, network):
  variables = metric_networks.read_lpips(folder(tmp_path, f"lpips_{network}"), network)
  distance = jax.jit(lpips.Lpips(network).apply)
  x, y = (FOUND[f"lpips_{network}_{which}"].transpose(0, 2, 3, 1).astype(np.float32) for which in "ab")
  np.testing.assert_allclose(distance(variables, x, y), FOUND[f"lpips_{network}"], rtol=1e-5)
  np.testing.assert_allclose(distance(variables, y, x), FOUND[f"lpips_{network}"], rtol=1e-5)
  assert (abs(distance(variables, x, x)) < 1e-12).all()


def test_weights_that_are_not_those_are_refused(tmp_path):
  alex = folder(tmp_path / "alex", "lpips_alex")
  with pytest.raises(UserError, match=r"alex does not fit LPIPS over vgg: 24 missing: net\.slice1\.2\.bias"):
    metric_networks.read_lpips(alex, "vgg")
  with pytest.raises(UserError, match="does not fit FID's Inception: 470 missing: Conv2d_1a_3x3"):
    metric_networks.read_inception(alex)
  other = {"lins.2.model.1.weight": np.ones((1, 384, 1, 1), np.float32)}
  with pytest.raises(UserError, match=r"lins\.2\.model\.1\.weight .* differs from lin2\.model\.1\.weight"):
    metric_networks.read_lpips(folder(tmp_path / "torn", "lpips_alex", **other), "alex")
  copies = {f"lins.{i}.model.1.weight": None for i in range(5)}  # a file may lack them
  metric_networks.read_lpips(folder(tmp_path / "single", "lpips_alex", **copies), "alex")


def test_pictures_too_small_for_lpips_are_refused():
  pictures = np.zeros((1, 64, 63, 3), np.float32)
  with pytest.raises(UserError, match="LPIPS: pictures of 64 x 63 pixels are below 64"):
    jax.eval_shape(lpips.Lpips("alex").init, jax.random.key(0), pictures, pictures)
