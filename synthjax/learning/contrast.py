"""CLIP: images and captions find each other (Radford et al. 2021)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from synthjax.encoders.towers import STATISTICS, Towers
from synthjax.learning.of_config import OfConfig
from synthjax.learning.tune import unit
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


def _loss(image_BxD: Array, text_BxD: Array, log_scale: Array, caption_B: Array) -> tuple[Array, dict]:
  scale = jnp.exp(log_scale)
  best = jnp.argmax(image_BxD @ text_BxD.T, axis=1)
  found = (caption_B[best] == caption_B).mean()
  return contrastive_loss(image_BxD, text_BxD, scale, caption_B), {"found": found, "scale": scale}


class Contrast(OfConfig):
  """Batches: pixels [B, H, W, 3] uint8, ids [B, L], caption [B] (equal numbers: equal captions)."""

  def __init__(self, config: CLIPConfig):
    super().__init__(config.to_dict())
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
    loss, metrics = _loss(out.image_embeds, out.text_embeds, params["logit_scale"], batch["caption"])
    return loss, ({}, metrics)


class ResidualContrast:
  """The same with a residual image tower, whose batch norms' running statistics follow; pixels are enlarged to its side."""

  def __init__(self, towers: Towers):
    self._towers = towers

  def init(self, key: Array, batch: Any) -> dict[str, Any]:
    del batch
    shapes = self._towers.param_shapes()
    scale = jnp.asarray(2.6592)
    started = initial.scaled({k: v for k, v in shapes.items() if k != "logit_scale"}, key)
    statistics = started.pop(STATISTICS)
    return {"params": started | {"logit_scale": scale}, STATISTICS: statistics}

  def loss(
    self, variables: dict[str, Any], batch: Any, key: Array, step: Array
  ) -> tuple[Array, tuple[dict, dict]]:
    del key, step
    params = variables["params"] | {STATISTICS: variables[STATISTICS]}
    side, pixels = self._towers.preprocess.side, batch["pixels"].astype(jnp.float32)
    shape = (len(pixels), side, side, 3)
    pixels = jnp.clip(jnp.round(jax.image.resize(pixels, shape, "cubic")), 0, 255)
    image, statistics = self._towers.image_features_in_training(params, pixels)
    text = self._towers.text_features(params, batch["ids"])
    log_scale = jnp.minimum(params["logit_scale"], _MAX_LOG_SCALE)
    loss, metrics = _loss(unit(image), unit(text), log_scale, batch["caption"])
    return loss, ({STATISTICS: statistics}, metrics)
