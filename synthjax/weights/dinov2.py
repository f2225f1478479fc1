"""DINOv2 from a folder in transformers' layout: `config.json`, `model.safetensors`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from synthjax.models.dinov2 import Dinov2, Dinov2Config
from synthjax.runtime.errors import UserError
from synthjax.weights import names, read

_STEM = "model"
_MOST = 10**5  # of any count: no layer is made before it is counted
_LEAVES = {"kernel": "weight", "scale": "weight"}
_MODULES = {"projection": "embeddings.patch_embeddings.projection"}
_IN_BLOCK = {"dense": "attention.output.dense"} | {
  n: f"attention.attention.{n}" for n in ("query", "key", "value")
}
Path_ = tuple[str, ...]
Place = Callable[[np.ndarray], jax.Array | np.ndarray]
_SPARE = {"embeddings.mask_token": ""}  # of its training


def _host(tensor: np.ndarray) -> np.ndarray:
  return np.asarray(tensor, np.float32)


class _Names:
  def torch_names(self, path: Path_) -> list[str]:
    *modules, leaf = path[1:]  # behind the collection
    if not modules:
      return [f"embeddings.{leaf}"]
    if modules[0].startswith("layer_"):
      inner = [_IN_BLOCK.get(name, name) for name in modules[1:]]
      own = [leaf, "lambda1"] if leaf.startswith("layer_scale") else [_LEAVES.get(leaf, leaf)]
      return [".".join(["encoder", modules[0].replace("_", "."), *inner, *own])]
    return [f"{_MODULES.get(modules[0], modules[0])}.{_LEAVES.get(leaf, leaf)}"]

  def torch_shape(self, path: Path_, shape: tuple[int, ...]) -> tuple[int, ...]:
    return names.torch_shape(path, shape)

  def to_flax(self, path: Path_, tensor: np.ndarray) -> np.ndarray:
    return names.to_flax(path, tensor)


def read_config(folder: Path) -> Dinov2Config:
  """What the file leaves out is the paper's base model, as in transformers; what is not computed here is refused."""
  file = folder / "config.json"
  body = read.read_config(file, ("Dinov2Model",))
  for key, only in (("model_type", "dinov2"), ("hidden_act", "gelu"), ("num_channels", 3)):
    if (value := body.get(key, only)) != only:
      raise UserError(
        f"weights: {file} has {key}={value!r}, and only {only!r} is computed here; take another checkpoint"
      )
  base: dict[str, Any] = dict(hidden_size=768, num_hidden_layers=12, num_attention_heads=12, image_size=224)
  fields = {f.name for f in dataclasses.fields(Dinov2Config)}
  config = Dinov2Config(**base | {key: value for key, value in body.items() if key in fields})
  for key, value in dataclasses.asdict(config).items():
    kind = {"qkv_bias": bool, "use_swiglu_ffn": bool, "layer_norm_eps": float}.get(key, int)
    if type(value) is not kind or (kind is int and not 1 <= value <= _MOST):
      raise UserError(
        f"weights: {file} has {key}={str(value)[:80]!r}, which is no {kind.__name__} it can be; fetch it again"
      )
  if config.hidden_size % config.num_attention_heads or config.image_size < config.patch_size:
    raise UserError(
      f"weights: {file}: its heads do not divide its width, or a picture is smaller than a patch; fetch it again"
    )
  return config


def read_dinov2(folder: Path, place: Place = _host) -> tuple[Dinov2, dict[str, Any]]:
  """The network and its variables, on the host unless they are placed."""
  module = Dinov2(read_config(folder))
  return module, read.read_params(folder, _STEM, _shapes(module), place, _Names(), _SPARE)


def check_dinov2(folder: Path) -> None:
  """Its config can be followed, and the file has its tensors, by their names and shapes."""
  read.account(folder, _STEM, _shapes(Dinov2(read_config(folder))), _Names(), _SPARE)


def _shapes(module: Dinov2) -> dict[str, Any]:
  picture = jnp.zeros((1, module.config.patch_size, module.config.patch_size, 3))
  return dict(jax.eval_shape(module.init, jax.random.key(0), picture))
