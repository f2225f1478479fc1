"""CLIP's residual image towers (Radford et al. 2021, Sec. 2.4): RN50, RN101, RN50x4, x16 and x64 by their sizes.

What sets them apart from a ResNet: a stem of three convolutions and an average pool; strides that are average pools,
behind the 3x3 convolution and in the shortcut; and attention in the place of the last pooling, where the mean of all
places asks once. Running statistics are in the collection `batch_stats`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from synthjax.models.attention import attend
from synthjax.models.flax_classes import CLIPTextConfig, FlaxCLIPTextTransformer
from synthjax.models.norms import BatchNorm

Array = jax.Array
SHRINK = 32  # pixels a side of what becomes one place of the attention pool
_EXPANSION = 4


@dataclasses.dataclass(frozen=True)
class ResNetConfig:
  layers: tuple[int, int, int, int]
  width: int
  image_size: int
  head_width: int = 64

  @property
  def heads(self) -> int:
    return self.width * SHRINK // self.head_width


class Bottleneck(nn.Module):
  width: int
  stride: int
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, x: Array, train: bool) -> Array:
    def conv(x: Array, width: int, side: int, name: str) -> Array:
      return _conv(width, side, self.dtype, name)(x)

    out = self.width * _EXPANSION
    y = nn.relu(BatchNorm(name="bn1")(conv(x, self.width, 1, "conv1"), train))
    y = nn.relu(BatchNorm(name="bn2")(conv(y, self.width, 3, "conv2"), train))
    y = BatchNorm(name="bn3")(conv(_pool(y, self.stride), out, 1, "conv3"), train)
    if self.stride > 1 or x.shape[-1] != out:
      shortcut = conv(_pool(x, self.stride), out, 1, "downsample_0")
      x = BatchNorm(name="downsample_1")(shortcut, train)
    return nn.relu(x + y)


class AttentionPool(nn.Module):
  heads: int
  features: int
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, x_BxHxWxC: Array) -> Array:
    n, width = x_BxHxWxC.shape[0], x_BxHxWxC.shape[-1]
    x = x_BxHxWxC.reshape(n, -1, width)
    x_BxLxC = jnp.concatenate([x.mean(1, keepdims=True), x], axis=1)
    spread = nn.initializers.normal(width**-0.5)
    x_BxLxC += self.param("positional_embedding", spread, x_BxLxC.shape[1:])

    def project(x: Array, name: str) -> Array:
      return nn.Dense(width, dtype=self.dtype, name=name)(x).reshape(n, -1, self.heads, width // self.heads)

    q, k, v = project(x_BxLxC[:, :1], "q_proj"), project(x_BxLxC, "k_proj"), project(x_BxLxC, "v_proj")
    return nn.Dense(self.features, dtype=jnp.float32, name="c_proj")(attend(q, k, v).reshape(n, width))


class ResNet(nn.Module):
  config: ResNetConfig
  features: int
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, x_BxSxSx3: Array, train: bool = False) -> Array:
    """[B, D]."""
    x, width = x_BxSxSx3, self.config.width
    for i, (out, stride) in enumerate([(width // 2, 2), (width // 2, 1), (width, 1)], start=1):
      x = _conv(out, 3, jnp.float32 if i == 1 else self.dtype, f"conv{i}", stride)(x)
      x = nn.relu(BatchNorm(name=f"bn{i}")(x, train))
    x = _pool(x, 2)
    for i, blocks in enumerate(self.config.layers):
      for j in range(blocks):
        stride = 2 if i > 0 and j == 0 else 1
        x = Bottleneck(width * 2**i, stride, self.dtype, name=f"layer{i + 1}_{j}")(x, train)
    return AttentionPool(self.config.heads, self.features, self.dtype, name="attnpool")(x)


class ResNetCLIPModule(nn.Module):
  """What FlaxCLIPModule is to a transformer of patches; the text tower is the same, under the same names."""

  text_config: CLIPTextConfig
  vision_config: ResNetConfig
  projection_dim: int
  dtype: jnp.dtype = jnp.float32

  def setup(self) -> None:
    self.text_model = FlaxCLIPTextTransformer(self.text_config, dtype=self.dtype)
    self.visual = ResNet(self.vision_config, self.projection_dim, self.dtype)
    self.text_projection = nn.Dense(self.projection_dim, use_bias=False, dtype=self.dtype)
    self.logit_scale = self.param("logit_scale", nn.initializers.constant(2.6592), ())

  def __call__(self, ids_BxL: Array, pixels_BxSxSx3: Array, mask: Array | None, positions: Array) -> Array:
    """Logits [B, B] of images by texts: for `init`, which must meet every parameter."""
    pooled = self.text_model(ids_BxL, mask, positions)[1]
    text = self.text_projection(pooled)
    return jnp.exp(self.logit_scale) * self.visual(pixels_BxSxSx3) @ text.T


def _conv(width: int, side: int, dtype: jnp.dtype, name: str, stride: int = 1) -> nn.Conv:
  # Padded as PyTorch does: SAME would put a stride's odd row at the other end.
  padding: Sequence[tuple[int, int]] = [(side // 2, side // 2)] * 2
  return nn.Conv(width, (side, side), stride, padding, use_bias=False, dtype=dtype, name=name)


def _pool(x: Array, stride: int) -> Array:
  return nn.avg_pool(x, (stride, stride), (stride, stride)) if stride > 1 else x
