"""FID's Inception v3 (Szegedy et al. 2016), as its weights of 2015 want it: four sets of features, the last of which FID takes.

What sets it apart from torchvision's: averages over 3x3 do not count the padding, and the pool of the very last block is a
maximum. Modules have the names of the published PyTorch weights. Features are spatial means, after the stem's first pool (64),
after its second (192), after Mixed_6e (768) and after Mixed_7c (2048). The classifier of 1,008 classes is not computed.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from synthjax.models.norms import BatchNorm

Array = jax.Array
SIDE = 299  # pixels that it was trained on
WIDTHS = (64, 192, 768, 2048)
_Layer = tuple[str, int, tuple[int, int]]  # name, width, (height, width) of its kernel


class Conv(nn.Module):
  width: int
  kernel: tuple[int, int]
  stride: int = 1
  padded: bool = True

  @nn.compact
  def __call__(self, x: Array) -> Array:
    padding = [(side // 2, side // 2) if self.padded else (0, 0) for side in self.kernel]
    x = nn.Conv(self.width, self.kernel, self.stride, padding, use_bias=False, name="conv")(x)
    return nn.relu(BatchNorm(epsilon=1e-3, name="bn")(x, False))


def _chain(x: Array, layers: Sequence[_Layer], last_stride: int = 1) -> Array:
  """A stride is the last layer's, which then has no padding."""
  for i, (name, width, kernel) in enumerate(layers):
    strides = last_stride > 1 and i == len(layers) - 1
    x = Conv(width, kernel, last_stride if strides else 1, not strides, name=name)(x)
  return x


def _average(x: Array) -> Array:
  padding = [(1, 1), (1, 1)]
  return nn.avg_pool(x, (3, 3), padding=padding, count_include_pad=False)  # pyright: ignore[reportArgumentType]  flax gives it no type


def _maximum(x: Array) -> Array:
  return nn.max_pool(x, (3, 3), (2, 2))


class A(nn.Module):
  pool: int

  @nn.compact
  def __call__(self, x: Array) -> Array:
    double = [("branch3x3dbl_1", 64, (1, 1)), ("branch3x3dbl_2", 96, (3, 3)), ("branch3x3dbl_3", 96, (3, 3))]
    branches = [
      _chain(x, [("branch1x1", 64, (1, 1))]),
      _chain(x, [("branch5x5_1", 48, (1, 1)), ("branch5x5_2", 64, (5, 5))]),
      _chain(x, double),
      _chain(_average(x), [("branch_pool", self.pool, (1, 1))]),
    ]
    return jnp.concatenate(branches, axis=-1)


class B(nn.Module):
  @nn.compact
  def __call__(self, x: Array) -> Array:
    double = [("branch3x3dbl_1", 64, (1, 1)), ("branch3x3dbl_2", 96, (3, 3)), ("branch3x3dbl_3", 96, (3, 3))]
    branches = [_chain(x, [("branch3x3", 384, (3, 3))], 2), _chain(x, double, 2), _maximum(x)]
    return jnp.concatenate(branches, axis=-1)


class C(nn.Module):
  inner: int

  @nn.compact
  def __call__(self, x: Array) -> Array:
    narrow, across, down = self.inner, (1, 7), (7, 1)
    single = [("branch7x7_1", narrow, (1, 1)), ("branch7x7_2", narrow, across), ("branch7x7_3", 192, down)]
    double = [
      ("branch7x7dbl_1", narrow, (1, 1)),
      ("branch7x7dbl_2", narrow, down),
      ("branch7x7dbl_3", narrow, across),
      ("branch7x7dbl_4", narrow, down),
      ("branch7x7dbl_5", 192, across),
    ]
    branches = [
      _chain(x, [("branch1x1", 192, (1, 1))]),
      _chain(x, single),
      _chain(x, double),
      _chain(_average(x), [("branch_pool", 192, (1, 1))]),
    ]
    return jnp.concatenate(branches, axis=-1)


class D(nn.Module):
  @nn.compact
  def __call__(self, x: Array) -> Array:
    single = [("branch3x3_1", 192, (1, 1)), ("branch3x3_2", 320, (3, 3))]
    double = [
      ("branch7x7x3_1", 192, (1, 1)),
      ("branch7x7x3_2", 192, (1, 7)),
      ("branch7x7x3_3", 192, (7, 1)),
      ("branch7x7x3_4", 192, (3, 3)),
    ]
    return jnp.concatenate([_chain(x, single, 2), _chain(x, double, 2), _maximum(x)], axis=-1)


class E(nn.Module):
  is_last: bool

  @nn.compact
  def __call__(self, x: Array) -> Array:
    pooled = nn.max_pool(x, (3, 3), (1, 1), [(1, 1), (1, 1)]) if self.is_last else _average(x)  # pyright: ignore[reportArgumentType]  as above
    single = _chain(x, [("branch3x3_1", 384, (1, 1))])
    double = _chain(x, [("branch3x3dbl_1", 448, (1, 1)), ("branch3x3dbl_2", 384, (3, 3))])
    branches = [
      _chain(x, [("branch1x1", 320, (1, 1))]),
      _chain(single, [("branch3x3_2a", 384, (1, 3))]),
      _chain(single, [("branch3x3_2b", 384, (3, 1))]),
      _chain(double, [("branch3x3dbl_3a", 384, (1, 3))]),
      _chain(double, [("branch3x3dbl_3b", 384, (3, 1))]),
      _chain(pooled, [("branch_pool", 192, (1, 1))]),
    ]
    return jnp.concatenate(branches, axis=-1)


class Inception(nn.Module):
  @nn.compact
  def __call__(self, x_BxSxSx3: Array) -> tuple[Array, Array, Array, Array]:
    """Features [B, 64], [B, 192], [B, 768] and [B, 2048] of pictures in -1..1, at `SIDE` pixels as a rule."""
    x = Conv(32, (3, 3), 2, padded=False, name="Conv2d_1a_3x3")(x_BxSxSx3)
    x = Conv(32, (3, 3), padded=False, name="Conv2d_2a_3x3")(x)
    first = _maximum(Conv(64, (3, 3), name="Conv2d_2b_3x3")(x))
    x = Conv(80, (1, 1), name="Conv2d_3b_1x1")(first)
    second = _maximum(Conv(192, (3, 3), padded=False, name="Conv2d_4a_3x3")(x))
    x = second
    for name, pool in (("Mixed_5b", 32), ("Mixed_5c", 64), ("Mixed_5d", 64)):
      x = A(pool, name=name)(x)
    x = B(name="Mixed_6a")(x)
    for name, inner in (("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192)):
      x = C(inner, name=name)(x)
    third = x
    x = E(False, name="Mixed_7b")(D(name="Mixed_7a")(x))
    fourth = E(True, name="Mixed_7c")(x)
    one, two, three, four = (y.mean((1, 2)) for y in (first, second, third, fourth))
    return one, two, three, four


def resized(pixels_BxHxWx3: Array) -> Array:
  """Pictures in 0..1 as the network sees them, by PyTorch's bilinear without antialiasing, in -1..1.

  The first implementations of FID do this to pictures of any size; others hand it pictures that are `SIDE` pixels already,
  resized by an antialiased bicubic. Distances by the two do not compare.
  """
  shape = (pixels_BxHxWx3.shape[0], SIDE, SIDE, 3)
  return 2 * jax.image.resize(pixels_BxHxWx3, shape, "linear", antialias=False) - 1
