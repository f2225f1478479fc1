"""A tuned classifier as a folder that stands on its own: weights, classes, and the encoder its features come from.

classifier.json           class ids and names, the encoder (reference and hash), its preprocessing, how it was made
classifier.safetensors    W [K, D] and b [K]: logits = W x / |x| + b
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from etils import epath
from safetensors import SafetensorError
from safetensors.numpy import load, save

from synthjax import workdir
from synthjax.errors import UserError

FORMAT = 1
_ABOUT, _WEIGHTS = "classifier.json", "classifier.safetensors"


@dataclasses.dataclass(frozen=True)
class Classifier:
  W_KxD: np.ndarray
  b_K: np.ndarray
  class_ids: tuple[str, ...]
  class_names: tuple[str, ...]
  encoder: dict[str, Any]  # reference, encoder (hash of its files), dtype, preprocessing
  made: dict[str, Any]  # study, arm, seed, images

  def logits(self, features_NxD: np.ndarray) -> np.ndarray:
    unit = features_NxD / np.linalg.norm(features_NxD, axis=1, keepdims=True)
    return unit @ self.W_KxD.T + self.b_K

  def write(self, folder: epath.Path) -> None:
    """The description last: it says that the weights are there."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {"W": np.asarray(self.W_KxD, np.float32), "b": np.asarray(self.b_K, np.float32)}
    workdir.replace_bytes(folder / _WEIGHTS, save(tensors))
    about = {k: v for k, v in dataclasses.asdict(self).items() if k not in ("W_KxD", "b_K")}
    workdir.replace_bytes(folder / _ABOUT, workdir.to_json(about | {"format": FORMAT}))


def exists(folder: epath.Path) -> bool:
  return (folder / _ABOUT).exists()


def read(folder: epath.Path) -> Classifier:
  about = workdir.read_json(folder / _ABOUT, "classifier")
  if not isinstance(about, dict) or about.get("format") != FORMAT:
    raise UserError(f"classifier {folder / _ABOUT} is not one of format {FORMAT}; train it again")
  try:
    tensors = load((folder / _WEIGHTS).read_bytes())
    return Classifier(
      tensors["W"],
      tensors["b"],
      tuple(about["class_ids"]),
      tuple(about["class_names"]),
      about["encoder"],
      about["made"],
    )
  except (OSError, SafetensorError, KeyError) as e:
    raise UserError(f"classifier {folder} is not readable ({e}); remove it and run again") from None
