"""Tip-Adapter-F (Zhang et al. 2022): the few real images as a memory beside the zero-shot classifier.

logits = W f + ratio * exp(-sharpness * (1 - f keys^T)) values, of unit features f. The keys begin as the real images'
own features, or the mean of several views', and learn; W and values (their labels, one-hot) stay. Ratio and sharpness
are the paper's alpha and beta: fixed while the keys learn, then searched on validation images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from synthjax.learning.tune import cross_entropy, factor, unit

Array = jax.Array
LEAST = 0.1  # of both, in a search


def memory(unit_NxD: Any, keys_MxD: Any, values_MxK: Any, sharpness: float, exp: Any) -> Any:
  """[N, K]: what the memory adds, before the ratio; `exp` is NumPy's or JAX's. Learning may change the keys' length."""
  return exp(-sharpness * (1 - unit_NxD @ keys_MxD.T)) @ values_MxK


@jax.tree_util.register_pytree_node_class
class TipAdapter:
  """Batches: `real` with features [B, D] and labels [B]."""

  def __init__(
    self,
    zero_shot_KxD: np.ndarray,
    features_MxD: np.ndarray,
    labels_M: np.ndarray,
    ratio: float = 1.0,
    sharpness: float = 1.0,
  ):
    self._zero_shot, self._ratio, self._sharpness = (
      jnp.asarray(zero_shot_KxD),
      factor(ratio),
      factor(sharpness),
    )
    self._keys = unit(jnp.asarray(features_MxD, jnp.float32))
    self._values = jax.nn.one_hot(labels_M, len(zero_shot_KxD))

  def tree_flatten(self) -> tuple[tuple[Any, ...], None]:
    return (self._zero_shot, self._keys, self._values, self._ratio, self._sharpness), None

  @classmethod
  def tree_unflatten(cls, aux: None, children: tuple[Any, ...]) -> Self:
    del aux
    self = cls.__new__(cls)
    self._zero_shot, self._keys, self._values, self._ratio, self._sharpness = children
    return self

  def init(self, key: Array, batch: Any) -> dict[str, Any]:
    del key, batch
    return {"params": {"keys": self._keys}, "memory": {"values": self._values, "W": self._zero_shot}}

  def loss(
    self, variables: dict[str, Any], batch: Any, key: Array, step: Array
  ) -> tuple[Array, tuple[dict, dict]]:
    del key, step
    features, labels, fixed = unit(batch["real"]["features"]), batch["real"]["labels"], variables["memory"]
    ratio, sharpness = (1.0 if x is None else x for x in (self._ratio, self._sharpness))
    with jax.default_matmul_precision("highest"):
      added = memory(features, variables["params"]["keys"], fixed["values"], sharpness, jnp.exp)
      logits = features @ fixed["W"].T + ratio * added
    return cross_entropy(logits, labels).mean(), ({}, {"right_real": (logits.argmax(-1) == labels).mean()})


def grid(largest: float, n: int) -> tuple[float, ...]:
  """n values from LEAST on, evenly, the largest itself left out: as the published code has them."""
  return tuple(i * (largest - LEAST) / n + LEAST for i in range(n))


def search(
  zero_shot_KxD: np.ndarray,
  keys_MxD: np.ndarray,
  values_MxK: np.ndarray,
  features_NxD: np.ndarray,
  labels_N: np.ndarray,
  ratios: Sequence[float],
  sharpnesses: Sequence[float],
) -> tuple[float, float, float]:
  """(ratio, sharpness, accuracy in percent) that name most of the validation images; of equals the first."""
  unit_NxD = features_NxD / np.linalg.norm(features_NxD, axis=1, keepdims=True)
  plain, best = unit_NxD @ zero_shot_KxD.T, (ratios[0], sharpnesses[0], -1.0)
  for sharpness in sharpnesses:
    added = memory(unit_NxD, keys_MxD, values_MxK, sharpness, np.exp)
    for ratio in ratios:
      right = 100 * float(((plain + ratio * added).argmax(-1) == labels_N).mean())
      if right > best[2]:
        best = ratio, sharpness, right
  return best
