"""Latent diffusion: undo the noise in a noised latent, knowing its caption, which is sometimes withheld.

What is predicted is v = sqrt(a) noise - sqrt(1 - a) x (Salimans and Ho 2022). Predicting the noise hardly weighs what
is decided while noise prevails, which is the glyph: after 1,300 steps so, pictures had their paper, and no digit.

The withheld captions (replaced by the empty one) are what classifier-free guidance needs. The text encoder is trained
along with the UNet: in a small world there is no large one to borrow.
"""

from __future__ import annotations

from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from synthjax.learning.of_config import OfConfig
from synthjax.models.flax_classes import (
  CLIPTextConfig,
  FlaxCLIPTextModule,
  FlaxUNet2DConditionModel,
  apply_corrected,
  of_config,
)

Array = jax.Array


class _Networks(OfConfig):
  def __init__(self, unet: dict[str, Any], text_encoder: dict[str, Any], withheld: float):
    super().__init__(unet, text_encoder, withheld)
    self.unet = of_config(FlaxUNet2DConditionModel, unet)
    self.text = FlaxCLIPTextModule(CLIPTextConfig(**text_encoder))
    self.withheld = withheld


@jax.tree_util.register_pytree_node_class
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
    self._networks = _Networks(unet, text_encoder, withheld)
    self._alpha_bar, self._empty_ids = np.asarray(alpha_bar, np.float32), np.asarray(empty_ids)
    self._init = init or {}  # parameters of parts that were trained before

  def tree_flatten(self) -> tuple[tuple[Any, ...], _Networks]:
    return (self._alpha_bar, self._empty_ids, self._init), self._networks

  @classmethod
  def tree_unflatten(cls, networks: _Networks, children: tuple[Any, ...]) -> Self:
    self = cls.__new__(cls)
    self._networks, (self._alpha_bar, self._empty_ids, self._init) = networks, children
    return self

  def init(self, key: Array, batch: Any) -> dict[str, Any]:
    ids, keys = batch["ids"][:1], jax.random.split(key)
    text = self._networks.text.init(keys[0], ids, jnp.ones_like(ids), jnp.arange(ids.shape[1])[None])[
      "params"
    ]
    return {"params": {"text_encoder": text, "unet": self._networks.unet.init_weights(keys[1])} | self._init}

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
    drop = jax.random.bernoulli(of_drop, self._networks.withheld, (x.shape[0], 1))
    ids = jnp.where(drop, self._empty_ids, ids)
    positions = jnp.broadcast_to(jnp.arange(ids.shape[1]), ids.shape)
    conditioning = apply_corrected(
      self._networks.text, params["text_encoder"], ids, jnp.ones_like(ids), positions
    )[0]
    predicted = apply_corrected(
      self._networks.unet, params["unet"], noised, t, conditioning, train=True
    ).sample
    velocity = jnp.sqrt(signal) * noise - jnp.sqrt(1 - signal) * x
    return jnp.mean((predicted - velocity) ** 2), ({}, {})
