"""OpenCLIP's name and layout of each parameter of CLIP's networks, which are OpenAI's too.

Its transformers keep query, key and value in one tensor, and its projections the other way round than a linear layer.
"""

from __future__ import annotations

import re

import numpy as np

from synthjax.weights import names

Path = tuple[str, ...]

_PACKED = ("q_proj", "k_proj", "v_proj")
_RAW: dict[Path, str] = {  # no layers there: parameters on their own
  ("text_projection", "kernel"): "text_projection",
  ("visual_projection", "kernel"): "visual.proj",
}
# Our modules to theirs, a whole prefix or a part of a block.
_MODULES = {
  "text_model.embeddings.position_embedding.embedding": "positional_embedding",
  "text_model.embeddings.token_embedding": "token_embedding",
  "text_model.encoder.layers": "transformer.resblocks",
  "text_model.final_layer_norm": "ln_final",
  "vision_model.embeddings.class_embedding": "visual.class_embedding",
  "vision_model.embeddings.patch_embedding": "visual.conv1",
  "vision_model.embeddings.position_embedding.embedding": "visual.positional_embedding",
  "vision_model.encoder.layers": "visual.transformer.resblocks",
  "vision_model.pre_layrnorm": "visual.ln_pre",
  "vision_model.post_layernorm": "visual.ln_post",
}
_BLOCKS = {
  "self_attn": "attn",
  "layer_norm1": "ln_1",
  "layer_norm2": "ln_2",
  "mlp.fc1": "mlp.c_fc",
  "mlp.fc2": "mlp.c_proj",
}
_LEAVES = {"kernel": "weight", "scale": "weight", "embedding": "weight"}
_STATISTICS = {"mean": "running_mean", "var": "running_var"}


def torch_names(path: Path) -> list[str]:
  if path in _RAW:
    return [_RAW[path]]
  if path[0] == "batch_stats":
    return [f"{torch_names((*path[1:-1], 'scale'))[0].removesuffix('weight')}{_STATISTICS[path[-1]]}"]
  if _is_packed(path):
    return [torch_names((*path[:-2], f"in_proj_{_LEAVES.get(path[-1], path[-1])}"))[0]]
  name = re.sub(r"\b(layer\d|downsample)_(\d+)\b", r"\1.\2", ".".join(path))
  for ours, theirs in _MODULES.items():
    name = re.sub(rf"^{re.escape(ours)}\b", theirs, name)
  for ours, theirs in _BLOCKS.items():
    name = name.replace(f".{ours}.", f".{theirs}.")
  head, _, leaf = name.rpartition(".")
  return [f"{head}.{_LEAVES.get(leaf, leaf)}" if head else name]


def torch_shape(path: Path, shape: tuple[int, ...]) -> tuple[int, ...]:
  if path in _RAW:
    return shape
  shape = names.torch_shape(path, shape)
  return (3 * shape[0], *shape[1:]) if _is_packed(path) else shape


def to_flax(path: Path, tensor: np.ndarray) -> np.ndarray:
  if path in _RAW:
    return tensor
  if _is_packed(path):
    tensor = np.split(tensor, 3)[_PACKED.index(path[-2])]
  return names.to_flax(path, tensor)


def order(path: Path) -> tuple[str | int, ...]:
  """What is packed together comes in the order in which it is packed."""
  return (*path[:-2], path[-1], _PACKED.index(path[-2])) if _is_packed(path) else path


def to_torch(path: Path, tensor: np.ndarray) -> np.ndarray:
  return tensor if path in _RAW else names.to_torch(path, tensor)


def _is_packed(path: Path) -> bool:
  """The residual tower's attention pool keeps its three apart."""
  return len(path) > 2 and path[-3] == "self_attn" and path[-2] in _PACKED
