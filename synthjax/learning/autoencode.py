"""The autoencoder of latent diffusion: pixels to a small, nearly normal latent and back (Rombach et al. 2022)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from synthjax.learning.of_config import OfConfig
from synthjax.models.flax_classes import FlaxAutoencoderKL, apply_corrected, of_config

Array = jax.Array


def to_model(pixels_BxHxWx3: Array) -> Array:
  """8-bit pixels to NCHW in -1..1."""
  return (pixels_BxHxWx3 / 127.5 - 1.0).transpose(0, 3, 1, 2)


class Autoencode(OfConfig):
  """Batches: pixels [B, H, W, 3] uint8. Squared and absolute error, and a light pull of the latent to a normal."""

  def __init__(self, config: dict[str, Any], kl_weight: float = 1e-4):
    super().__init__(config, kl_weight)
    self._module = of_config(FlaxAutoencoderKL, config)
    self._kl_weight = kl_weight

  def init(self, key: Array, batch: Any) -> dict[str, Any]:
    del batch
    return {"params": self._module.init_weights(key)}

  def encode(self, params: Any, pixels: Array) -> Any:
    """The latent's distribution (NHWC)."""
    return apply_corrected(self._module, params, to_model(pixels), method=self._module.encode).latent_dist

  def loss(
    self, variables: dict[str, Any], batch: Any, key: Array, step: Array
  ) -> tuple[Array, tuple[dict, dict]]:
    del step
    params, x = variables["params"], to_model(batch["pixels"])
    latent = self.encode(params, batch["pixels"])
    sample = latent.mean + latent.std * jax.random.normal(key, latent.mean.shape)
    decoded = apply_corrected(
      self._module, params, sample.transpose(0, 3, 1, 2), method=self._module.decode
    ).sample
    squared, absolute = jnp.mean((decoded - x) ** 2), jnp.mean(jnp.abs(decoded - x))
    kl = 0.5 * jnp.mean(latent.mean**2 + latent.std**2 - 1 - 2 * jnp.log(latent.std))
    loss = squared + absolute + self._kl_weight * kl
    return loss, ({}, {"squared_error": squared, "kl": kl})
