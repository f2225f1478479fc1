"""ResNets and ViTs as timm and transformers store them, read into ours; and the weights of our own learners.

Every tensor of a file is accounted for, its classifier too: one of other classes than the learner's is read and left.
"""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path, PurePath
from typing import Any

import jax
import numpy as np
from etils import epath
from flax import traverse_util
from safetensors.numpy import load, save

from synthjax.disk import checksums
from synthjax.runtime.errors import UserError
from synthjax.weights import finite, names, read

_LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias"} | {
  "mean": "running_mean",
  "var": "running_var",
}
_STEM = "model"
Path_ = tuple[str, ...]  # (collection, module, ..., leaf)


@dataclasses.dataclass(frozen=True)
class Layout:
  """One library's names. Where q, k and v are one tensor, each is cut from it."""

  fused: bool = True
  transformers: bool = False

  def torch_names(self, path: Path_) -> list[str]:
    *modules, leaf = path[1:]
    stem = ".".join(modules)
    renamed = (_transformers if self.transformers else _timm)(stem)
    leaf = _LEAVES.get(leaf, leaf)
    return [f"{renamed}.{leaf}" if stem else _alone(leaf, self.transformers)]

  def torch_shape(self, path: Path_, shape: tuple[int, ...]) -> tuple[int, ...]:
    shape = names.torch_shape(path, shape)
    return (3 * shape[0], *shape[1:]) if self._is_cut(path) else shape

  def to_flax(self, path: Path_, tensor: np.ndarray) -> np.ndarray:
    if self._is_cut(path):
      tensor = np.split(tensor, 3)["qkv".index(path[-2][0])]
    return names.to_flax(path, tensor)

  def _is_cut(self, path: Path_) -> bool:
    return self.fused and len(path) > 2 and path[-2] in ("q_proj", "k_proj", "v_proj")


def _timm(stem: str) -> str:
  """conv1, layer1.0.conv1, blocks.0.norm1: nearly our own."""
  stem = re.sub(r"^(layer\d+|blocks)_(\d+)", r"\1.\2", stem).replace("downsample_", "downsample.")
  stem = re.sub(r"[qkv]_proj$", "attn.qkv", stem).replace("out_proj", "attn.proj")
  stem = re.sub(r"\b(fc[12])$", r"mlp.\1", stem)
  return {"patch_embed": "patch_embed.proj"}.get(stem, stem)


_VIT = {
  "norm1": "layernorm_before", "norm2": "layernorm_after", "q_proj": "attention.attention.query",
  "k_proj": "attention.attention.key", "v_proj": "attention.attention.value", "out_proj": "attention.output.dense",
  "fc1": "intermediate.dense", "fc2": "output.dense",
}  # fmt: skip
_WHOLE = {
  "conv1": "resnet.embedder.embedder.convolution", "bn1": "resnet.embedder.embedder.normalization",
  "patch_embed": "vit.embeddings.patch_embeddings.projection", "norm": "vit.layernorm",
}  # fmt: skip


def _transformers(stem: str) -> str:
  if stem in _WHOLE:
    return _WHOLE[stem]
  if match := re.fullmatch(r"blocks_(\d+)\.(\w+)", stem):
    return f"vit.encoder.layer.{match[1]}.{_VIT[match[2]]}"
  if match := re.fullmatch(r"layer(\d+)_(\d+)\.(conv|bn|downsample_)(\d)", stem):
    stage, block, kind, i = int(match[1]) - 1, match[2], match[3], int(match[4])
    here = f"resnet.encoder.stages.{stage}.layers.{block}"
    if kind == "downsample_":
      return f"{here}.shortcut.{('convolution', 'normalization')[i]}"
    return f"{here}.layer.{i - 1}.{'convolution' if kind == 'conv' else 'normalization'}"
  return stem


def _alone(leaf: str, transformers: bool) -> str:
  known = {"cls_token": "vit.embeddings.cls_token", "pos_embed": "vit.embeddings.position_embeddings"}
  return known[leaf] if transformers else leaf


@dataclasses.dataclass(frozen=True)
class _WithHead:
  """A layout, and what its classifier is called in this very file."""

  layout: Layout
  head: str

  def torch_names(self, path: Path_) -> list[str]:
    if path[1] == "head":
      return [f"{self.head}.{_LEAVES[path[-1]]}"]
    return self.layout.torch_names(path)

  def torch_shape(self, path: Path_, shape: tuple[int, ...]) -> tuple[int, ...]:
    return self.layout.torch_shape(path, shape)

  def to_flax(self, path: Path_, tensor: np.ndarray) -> np.ndarray:
    return self.layout.to_flax(path, tensor)


