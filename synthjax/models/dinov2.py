"""DINOv2's vision transformers (Oquab et al. 2024), as transformers has them, without registers: the features of FD-DINOv2.

They differ from `vit.py` in a learnt scale of each channel of a branch (layer scale), in positions that are interpolated to
the pictures' size, and the giant one in its gated layers (SwiGLU). Modules have the names of the published weights.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from synthjax.models.attention import attend

Array = jax.Array
_SHARPNESS = -0.75  # of PyTorch's bicubic; jax.image.resize has -0.5


@dataclasses.dataclass(frozen=True)
class Dinov2Config:
  """With transformers' names of the fields."""

  hidden_size: int
  num_hidden_layers: int
  num_attention_heads: int
  mlp_ratio: int = 4
  image_size: int = 518  # of the positions that are stored
  patch_size: int = 14
  qkv_bias: bool = True
  use_swiglu_ffn: bool = False
  layer_norm_eps: float = 1e-6


class Mlp(nn.Module):
  config: Dinov2Config

  @nn.compact
  def __call__(self, x_BxLxC: Array) -> Array:
    width = self.config.hidden_size
    inner = width * self.config.mlp_ratio
    if not self.config.use_swiglu_ffn:
      return nn.Dense(width, name="fc2")(nn.gelu(nn.Dense(inner, name="fc1")(x_BxLxC), approximate=False))
    inner = -(-(inner * 2 // 3) // 8) * 8
    gate, value = jnp.split(nn.Dense(2 * inner, name="weights_in")(x_BxLxC), 2, axis=-1)
    return nn.Dense(width, name="weights_out")(nn.silu(gate) * value)


class Block(nn.Module):
  config: Dinov2Config

  @nn.compact
  def __call__(self, x_BxLxC: Array) -> Array:
    config, (b, length, width) = self.config, x_BxLxC.shape
    heads = (b, length, config.num_attention_heads, -1)
    y = nn.LayerNorm(config.layer_norm_eps, name="norm1")(x_BxLxC)
    q, k, v = (
      nn.Dense(width, use_bias=config.qkv_bias, name=name)(y).reshape(heads)
      for name in ("query", "key", "value")
    )
    y = nn.Dense(width, name="dense")(attend(q, k, v).reshape(b, length, width))
    x = x_BxLxC + y * self.param("layer_scale1", nn.initializers.ones, (width,))
    y = Mlp(config, name="mlp")(nn.LayerNorm(config.layer_norm_eps, name="norm2")(x))
    return x + y * self.param("layer_scale2", nn.initializers.ones, (width,))


class Dinov2(nn.Module):
  config: Dinov2Config

  @nn.compact
  def __call__(self, x_BxHxWx3: Array) -> Array:
    """The class token after the last norm [B, D], of normalised pictures; what is beyond whole patches is not seen."""
    config, b = self.config, len(x_BxHxWx3)
    width, patch = config.hidden_size, (config.patch_size, config.patch_size)
    patches = nn.Conv(width, patch, patch, "VALID", name="projection")(x_BxHxWx3)
    stored = config.image_size // config.patch_size
    token = self.param("cls_token", nn.initializers.zeros, (1, 1, width))
    position = self.param("position_embeddings", nn.initializers.zeros, (1, stored**2 + 1, width))
    grid = position[0, 1:].reshape(stored, stored, width)
    down, across = (_bicubic(stored, new) for new in patches.shape[1:3])
    grid = jnp.einsum("hi,wj,ijc->hwc", down, across, grid, precision="highest")
    token = jnp.broadcast_to(token + position[:, :1], (b, 1, width))
    x = jnp.concatenate([token, (patches + grid).reshape(b, -1, width)], axis=1)
    for i in range(config.num_hidden_layers):
      x = Block(config, name=f"layer_{i}")(x)
    return nn.LayerNorm(config.layer_norm_eps, name="layernorm")(x[:, 0])


def _bicubic(old: int, new: int) -> np.ndarray:
  """[new, old]: the weights of PyTorch's bicubic, corners not aligned, not antialiased, the edge repeated."""
  places = (np.arange(new) + 0.5) * old / new - 0.5
  first = np.floor(places).astype(int)
  weights = np.zeros((new, old), np.float32)
  for step in range(-1, 3):
    at = np.clip(first + step, 0, old - 1)
    np.add.at(weights, (np.arange(new), at), _cubic(np.abs(places - (first + step))))
  return weights


def _cubic(d: np.ndarray) -> np.ndarray:
  a = _SHARPNESS
  near = (a + 2) * d**3 - (a + 3) * d**2 + 1
  far = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
  return np.where(d <= 1, near, np.where(d < 2, far, 0.0))
