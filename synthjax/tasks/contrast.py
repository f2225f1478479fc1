"""CLIP: images and captions find each other (Radford et al. 2021)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from synthjax.models import initial
from synthjax.models.flax_classes import CLIPConfig, FlaxCLIPModule
from synthjax.models.pixels import MEAN as MEAN
from synthjax.models.pixels import STD as STD
from synthjax.models.pixels import normalise

Array = jax.Array
_MAX_LOG_SCALE = 4.6052  # of 100


def contrastive_loss(image_BxD: Array, text_BxD: Array, scale: Array, caption_B: Array) -> Array:
  """Symmetric cross entropy. Equal captions in a batch are all right answers, each with its share."""
  logits = scale * image_BxD @ text_BxD.T
  same = (caption_B[:, None] == caption_B[None, :]).astype(jnp.float32)
  target = same / same.sum(1, keepdims=True)
  both = [-(target * jax.nn.log_softmax(z)).sum(-1).mean() for z in (logits, logits.T)]
  return (both[0] + both[1]) / 2


class Contrast:
  """Batches: pixels [B, H, W, 3] uint8, ids [B, L], caption [B] (equal numbers: equal captions)."""

  def __init__(self, config: CLIPConfig):
    self._module = FlaxCLIPModule(config)

  def _apply(self, params: Any, batch: Any) -> Any:
    ids = batch["ids"]
    positions = jnp.broadcast_to(jnp.arange(ids.shape[1]), ids.shape)
    return self._module.apply(
      {"params": params}, ids, normalise(batch["pixels"]), jnp.ones_like(ids), positions
    )

  def init(self, key: Array, batch: Any) -> dict[str, Any]:
    ids, pixels = batch["ids"][:1], normalise(batch["pixels"][:1])
    positions = jnp.arange(ids.shape[1])[None]
    shapes = jax.eval_shape(self._module.init, key, ids, pixels, jnp.ones_like(ids), positions)["params"]
    scale = jnp.asarray(self._module.config.logit_scale_init_value)
    rest = {k: v for k, v in shapes.items() if k != "logit_scale"}
    return {"params": initial.scaled(rest, key) | {"logit_scale": scale}}

  def loss(
    self, variables: dict[str, Any], batch: Any, key: Array, step: Array
  ) -> tuple[Array, tuple[dict, dict]]:
    del key, step
    params = variables["params"]
    params = params | {"logit_scale": jnp.minimum(params["logit_scale"], _MAX_LOG_SCALE)}
    out = self._apply(params, batch)
    scale = jnp.exp(params["logit_scale"])
    loss = contrastive_loss(out.image_embeds, out.text_embeds, scale, batch["caption"])
    best = jnp.argmax(out.image_embeds @ out.text_embeds.T, axis=1)
    return loss, ({}, {"found": (batch["caption"][best] == batch["caption"]).mean(), "scale": scale})
