"""The published weights of networks that metrics look through, from a folder's `model.safetensors` with PyTorch's names.

inception   FID's Inception: the state dict of pt_inception-2015-12-05. Its classifier may be there, and is left.
lpips       the state dict of `lpips.LPIPS(net="alex")` or "vgg": the network's convolutions (net.sliceN.I), the weights of
            channels (linN, of which the file may hold a copy as lins.N), shift and scale of pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from synthjax.models.inception import SIDE, Inception
from synthjax.models.lpips import LEAST, Lpips, Network
from synthjax.weights import names, read

STEM = "model"
FILE = f"{STEM}.safetensors"
Place = Callable[[np.ndarray], jax.Array | np.ndarray]
Path_ = tuple[str, ...]  # (collection, module, ..., leaf)
_LEAVES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}
_LAYERS = 5


def _host(tensor: np.ndarray) -> np.ndarray:
  return np.asarray(tensor, np.float32)


class _InceptionNames:
  """The modules have the published names."""

  def torch_names(self, path: Path_) -> list[str]:
    return [".".join([*path[1:-1], _LEAVES.get(path[-1], path[-1])])]

  def torch_shape(self, path: Path_, shape: tuple[int, ...]) -> tuple[int, ...]:
    return names.torch_shape(path, shape)

  def to_flax(self, path: Path_, tensor: np.ndarray) -> np.ndarray:
    return names.to_flax(path, tensor)


class _LpipsNames:
  def torch_names(self, path: Path_) -> list[str]:
    if len(path) == 2:  # no module's
      own = path[-1]
      return [f"scaling_layer.{own}" if own in ("shift", "scale") else f"{own}.model.1.weight"]
    return [f"net.{path[1].replace('_', '.')}.{_LEAVES.get(path[-1], path[-1])}"]

  def torch_shape(self, path: Path_, shape: tuple[int, ...]) -> tuple[int, ...]:
    return (1, *shape, 1, 1) if len(path) == 2 else names.torch_shape(path, shape)

  def to_flax(self, path: Path_, tensor: np.ndarray) -> np.ndarray:
    return tensor.reshape(-1) if len(path) == 2 else names.to_flax(path, tensor)


_INCEPTION = (_InceptionNames(), {"fc.weight": "", "fc.bias": ""}, "FID's Inception")


def read_inception(folder: Path, place: Place = _host) -> dict[str, Any]:
  """Variables of `models.inception.Inception`, on the host unless they are placed."""
  return read.read_params(folder, STEM, _inception_shapes(), place, *_INCEPTION)


def check_inception(folder: Path) -> None:
  """The file has its tensors, by their names and shapes."""
  read.account(folder, STEM, _inception_shapes(), *_INCEPTION)


def _inception_shapes() -> dict[str, Any]:
  return _shapes(Inception(), (1, SIDE, SIDE, 3))


def read_lpips(folder: Path, network: Network) -> dict[str, Any]:
  """Variables of `models.lpips.Lpips(network)`, on the host."""
  picture = (1, LEAST, LEAST, 3)
  shapes = _shapes(Lpips(network), picture, picture)
  spare = {f"lins.{i}.model.1.weight": f"lin{i}.model.1.weight" for i in range(_LAYERS)}
  return read.read_params(folder, STEM, shapes, _host, _LpipsNames(), spare, f"LPIPS over {network}")


def _shapes(module: Inception | Lpips, *pictures: tuple[int, ...]) -> dict[str, Any]:
  made = jax.eval_shape(module.init, jax.random.key(0), *(jnp.zeros(shape) for shape in pictures))
  return dict(made)
