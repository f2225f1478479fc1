"""LPIPS (Zhang et al. 2018), version 0.1: how far two pictures are apart in the features of AlexNet or VGG-16.

    sum over five layers of the mean over places of  sum_c w_c (u_c - v_c)^2

with u and v the features of the two pictures at one place, each divided by its length, and w >= 0 a weight for each channel,
fitted to what people see. Features are taken after a ReLU: of AlexNet after each convolution, of VGG before each pool.
"""

from __future__ import annotations

from typing import Literal, get_args

import jax
import jax.numpy as jnp
from flax import linen as nn

from synthjax.runtime.errors import UserError

Array = jax.Array
Network = Literal["alex", "vgg"]
LEAST = 64  # pixels a side: below, what the last layers see is mostly padding
_EPSILON = 1e-10  # of a length
# Of each layer: (pool before it, the convolutions up to it). A convolution: its index in torchvision's list, width, kernel,
# stride, padding. A pool is of 3x3 in AlexNet and of 2x2 in VGG, its stride 2.
_Conv = tuple[int, int, int, int, int]
_ALEX: tuple[tuple[bool, tuple[_Conv, ...]], ...] = (
  (False, ((0, 64, 11, 4, 2),)),
  (True, ((3, 192, 5, 1, 2),)),
  (True, ((6, 384, 3, 1, 1),)),
  (False, ((8, 256, 3, 1, 1),)),
  (False, ((10, 256, 3, 1, 1),)),
)
_VGG: tuple[tuple[bool, tuple[_Conv, ...]], ...] = tuple(
  (i > 0, tuple((index, width, 3, 1, 1) for index in indices))
  for i, (width, indices) in enumerate(
    ((64, (0, 2)), (128, (5, 7)), (256, (10, 12, 14)), (512, (17, 19, 21)), (512, (24, 26, 28)))
  )
)
_NETWORKS: dict[Network, tuple[int, tuple[tuple[bool, tuple[_Conv, ...]], ...]]] = {
  "alex": (3, _ALEX),
  "vgg": (2, _VGG),
}  # side of a pool, layers


NETWORKS: tuple[Network, ...] = get_args(Network)


def places(network: Network) -> list[tuple[int, int]]:
  """(layer, index in torchvision's list) of its convolutions."""
  return [(i, own[0]) for i, (_, layers) in enumerate(_NETWORKS[network][1]) for own in layers]


class Lpips(nn.Module):
  network: Network

  @nn.compact
  def __call__(self, x_BxHxWx3: Array, y_BxHxWx3: Array) -> Array:
    """Distances [B] of pictures in -1..1."""
    check_size(*x_BxHxWx3.shape[1:3])
    pool, layers = _NETWORKS[self.network]
    shift, scale = (self.param(name, nn.initializers.ones, (3,)) for name in ("shift", "scale"))
    z = (jnp.concatenate([x_BxHxWx3, y_BxHxWx3]) - shift) / scale
    apart = jnp.zeros(len(x_BxHxWx3))
    for i, (is_pooled, convolutions) in enumerate(layers):
      z = nn.max_pool(z, (pool, pool), (2, 2)) if is_pooled else z
      for index, width, side, stride, padding in convolutions:
        padded = [(padding, padding)] * 2
        z = nn.relu(nn.Conv(width, (side, side), stride, padded, name=f"slice{i + 1}_{index}")(z))
      length = jnp.sqrt((z**2).sum(-1, keepdims=True)) + _EPSILON
      u, v = jnp.split(z / length, 2)
      weight_C = self.param(f"lin{i}", nn.initializers.ones, z.shape[-1:])
      apart += ((u - v) ** 2 @ weight_C).mean((1, 2))
    return apart


def check_size(height: int, width: int) -> None:
  if min(height, width) < LEAST:
    raise UserError(
      f"LPIPS: pictures of {height} x {width} pixels are below {LEAST}, where its last layers see mostly padding; resize them, or leave it out"
    )
