"""Latent diffusion: undo the noise in a noised latent, knowing its caption, which is sometimes withheld.

What is predicted is v = sqrt(a) noise - sqrt(1 - a) x (Salimans and Ho 2022). Predicting the noise hardly weighs what
is decided while noise prevails, which is the glyph: after 1,300 steps so, pictures had their paper, and no digit.

The withheld captions (replaced by the empty one) are what classifier-free guidance needs. The text encoder is trained
along with the UNet: in a small world there is no large one to borrow.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from synthjax.models.flax_classes import (
  CLIPTextConfig,
  FlaxCLIPTextModule,
  FlaxUNet2DConditionModel,
  apply_corrected,
  of_config,
)

Array = jax.Array


class Denoise:
  """Batches: latents [B, C, H, W], already scaled to unit variance, and ids [B, L]."""

  def __init__(
    self,
    unet: dict[str, Any],
    text_encoder: dict[str, Any],
    alpha_bar: np.ndarray,
    empty_ids: np.ndarray,
    withheld: float = 0.1,
    init: dict[str, Any] | None = None,
  ):
    self._unet = of_config(FlaxUNet2DConditionModel, unet)
    self._text = FlaxCLIPTextModule(CLIPTextConfig(**text_encoder))
    self._alpha_bar = np.asarray(alpha_bar, np.float32)
    self._empty_ids, self._withheld = np.asarray(empty_ids), withheld
    self._init = init or {}  # parameters of parts that were trained before

  def init(self, key: Array, batch: Any) -> dict[str, Any]:
    ids, keys = batch["ids"][:1], jax.random.split(key)
    text = self._text.init(keys[0], ids, jnp.ones_like(ids), jnp.arange(ids.shape[1])[None])["params"]
    return {"params": {"text_encoder": text, "unet": self._unet.init_weights(keys[1])} | self._init}

  def loss(
    self, variables: dict[str, Any], batch: Any, key: Array, step: Array
  ) -> tuple[Array, tuple[dict, dict]]:
    del step
    params, x, ids = variables["params"], batch["latents"], batch["ids"]
    of_t, of_noise, of_drop = jax.random.split(key, 3)
    t = jax.random.randint(of_t, (x.shape[0],), 0, len(self._alpha_bar))
    noise = jax.random.normal(of_noise, x.shape)
    signal = jnp.asarray(self._alpha_bar)[t][:, None, None, None]
    noised = jnp.sqrt(signal) * x + jnp.sqrt(1 - signal) * noise
    drop = jax.random.bernoulli(of_drop, self._withheld, (x.shape[0], 1))
    ids = jnp.where(drop, self._empty_ids, ids)
    positions = jnp.broadcast_to(jnp.arange(ids.shape[1]), ids.shape)
    conditioning = apply_corrected(self._text, params["text_encoder"], ids, jnp.ones_like(ids), positions)[0]
    predicted = apply_corrected(self._unet, params["unet"], noised, t, conditioning, train=True).sample
    velocity = jnp.sqrt(signal) * noise - jnp.sqrt(1 - signal) * x
    return jnp.mean((predicted - velocity) ** 2), ({}, {})
