"""CLIP's two networks: features of pixels and of token ids, as pure functions of parameters.

Features are float32 and not normalised. With dtype bfloat16 the matrix products and convolutions take 16-bit inputs, but
for the first and the last; norms, softmax and sums of residual branches stay in float32, and so do the parameters.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from synthjax.encoders.preprocess import Preprocess
from synthjax.models.clip_precision import correct_clip
from synthjax.models.clip_resnet import ResNetCLIPModule, ResNetConfig
from synthjax.models.flax_classes import (
  CLIPConfig,
  CLIPTextConfig,
  CLIPVisionConfig,
  FlaxCLIPModule,
)
from synthjax.models.flops import flops_of
from synthjax.models.precision import precision_of

Array = jax.Array
STATISTICS = "batch_stats"


@dataclasses.dataclass(frozen=True)
class Architecture:
  text: CLIPTextConfig
  vision: CLIPVisionConfig | ResNetConfig
  width: int  # of features

  def module(self, dtype: jnp.dtype) -> nn.Module:
    if isinstance(self.vision, ResNetConfig):
      return ResNetCLIPModule(self.text, self.vision, self.width, dtype)
    text, vision = self.text.to_dict(), self.vision.to_dict()
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=self.width)
    return FlaxCLIPModule(config, dtype=dtype)


class Towers:
  """`params` is a tree of parameters; with a residual image tower it has one more branch, `batch_stats`: the running
  means and variances of its batch norms, which are replaced and not learnt."""

  def __init__(self, architecture: Architecture, preprocess: Preprocess, dtype: str = "float32"):
    self.architecture, self.preprocess, self.dtype = architecture, preprocess, jnp.dtype(dtype)
    self._module = architecture.module(self.dtype)
    self.width: int = architecture.width
    self.max_tokens: int = architecture.text.max_position_embeddings

  @property
  def has_statistics(self) -> bool:
    """Whether the image tower has batch norms."""
    return isinstance(self.architecture.vision, ResNetConfig)

  def param_shapes(self) -> dict[str, Any]:
    return dict(self._shapes)

  @functools.cached_property
  def _shapes(self) -> dict[str, Any]:
    """Half a second of tracing: each arm's line on the page asks how much of the encoder it learns."""
    ids, side = jnp.zeros((1, self.max_tokens), jnp.int32), self.preprocess.side
    inputs = (ids, jnp.zeros((1, side, side, 3)), None, ids)
    variables = jax.eval_shape(self._module.init, jax.random.key(0), *inputs)
    rest = {name: tree for name, tree in variables.items() if name != "params"}
    return dict(variables["params"]) | rest

  def image_features(self, params: Any, pixels_BxSxSx3: Array) -> Array:
    """[B, D] of 8-bit pixels."""

    def apply(module: nn.Module, x: Array) -> Array:
      if isinstance(module, ResNetCLIPModule):
        return module.visual(x)
      return module.visual_projection(module.vision_model(x).pooler_output)

    return self._apply(params, apply, self.preprocess.normalise(pixels_BxSxSx3))

  def image_features_in_training(self, params: Any, pixels_BxSxSx3: Array) -> tuple[Array, Any]:
    """As batch norms compute in training: ([B, D] by the batch's own statistics, the running ones that it leaves).

    Whoever freezes the statistics takes `image_features`; whoever lets them follow the data goes on with
    `params | {"batch_stats": new}`. Under jit the batch is the global one. For residual towers only.
    """

    def apply(module: nn.Module, x: Array) -> Array:
      return module.visual(x, train=True)

    pixels = self.preprocess.normalise(pixels_BxSxSx3)
    features, updates = self._apply(params, apply, pixels, mutable=[STATISTICS])
    return features, updates[STATISTICS]

  def text_features(self, params: Any, ids_BxL: Array) -> Array:
    """[B, D] of tokenised texts."""

    def apply(module: nn.Module, ids: Array) -> Array:
      positions = jnp.broadcast_to(jnp.arange(ids.shape[1]), ids.shape)
      return module.text_projection(module.text_model(ids, None, positions).pooler_output)

    return self._apply(params, apply, ids_BxL)

  def scale(self, params: Any) -> Array:
    """What cosines are multiplied by to be logits."""
    return jnp.exp(params["logit_scale"])

  def flops(self) -> float:
    """Of one image: the compiler's count of the image tower; nothing is run."""
    side = self.preprocess.side
    pixels = jax.ShapeDtypeStruct((1, side, side, 3), jnp.uint8)
    return flops_of(self.image_features, self.param_shapes(), pixels)

  def _apply(self, params: Any, method: Callable, *args: Any, **kwargs: Any) -> Any:
    variables = {"params": {k: v for k, v in params.items() if k != STATISTICS}}
    if STATISTICS in params:
      variables[STATISTICS] = params[STATISTICS]
    with nn.intercept_methods(correct_clip), jax.default_matmul_precision(precision_of(self.dtype)):
      return self._module.apply(variables, *args, method=method, **kwargs)
