"""Writes Flax parameters as safetensors under PyTorch's names and in its layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from flax import traverse_util
from safetensors.numpy import save_file

from synthjax.weights import names, read


class Layout(read.Layout, Protocol):
  """One that can be written too."""

  def order(self, path: tuple[str, ...]) -> tuple[Any, ...]:
    """What parameters are sorted by: those that share a tensor follow one another in it."""
    ...

  def to_torch(self, path: tuple[str, ...], tensor: np.ndarray) -> np.ndarray: ...


def write_params(file: Path, params: Any, dtype: str = "float32", layout: Layout = names) -> None:
  """Parameters that share a name in a layout (query, key and value) lie there one after the other."""
  tensors: dict[str, np.ndarray] = {}
  for path, leaf in sorted(
    traverse_util.flatten_dict(dict(params)).items(), key=lambda x: layout.order(x[0])
  ):
    name = layout.torch_names(path)[0]
    tensor = np.array(layout.to_torch(path, np.asarray(leaf)), dtype, order="C")
    tensors[name] = np.concatenate([tensors[name], tensor]) if name in tensors else tensor
  file.parent.mkdir(parents=True, exist_ok=True)
  save_file(tensors, file)