def read_torch(folder: Path, variables: Any) -> Any:
  """The variables of a folder's `model.safetensors`, for a network of one domain whose variables have these shapes.

  Position embeddings of another resolution are interpolated, and a classifier of other classes is not taken over.
  """
  shapes = _stored_shapes(folder)
  heads = [h for h in ("fc", "head", "classifier.1", "classifier") if f"{h}.weight" in shapes]
  if not heads:
    raise UserError(
      f"weights: {folder} has no classifier (fc, head or classifier); it is of no layout known here"
    )
  by_transformers = any(n.startswith(("resnet.", "vit.")) for n in shapes)
  layout = _WithHead(Layout(fused=not by_transformers, transformers=by_transformers), heads[0])
  flat: dict[Path_, Any] = traverse_util.flatten_dict(dict(variables))
  wanted = {path: _as_stored(path, tuple(leaf.shape), layout, shapes) for path, leaf in flat.items()}
  like = traverse_util.unflatten_dict({p: jax.ShapeDtypeStruct(s, np.float32) for p, s in wanted.items()})
  found = read.read_params(folder, _STEM, like, lambda a: np.asarray(a, np.float32), layout)
  return traverse_util.unflatten_dict(adapt(traverse_util.flatten_dict(found), flat))


def _as_stored(
  path: Path_, shape: tuple[int, ...], layout: _WithHead, stored: dict[str, tuple[int, ...]]
) -> Any:
  """The classes and the places that the file has, where they are not ours."""
  there = stored.get(layout.torch_names(path)[0])
  if path[1] == "head" and there:
    return (*shape[:-1], there[0])
  if path[-1] == "pos_embed" and there:
    return (1, there[1], shape[2])
  return shape


def _stored_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
  found: dict[str, tuple[int, ...]] = {}
  for file in read.tensor_files(folder, _STEM):
    with read.open_tensors(file) as tensors:
      found |= {n: tuple(tensors.get_slice(n).get_shape()) for n in tensors.keys()}  # noqa: SIM118
  return found


def adapt(found: dict[Path_, Any], wanted: dict[Path_, Any], domain: int = 0) -> dict[Path_, Any]:
  """Values for a network that differs in classes (its own head stays), domains (repeated, or one taken) or resolution."""
  new = {}
  for path, own in wanted.items():
    value = np.asarray(found[path]) if path in found else None
    if value is None:
      raise UserError(f"initial weights have no {'/'.join(path)}; they are of another network")
    if value.shape == own.shape:
      new[path] = value
    elif path[1] == "head":
      new[path] = own
    elif path[-1] == "pos_embed":
      new[path] = _resized(value, own.shape[1])
    elif value.shape == own.shape[1:]:  # one domain's, for each
      new[path] = np.broadcast_to(value, own.shape)
    elif value.shape[1:] == own.shape:
      new[path] = value[domain]
    else:
      raise UserError(
        f"initial weights: {'/'.join(path)} is {value.shape}, not {tuple(own.shape)}; they are of another network"
      )
  return new


def _resized(positions_1xLxC: np.ndarray, length: int) -> np.ndarray:
  """The token's place stays, the grid is interpolated."""
  token, grid = positions_1xLxC[:, :1], positions_1xLxC[:, 1:]
  old, new = math.isqrt(grid.shape[1]), math.isqrt(length - 1)
  shape = (1, new, new, grid.shape[2])
  resized = jax.image.resize(grid.reshape(1, old, old, -1), shape, "bicubic", antialias=True)
  return np.concatenate([token, np.asarray(resized).reshape(1, new * new, -1)], axis=1)


def to_bytes(variables: Any) -> bytes:
  """Of our own: under our names, collections first."""
  flat = traverse_util.flatten_dict(dict(variables), sep="/")
  return save({k: np.ascontiguousarray(np.asarray(v, np.float32)) for k, v in sorted(flat.items())})


def from_bytes(data: bytes, file: PurePath | str = "the learner that init names") -> dict[Path_, np.ndarray]:
  """`file` is where they come from, for whoever has to look."""
  tensors = load(data)
  finite.check(tensors, file)
  return {tuple(k.split("/")): v for k, v in tensors.items()}


def on_devices(file: epath.Path, name: str, placement: jax.sharding.Sharding) -> Any:
  """A learner's variables from the file that `to_bytes` filled; `name` is whose they are."""
  flat = from_bytes(checksums.read(file, name), file)
  return jax.device_put(traverse_util.unflatten_dict(flat), placement)
