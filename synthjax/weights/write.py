"""Writes Flax parameters as safetensors under PyTorch's names and in its layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from flax import traverse_util
from safetensors.numpy import save_file

from synthjax.weights import names


def write_params(file: Path, params: Any, dtype: str = "float32") -> None:
  tensors = {
    names.torch_names(path)[0]: np.array(names.to_torch(path, np.asarray(leaf)), dtype, order="C")
    for path, leaf in sorted(traverse_util.flatten_dict(dict(params)).items())
  }
  file.parent.mkdir(parents=True, exist_ok=True)
  save_file(tensors, file)
