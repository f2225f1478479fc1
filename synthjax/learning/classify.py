"""Classification of real images, of synthetic ones, or of both in one batch, each domain with its own norms if wanted.

The loss is the mean cross entropy of each domain that the batch holds, halved between them where there are two (Yu et
al.: CE of the real ones through the main norms plus CE of the synthetic ones through the auxiliary ones).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from synthjax.data import augment
from synthjax.data.augment import Augment
from synthjax.models.vit import DROP_PATH

Array = jax.Array
DOMAINS = ("real", "synthetic")
# Of ImageNet, as PyTorch's networks expect pictures.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True)
class Classify:
  """Batches: pixels [B, S, S, 3] uint8, labels [B] (or targets [B, K]) and domain [B], places in DOMAINS."""

  module: nn.Module  # ResNet or ViT: (pixels, train, domain_B, features)
  classes: int
  augment: Augment = dataclasses.field(default_factory=Augment)
  smoothing: float = 0.0
  by_domain: bool = False  # the module's norms keep domains apart

  def init(self, key: Array, batch: Any) -> dict[str, Any]:
    side = self.augment.size or batch["pixels"].shape[1]
    return dict(self.module.init({"params": key}, jnp.zeros((1, side, side, 3))))

  def loss(
    self, variables: dict[str, Any], batch: Any, key: Array, step: Array
  ) -> tuple[Array, tuple[dict, dict]]:
    del step
    of_pictures, of_erasing, of_mixing, of_paths = jax.random.split(key, 4)
    domain_B, pixels = batch["domain"], batch["pixels"]
    targets_BxK = batch["targets"] if "targets" in batch else jax.nn.one_hot(batch["labels"], self.classes)
    smooth = targets_BxK * (1 - self.smoothing) + self.smoothing / self.classes
    x = normalise(augment.pictures(self.augment, of_pictures, pixels))
    if self.augment.erasing:
      x = augment.erase(of_erasing, x, self.augment.erasing)
    if self.augment.mixes:
      x, smooth = augment.mix(self.augment, of_mixing, x, smooth, domain_B)
    others = [c for c in variables if c != "params"]
    logits, updates = self.module.apply(
      variables, x, True, domain_B if self.by_domain else None, mutable=others, rngs={DROP_PATH: of_paths}
    )
    loss_B = -jnp.sum(smooth * jax.nn.log_softmax(logits), axis=-1)
    right_B = logits.argmax(-1) == targets_BxK.argmax(-1)
    return balanced(loss_B, domain_B), (dict(updates), {"right": right_B.mean()})

  def predict(self, variables: dict[str, Any], pixels_BxSxSx3: Array, features: bool = False) -> Array:
    """Logits, or features, by the running statistics of the test's domain."""
    found = self.module.apply(variables, normalise(pixels_BxSxSx3 / 255.0), False, None, features)
    assert not isinstance(found, tuple)  # nothing is mutable
    return found


def normalise(x_BxSxSx3: Array) -> Array:
  return (x_BxSxSx3 - jnp.array(MEAN)) / jnp.array(STD)


def balanced(loss_B: Array, domain_B: Array) -> Array:
  """The mean of the domains' means, of those that are there."""
  member = jax.nn.one_hot(domain_B, len(DOMAINS))
  n = member.sum(0)
  means = (loss_B @ member) / jnp.maximum(n, 1)
  return means.sum() / jnp.maximum((n > 0).sum(), 1)
