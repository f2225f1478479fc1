"""RandAugment (Cubuk et al. 2020) in timm's `rand-m9-mstd0.5-inc1`, as DeiT has it, for a whole batch on the device.

Two operations a picture, each done with probability one half. Colour operations are done as they are drawn; what turns,
shears or shifts is gathered into one matrix, and the picture is interpolated once. Pictures are in 0..1.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

Array = jax.Array
_COLOURS = (
  "autocontrast", "equalize", "invert", "posterize", "solarize", "solarize_add", "colour", "contrast", "brightness",
  "sharpness",
)  # fmt: skip
_MOVES = ("rotate", "shear_x", "shear_y", "shift_x", "shift_y")
OPERATIONS = (*_COLOURS, *_MOVES)


def apply(key: Array, x_BxSxSx3: Array, magnitude: float, operations: int = 2) -> Array:
  """`magnitude` of 10 is drawn with a spread of 0.5."""
  x, side, b = x_BxSxSx3, x_BxSxSx3.shape[1], len(x_BxSxSx3)
  matrix_Bx2x2, shift_Bx2 = jnp.broadcast_to(jnp.eye(2), (b, 2, 2)), jnp.zeros((b, 2))
  for of_layer in jax.random.split(key, operations):
    of_kind, of_level, of_sign, of_use = jax.random.split(of_layer, 4)
    level_B = jnp.clip(magnitude + 0.5 * jax.random.normal(of_level, (b,)), 0, 10) / 10
    sign_B = jax.random.rademacher(of_sign, (b,), jnp.float32)
    kind_B = jax.random.randint(of_kind, (b,), 0, len(OPERATIONS))
    kind_B = jnp.where(jax.random.bernoulli(of_use, 0.5, (b,)), kind_B, -1)
    x = jax.vmap(_colour)(x, kind_B, level_B, sign_B)
    moved, shifted = jax.vmap(_move)(kind_B - len(_COLOURS), level_B * sign_B)
    matrix_Bx2x2 = jnp.einsum("bij,bjk->bik", matrix_Bx2x2, moved, precision="highest")
    shift_Bx2 += shifted * side
  return warp(x, matrix_Bx2x2, shift_Bx2)


def _colour(x: Array, kind: Array, level: Array, sign: Array) -> Array:
  factor = 1 + 0.9 * level * sign  # timm's "increasing" enhancements
  bits = 4 - jnp.floor(4 * level)
  done = (
    autocontrast(x),
    equalize(x),
    1 - x,
    _posterize(x, bits),
    solarize(x, 1 - level),
    jnp.where(x < 0.5, jnp.clip(x + level * 110 / 255, 0, 1), x),
    lerp(grey(x), x, factor),
    lerp(grey(x).mean(), x, factor),
    lerp(jnp.zeros(()), x, factor),
    lerp(_smooth(x), x, factor),
  )
  for i, changed in enumerate(done):
    x = jnp.where(kind == i, changed, x)
  return x


def _move(kind: Array, level: Array) -> tuple[Array, Array]:
  """(matrix, shift in shares of the side) in (row, column)."""
  turn, shear = level * jnp.pi / 6, 0.3 * level
  zero, one = jnp.zeros_like(level), jnp.ones_like(level)
  still = jnp.eye(2)
  matrices = (
    jnp.array([[jnp.cos(turn), -jnp.sin(turn)], [jnp.sin(turn), jnp.cos(turn)]]),
    jnp.array([[one, zero], [shear, one]]),
    jnp.array([[one, shear], [zero, one]]),
    still,
    still,
  )
  matrix, shift = still, jnp.zeros(2)
  for i, candidate in enumerate(matrices):
    matrix = jnp.where(kind == i, candidate, matrix)
  shift = jnp.where(kind == 3, jnp.array([0.0, 0.45]) * level, shift)
  shift = jnp.where(kind == 4, jnp.array([0.45, 0.0]) * level, shift)
  return matrix, shift


def warp(
  x_BxSxSx3: Array, matrix_Bx2x2: Array, shift_Bx2: Array, field_BxSxSx2: Array | None = None
) -> Array:
  """Each pixel is read where matrix (about the centre), shift and field, in (row, column), send it: bilinear, edges go on."""
  side = x_BxSxSx3.shape[1]
  centre = (side - 1) / 2
  at_SxSx2 = jnp.stack(jnp.meshgrid(*[jnp.arange(side) - centre] * 2, indexing="ij"), -1)
  to = jnp.einsum("bij,xyj->bxyi", matrix_Bx2x2, at_SxSx2, precision="highest")
  to += shift_Bx2[:, None, None] + centre
  if field_BxSxSx2 is not None:
    to += field_BxSxSx2
  to = jnp.clip(to, 0, side - 1)
  low = jnp.clip(jnp.floor(to).astype(jnp.int32), 0, max(side - 2, 0))
  share = (to - low)[..., None, :]

  def read(x: Array, low: Array, share: Array) -> Array:
    row, column = low[..., 0], low[..., 1]
    top = lerp(x[row, column], x[row, column + 1], share[..., 1], clip=False)
    bottom = lerp(x[row + 1, column], x[row + 1, column + 1], share[..., 1], clip=False)
    return lerp(top, bottom, share[..., 0], clip=False)

  return jax.vmap(read)(x_BxSxSx3, low, share)


def lerp(a: Array, b: Array, share_of_b: Array, clip: bool = True) -> Array:
  """From a to b, and beyond."""
  mixed = a + (b - a) * share_of_b
  return jnp.clip(mixed, 0, 1) if clip else mixed


def grey(x: Array) -> Array:
  return (x * jnp.array([0.299, 0.587, 0.114])).sum(-1, keepdims=True)


def autocontrast(x_SxSx3: Array) -> Array:
  """Each channel's least becomes 0, its greatest 1."""
  low, high = x_SxSx3.min((0, 1)), x_SxSx3.max((0, 1))
  return jnp.where(high > low, (x_SxSx3 - low) / jnp.maximum(high - low, 1e-6), x_SxSx3)


def equalize(x_SxSx3: Array) -> Array:
  """Each channel's 256 levels become equally frequent, as PIL counts."""

  def one(channel_SxS: Array) -> Array:
    level = jnp.round(channel_SxS * 255).astype(jnp.int32)
    count_256 = jnp.zeros(256, jnp.int32).at[level].add(1)
    last = count_256[255 - jnp.argmax(count_256[::-1] > 0)]
    step = (count_256.sum() - last) // 255
    before = jnp.cumsum(count_256) - count_256
    table = jnp.clip((before + step // 2) // jnp.maximum(step, 1), 0, 255)
    return jnp.where(step == 0, channel_SxS, table[level] / 255.0)

  return jax.vmap(one, in_axes=-1, out_axes=-1)(x_SxSx3)


def solarize(x: Array, threshold: Array) -> Array:
  return jnp.where(x < threshold, x, 1 - x)


def _posterize(x: Array, bits: Array) -> Array:
  step = 2.0 ** (8 - bits)
  return jnp.floor(jnp.round(x * 255) / step) * step / 255


def _smooth(x_SxSx3: Array) -> Array:
  """PIL's: a 3x3 mean that weighs the middle by 5; the rim stays."""
  middle = x_SxSx3[1:-1, 1:-1]
  n = x_SxSx3.shape[0]
  total = sum(x_SxSx3[i : n - 2 + i, j : n - 2 + j] for i in range(3) for j in range(3))
  return x_SxSx3.at[1:-1, 1:-1].set((total + 4 * middle) / 13)
