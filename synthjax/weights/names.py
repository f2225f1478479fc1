"""PyTorch's name and layout of each Flax parameter of diffusers' and transformers' networks.

The map runs from the parameters a network wants to the tensors a file holds, so that every tensor of both sides is
accounted for, and the same map writes a checkpoint.
"""

from __future__ import annotations

import re

import numpy as np

_LEAVES = {"kernel": "weight", "scale": "weight", "embedding": "weight", "bias": "bias"}
# The decoder's attention kept its first names in Flax; published files have either.
_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def torch_names(path: tuple[str, ...]) -> list[str]:
  """The names a parameter may have in a file, today's first."""
  parts = [_part(p) for p in path[:-1]]
  leaf = _LEAVES.get(path[-1], path[-1])
  today = ".".join([*(_ATTENTION.get(p, p) for p in parts), leaf])
  older = ".".join([*parts, leaf])
  return list(dict.fromkeys([today, older]))


def _part(part: str) -> str:
  """resnets_0 -> resnets.0, but linear_1 stays, and T5's wi_0: there it is a name and no index."""
  return part if part.startswith(("linear_", "wi_")) else re.sub(r"_(\d+)$", r".\1", part)


def torch_shape(path: tuple[str, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
  if path[-1] != "kernel":
    return shape
  return shape[::-1] if len(shape) == 2 else (shape[3], shape[2], shape[0], shape[1])


def to_flax(path: tuple[str, ...], tensor: np.ndarray) -> np.ndarray:
  """Dense kernels are turned, convolutions go from OIHW to HWIO."""
  if path[-1] != "kernel":
    return tensor
  return tensor.T if tensor.ndim == 2 else tensor.transpose(2, 3, 1, 0)


def order(path: tuple[str, ...]) -> tuple[str, ...]:
  return path


def to_torch(path: tuple[str, ...], tensor: np.ndarray) -> np.ndarray:
  if path[-1] != "kernel":
    return tensor
  return tensor.T if tensor.ndim == 2 else tensor.transpose(3, 2, 0, 1)
