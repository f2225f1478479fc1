"""CT, classifier tuning (He et al., Sec. 3.1 and C.4): a linear head on frozen, normalised CLIP features.

It begins as the zero-shot classifier. Several seeds are learnt side by side: every array has them as its leading axis,
and since the loss is their sum, each one's gradient is its own.

Mix training (Sec. 3.2): a batch of synthetic images and one of real ones, whose losses are added. Soft targets are for
synthetic images alone; real ones have plain cross entropy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

Array = jax.Array


def unit(features: Array) -> Array:
  return features / jnp.linalg.norm(features, axis=-1, keepdims=True)


def cross_entropy(logits: Array, labels: Array) -> Array:
  return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[..., None], axis=-1)[..., 0]


def soft_target_loss(logits: Array, teacher: Array, temperature: float = 2.0) -> Array:
  """Cross entropy against the zero-shot classifier; the student is not tempered."""
  targets = jax.nn.softmax(teacher * (1 / temperature))  # as a division by a constant is compiled
  return -jnp.sum(targets * jax.nn.log_softmax(logits), axis=-1)


def logits_of(head: dict[str, Array], features: Array) -> Array:
  """W x / |x| + b."""
  return (
    jnp.einsum("...bd,...kd->...bk", unit(features), head["W"], precision="highest") + head["b"][..., None, :]
  )


def factor(value: float) -> float | None:
  """As an argument of a compiled step: None = 1, which stays a constant, as the compiler leaves the multiplication out."""
  return None if value == 1 else value


def mixed_loss(
  batch: dict[str, Any],
  see: Callable[[str], tuple[Array, Callable[[], Array]]],
  soft: bool,
  temperature: float,
  real_weight: float | None,
) -> tuple[Array, dict[str, Array]]:
  """(loss [...] of logits [..., B, K], metrics): CE of each domain that the batch holds, mixed with soft targets for synthetic ones.

  `see` a domain: its logits, and what gives the teacher's.
  """
  total, metrics = jnp.float32(0), {}
  for domain, weight in (("synthetic", 1.0), ("real", 1.0 if real_weight is None else real_weight)):
    if domain not in batch:
      continue
    (logits, teacher), labels = see(domain), batch[domain]["labels"]
    losses = cross_entropy(logits, labels)
    if soft and domain == "synthetic":
      losses = 0.5 * losses + 0.5 * soft_target_loss(logits, teacher(), temperature)
    total += weight * losses.mean(axis=-1)
    metrics |= {f"right_{domain}": (logits.argmax(-1) == labels).mean()}
  return total, metrics


@struct.dataclass
class Tune:
  """Batches: `synthetic`, `real`, or both, each with features [S, B, D] and labels [S, B] of S seeds."""

  zero_shot_KxD: Array | np.ndarray
  seeds: int = struct.field(pytree_node=False)
  soft: bool = struct.field(pytree_node=False)
  temperature: float = 2.0
  real_weight: float | None = None  # as `factor` gives it

  def init(self, key: Array, batch: Any) -> dict[str, Any]:
    del key, batch
    zero_shot = jnp.asarray(self.zero_shot_KxD)
    start = jnp.broadcast_to(zero_shot, (self.seeds, *zero_shot.shape))
    return {
      "params": {"W": start, "b": jnp.zeros(start.shape[:2])},
      "teacher": {"W": zero_shot, "b": jnp.zeros(len(zero_shot))},
    }

  def loss(
    self, variables: dict[str, Any], batch: Any, key: Array, step: Array
  ) -> tuple[Array, tuple[dict, dict]]:
    del key, step

    def see(domain: str) -> tuple[Array, Callable[[], Array]]:
      features = batch[domain]["features"]
      return logits_of(variables["params"], features), lambda: logits_of(variables["teacher"], features)

    loss_S, metrics = mixed_loss(batch, see, self.soft, self.temperature, self.real_weight)
    return loss_S.sum(), ({}, metrics | {"loss_per_seed": loss_S.mean()})
