"""A tuned classifier as a folder that stands on its own: weights, classes, and the encoder its features come from.

classifier.json           class ids and names, the encoder (reference and hash), its preprocessing, how it was made
encoder.safetensors       where the encoder learnt too: what has changed of it, by path in its image tower
classifier.safetensors    W [K, D] and b [K]: logits = W x / |x| + b; of a Tip-Adapter also keys [M, D] and values [M, K]
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from etils import epath
from safetensors import SafetensorError
from safetensors.numpy import load, save

from synthjax.disk import checksums, workdir
from synthjax.learning.adapter import memory
from synthjax.runtime.errors import UserError
from synthjax.weights import finite

FORMAT = 1
_ABOUT, _WEIGHTS, _TOWER = "classifier.json", "classifier.safetensors", "encoder.safetensors"


@dataclasses.dataclass(frozen=True)
class Memory:
  """Of a Tip-Adapter: what stands beside the linear classifier."""

  keys_MxD: np.ndarray
  values_MxK: np.ndarray
  ratio: float
  sharpness: float


@dataclasses.dataclass(frozen=True)
class Classifier:
  W_KxD: np.ndarray
  b_K: np.ndarray
  class_ids: tuple[str, ...]
  class_names: tuple[str, ...]
  encoder: dict[str, Any]  # reference, encoder (hash of its files), dtype, preprocessing
  made: dict[str, Any]  # study, arm, seed, images
  memory: Memory | None = None
  tower: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

  def logits(self, features_NxD: np.ndarray) -> np.ndarray:
    unit = features_NxD / np.linalg.norm(features_NxD, axis=1, keepdims=True)
    logits = unit @ self.W_KxD.T + self.b_K
    if (m := self.memory) is None:
      return logits
    return logits + m.ratio * memory(unit, m.keys_MxD, m.values_MxK, m.sharpness, np.exp)

  def write(self, folder: epath.Path) -> None:
    """The description last: it says that the weights are there."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {"W": np.asarray(self.W_KxD, np.float32), "b": np.asarray(self.b_K, np.float32)}
    about = {
      k: v for k, v in dataclasses.asdict(self).items() if k not in ("W_KxD", "b_K", "memory", "tower")
    }
    if m := self.memory:
      tensors |= {"keys": np.asarray(m.keys_MxD, np.float32), "values": np.asarray(m.values_MxK, np.float32)}
      about |= {"memory": {"ratio": m.ratio, "sharpness": m.sharpness}}
    checksums.replace(folder / _WEIGHTS, save(tensors))
    if self.tower:
      checksums.replace(folder / _TOWER, save(self.tower))
      about |= {"changed": sorted(self.tower)}
    checksums.replace(folder / _ABOUT, workdir.to_json(about | {"format": FORMAT}))


def exists(folder: epath.Path) -> bool:
  return (folder / _ABOUT).exists() and (folder / _WEIGHTS).exists()


def read(folder: epath.Path) -> Classifier:
  about = checksums.read_json(folder / _ABOUT, "classifier")
  if not isinstance(about, dict) or about.get("format") != FORMAT:
    raise UserError(f"classifier {folder / _ABOUT} is not one of format {FORMAT}; train it again")
  try:
    tensors = load(checksums.read(folder / _WEIGHTS, "classifier"))
    tower = load(checksums.read(folder / _TOWER, "classifier")) if about.get("changed") else {}
    finite.check(tensors, folder / _WEIGHTS)
    finite.check(tower, folder / _TOWER)
    return Classifier(
      tensors["W"],
      tensors["b"],
      tuple(about["class_ids"]),
      tuple(about["class_names"]),
      about["encoder"],
      about["made"],
      Memory(tensors["keys"], tensors["values"], **about["memory"]) if "memory" in about else None,
      tower,
    )
  except (OSError, SafetensorError, KeyError) as e:
    raise UserError(f"classifier {folder} is not readable ({e}); remove it and run again") from None
