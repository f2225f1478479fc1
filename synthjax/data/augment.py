"""Augmentation on the device, as pure functions of (key, batch): nothing waits for the host, and a step's draw is its key's.

Pictures are float32 [B, S, S, 3] in 0..1 until `normalise`. Every draw is per example, so a global batch is augmented
alike however it is split over devices. What mixes two pictures (mixup, cutmix) pairs them inside their domain.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from synthjax.data import randaugment
from synthjax.data.randaugment import grey, lerp, warp

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class Augment:
  """What is drawn for a training picture; the defaults do nothing."""

  size: int = 0  # pixels a side of the result; 0 = as given
  crop: float = 1.0  # random resized crop: the least share of the area, 1 = off
  flip: bool = False
  jitter: float = 0.0  # of brightness, contrast and saturation
  hue: float = 0.0  # share of the colour circle; MoCo v2: 0.1
  grey: float = 0.0  # probability; MoCo v2: 0.2
  blur: float = 0.0  # probability of a Gaussian of 0.1 to 2 pixels; MoCo v2: 0.5
  randaugment: float = 0.0  # magnitude of two operations, 0 to 10; DeiT: 9
  rotate: float = 0.0  # degrees
  shift: float = 0.0  # share of the side
  stretch: float = 0.0  # of each axis, log2
  shear: float = 0.0
  elastic: float = 0.0  # pixels that a smooth random field moves things by
  erasing: float = 0.0  # probability
  mixup: float = 0.0  # alpha of the Beta distribution
  cutmix: float = 0.0  # likewise; with both, half the batches each

  @property
  def mixes(self) -> bool:
    return self.mixup > 0 or self.cutmix > 0


def pictures(config: Augment, key: Array, pixels_BxSxSx3: Array) -> Array:
  """All that is done to a picture on its own, but erasing: 8-bit to 0..1."""
  x, keys = pixels_BxSxSx3 / 255.0, jax.random.split(key, 8)
  if config.crop < 1 or config.size not in (0, x.shape[1]):
    x = resized_crop(keys[0], x, config.crop, config.size)
  if config.flip:
    x = jnp.where(jax.random.bernoulli(keys[1], 0.5, (len(x), 1, 1, 1)), x[:, :, ::-1], x)
  if config.jitter:
    x = colour_jitter(keys[2], x, config.jitter)
  if config.hue:
    x = turn_hue(x, jax.random.uniform(keys[5], (len(x), 1, 1), minval=-config.hue, maxval=config.hue))
  if config.grey:
    x = jnp.where(jax.random.bernoulli(keys[6], config.grey, (len(x), 1, 1, 1)), grey(x), x)
  if config.blur:
    of_use, of_sigma = jax.random.split(keys[7])
    smooth = blurred(x, jax.random.uniform(of_sigma, (len(x),), minval=0.1, maxval=2.0))
    x = jnp.where(jax.random.bernoulli(of_use, config.blur, (len(x), 1, 1, 1)), smooth, x)
  if config.randaugment:
    x = randaugment.apply(keys[3], x, config.randaugment)
  if config.rotate or config.shift or config.stretch or config.shear or config.elastic:
    x = deform(keys[4], x, config)
  return x


def resized_crop(key: Array, x_BxSxSx3: Array, least: float, size: int = 0) -> Array:
  """A window of `least` to all of the area, aspect 3/4 to 4/3, made one size: two small matrix products each."""
  b, side = x_BxSxSx3.shape[:2]
  size = size or side
  of_area, of_aspect, of_place = jax.random.split(key, 3)
  area = jax.random.uniform(of_area, (b, 1), minval=least, maxval=1.0)
  half_log = jax.random.uniform(of_aspect, (b, 1), minval=-0.5, maxval=0.5) * jnp.log(4 / 3)
  share_Bx2 = jnp.minimum(jnp.sqrt(area) * jnp.exp(jnp.concatenate([half_log, -half_log], 1)), 1.0)
  start_Bx2 = jax.random.uniform(of_place, (b, 2)) * (1 - share_Bx2) * side

  def cut(x: Array, share_2: Array, start_2: Array) -> Array:
    scale_2 = size / (share_2 * side)
    return jax.image.scale_and_translate(
      x, (size, size, 3), (0, 1), scale_2, -start_2 * scale_2, "linear", antialias=True
    )

  return jax.vmap(cut)(x_BxSxSx3, share_Bx2, start_Bx2)


def colour_jitter(key: Array, x_BxSxSx3: Array, strength: float) -> Array:
  """Brightness, contrast and saturation, each by a factor of 1 - strength to 1 + strength."""
  factors_3xB = jax.random.uniform(
    key, (3, len(x_BxSxSx3), 1, 1, 1), minval=max(0.0, 1 - strength), maxval=1 + strength
  )
  x = jnp.clip(x_BxSxSx3 * factors_3xB[0], 0, 1)
  x = lerp(grey(x).mean((1, 2, 3), keepdims=True), x, factors_3xB[1])
  return lerp(grey(x), x, factors_3xB[2])


def turn_hue(x_BxSxSx3: Array, turn_Bx1x1: Array) -> Array:
  """The hue of HSV goes so far round the circle; its saturation and value stay."""
  red, green, blue = jnp.moveaxis(x_BxSxSx3, -1, 0)
  high, span = x_BxSxSx3.max(-1), jnp.ptp(x_BxSxSx3, -1)
  by = 1 / jnp.maximum(span, 1e-6)
  of_red, of_green, of_blue = (green - blue) * by, (blue - red) * by + 2, (red - green) * by + 4
  hue = jnp.where(high == red, of_red, jnp.where(high == green, of_green, of_blue)) + 6 * turn_Bx1x1
  place = (jnp.array([5.0, 3.0, 1.0]) + hue[..., None]) % 6
  return high[..., None] - span[..., None] * jnp.clip(jnp.minimum(place, 4 - place), 0, 1)


def blurred(x_BxSxSx3: Array, sigma_B: Array) -> Array:
  """By a Gaussian of so many pixels, up to 2, along both axes; beyond the edge its last pixels go on."""
  radius, side = 6, x_BxSxSx3.shape[1]
  weight_TxB = jnp.exp(-((jnp.arange(-radius, radius + 1)[:, None] / sigma_B) ** 2) / 2)
  weight_TxB /= weight_TxB.sum(0)
  for axis in (1, 2):
    wide = jnp.pad(x_BxSxSx3, [(radius, radius) if a == axis else (0, 0) for a in range(4)], "edge")
    parts = [jax.lax.slice_in_dim(wide, t, t + side, axis=axis) for t in range(2 * radius + 1)]
    blended = sum(w[:, None, None, None] * part for w, part in zip(weight_TxB, parts, strict=True))
    assert not isinstance(blended, int)  # there are taps
    x_BxSxSx3 = blended
  return x_BxSxSx3


def deform(key: Array, x_BxSxSx3: Array, config: Augment) -> Array:
  """Turned, shifted, stretched, sheared and bent, by one interpolation; beyond the edge its last pixels go on."""
  b, side = x_BxSxSx3.shape[:2]
  keys = jax.random.split(key, 5)

  def within(i: int, size: float, n: int) -> Array:
    return jax.random.uniform(keys[i], (b, n), minval=-size, maxval=size)

  turn_B, shear_B = within(0, config.rotate, 1)[:, 0] * jnp.pi / 180, within(3, config.shear, 1)[:, 0]
  scale_Bx2, shift_Bx2 = 2.0 ** within(2, config.stretch, 2), within(1, config.shift, 2) * side
  cos, sin = jnp.cos(turn_B), jnp.sin(turn_B)
  rows = (jnp.stack([cos, -sin], -1), jnp.stack([sin + shear_B * cos, cos - shear_B * sin], -1))
  matrix_Bx2x2 = jnp.stack(rows, 1) * scale_Bx2[:, :, None]
  field = None
  if config.elastic:
    coarse = jax.random.normal(keys[4], (b, 4, 4, 2)) * config.elastic
    field = jax.image.resize(coarse, (b, side, side, 2), "cubic")
  return warp(x_BxSxSx3, matrix_Bx2x2, shift_Bx2, field)


def erase(key: Array, x_BxSxSx3: Array, probability: float) -> Array:
  """A rectangle of 2 to 33 % of the area is replaced by normal noise (Zhong et al. 2020): for normalised pictures."""
  b, side = x_BxSxSx3.shape[:2]
  keys = jax.random.split(key, 5)
  area = jax.random.uniform(keys[0], (b, 1), minval=0.02, maxval=1 / 3)
  half_log = jax.random.uniform(keys[1], (b, 1), minval=-0.5, maxval=0.5) * jnp.log(1 / 0.3)
  share_Bx2 = jnp.minimum(jnp.sqrt(area) * jnp.exp(jnp.concatenate([half_log, -half_log], 1)), 1.0)
  inside = _box(share_Bx2, jax.random.uniform(keys[2], (b, 2)) * (1 - share_Bx2), side)
  inside &= jax.random.bernoulli(keys[3], probability, (b, 1, 1, 1))
  return jnp.where(inside, jax.random.normal(keys[4], x_BxSxSx3.shape), x_BxSxSx3)


def mix(
  config: Augment, key: Array, x_BxSxSx3: Array, targets_BxK: Array, domain_B: Array
) -> tuple[Array, Array]:
  """Mixup (Zhang et al. 2018) or cutmix (Yun et al. 2019) of the whole batch, targets in the same shares."""
  of_choice, of_share, of_partner, of_place = jax.random.split(key, 4)
  partner_B = partners(of_partner, domain_B)
  cuts = jax.random.bernoulli(of_choice, 0.5) if config.mixup and config.cutmix else bool(config.cutmix)
  alpha = jnp.where(cuts, config.cutmix or 1.0, config.mixup or 1.0)
  share = jax.random.beta(of_share, alpha, alpha)  # of the picture itself
  other, side = x_BxSxSx3[partner_B], x_BxSxSx3.shape[1]
  size_2 = jnp.full((1, 2), jnp.sqrt(1 - share))
  centre_2 = jax.random.uniform(of_place, (1, 2))
  low, high = jnp.clip(centre_2 - size_2 / 2, 0, 1), jnp.clip(centre_2 + size_2 / 2, 0, 1)
  inside = _box(high - low, low, side)
  share = jnp.where(cuts, 1 - inside.mean(), share)
  mixed = jnp.where(cuts, jnp.where(inside, other, x_BxSxSx3), lerp(other, x_BxSxSx3, share, clip=False))
  return mixed, lerp(targets_BxK[partner_B], targets_BxK, share, clip=False)


def partners(key: Array, domain_B: Array) -> Array:
  """A random permutation that leaves no domain: two random orders of each domain, laid beside each other."""
  keys = jax.random.split(key)
  orders = [jnp.lexsort((jax.random.uniform(k, domain_B.shape), domain_B)) for k in keys]
  return jnp.zeros_like(orders[0]).at[orders[0]].set(orders[1])


def _box(share_Bx2: Array, start_Bx2: Array, side: int) -> Array:
  """[B, S, S, 1]: the pixels whose centres lie in a window, given in shares of the side."""
  at_S = (jnp.arange(side) + 0.5) / side
  within = [(at_S >= start_Bx2[:, i, None]) & (at_S < (start_Bx2 + share_Bx2)[:, i, None]) for i in (0, 1)]
  return (within[0][:, :, None] & within[1][:, None, :])[..., None]
