"""Residual networks (He et al. 2016), with the stride in the 3x3 convolution, as torchvision, timm and transformers have it.

Two stems: `imagenet` (7x7, stride 2, then a maximum over 3x3, stride 2) and `cifar` (3x3, stride 1), for pictures of 32 pixels.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from synthjax.models.norms import BatchNorm

Array = jax.Array
Norm = Callable[..., Any]
_SPREAD = nn.initializers.variance_scaling(2.0, "fan_out", "normal")  # for ReLUs (He et al. 2015)


@dataclasses.dataclass(frozen=True)
class ResNetConfig:
  layers: tuple[int, ...]
  bottleneck: bool
  stem: str = "imagenet"
  width: int = 64  # of the first stage; each further one is twice as wide


_LAYERS = {
  "resnet18": ((2, 2, 2, 2), False),
  "resnet50": ((3, 4, 6, 3), True),
  "resnet101": ((3, 4, 23, 3), True),
}
SIZES = {
  **{name: ResNetConfig(*layers) for name, layers in _LAYERS.items()},
  **{f"{name}-cifar": ResNetConfig(*layers, stem="cifar") for name, layers in _LAYERS.items()},
  "resnet-mini": ResNetConfig((1, 1, 1), False, "cifar", 24),  # of the embedded world
}


class Block(nn.Module):
  width: int
  stride: int
  bottleneck: bool
  norm: Norm
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, x: Array, train: bool, domain_B: Array | None) -> Array:
    out = self.width * (4 if self.bottleneck else 1)
    conv = functools.partial(_conv, dtype=self.dtype)
    plan = ((self.width, 1, 1), (self.width, 3, self.stride), (out, 1, 1))
    plan = plan if self.bottleneck else ((out, 3, self.stride), (out, 3, 1))
    y = x
    for i, (width, side, stride) in enumerate(plan, start=1):
      is_last = i == len(plan)
      y = self.norm(name=f"bn{i}", zero=is_last)(conv(width, side, f"conv{i}", stride)(y), train, domain_B)
      y = y if is_last else nn.relu(y)
    if self.stride > 1 or x.shape[-1] != out:
      x = self.norm(name="downsample_1")(conv(out, 1, "downsample_0", self.stride)(x), train, domain_B)
    return nn.relu(x + y)


class ResNet(nn.Module):
  config: ResNetConfig
  classes: int
  domains: int = 1  # of batch norm: 2 = auxiliary statistics and parameters for synthetic images
  test_domain: int = 0
  dtype: jnp.dtype = jnp.float32  # of convolutions; parameters and statistics are float32
  remat: bool = False  # compute blocks again in the backward pass instead of keeping what is in them

  @nn.compact
  def __call__(
    self, x_BxSxSx3: Array, train: bool = False, domain_B: Array | None = None, features: bool = False
  ) -> Array:
    """Logits [B, K] in float32, or what the last layer sees [B, D]."""
    config = self.config
    norm = functools.partial(BatchNorm, domains=self.domains, test_domain=self.test_domain, dtype=self.dtype)
    block = nn.remat(Block, static_argnums=(2,)) if self.remat else Block
    side, stride = (7, 2) if config.stem == "imagenet" else (3, 1)
    x = _conv(config.width, side, "conv1", stride, dtype=self.dtype)(x_BxSxSx3.astype(self.dtype))
    x = nn.relu(norm(name="bn1")(x, train, domain_B))
    if config.stem == "imagenet":
      x = nn.max_pool(x, (3, 3), (2, 2), [(1, 1), (1, 1)])  # pyright: ignore[reportArgumentType]  flax gives it no type
    for i, blocks in enumerate(config.layers):
      for j in range(blocks):
        stride = 2 if i > 0 and j == 0 else 1
        x = block(config.width * 2**i, stride, config.bottleneck, norm, self.dtype, name=f"layer{i + 1}_{j}")(
          x, train, domain_B
        )
    x_BxD = x.astype(jnp.float32).mean((1, 2))
    if features:
      return x_BxD
    return nn.Dense(self.classes, name="head", kernel_init=nn.initializers.normal(0.01))(x_BxD)


def _conv(width: int, side: int, name: str, stride: int = 1, *, dtype: jnp.dtype) -> nn.Conv:
  # Padded as PyTorch does: SAME would put a stride's odd row at the other end.
  padding = [(side // 2, side // 2)] * 2
  return nn.Conv(
    width, (side, side), stride, padding, use_bias=False, dtype=dtype, kernel_init=_SPREAD, name=name
  )
