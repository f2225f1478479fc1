"""The laws by which an error or a loss falls with the number of images: values and gradients in log space.

power   y = a D^-k
floor   y = a D^-k + c
broken  y = b D^-k0 (1 + (D / d)^(1/f))^(-k1 f) + c     Caballero et al. (2023) with one break: from k0 to k0 + k1 at d
joint   y = a N^-alpha + b D^-beta + e                  Hoffmann et al. (2022): N parameters, D images

Positive quantities are fitted as their logarithms and sums as log-sum-exp, so that nothing under- or overflows. Arrays of
parameters are (..., P) and of sizes (M, V): logarithms of D, and of N in the second column of `joint`.

A fit runs on sizes divided by their geometric mean, where a and k are nearly uncorrelated; `Law.moved` undoes that.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping

import numpy as np

Array = np.ndarray
ZERO = (
  12.0  # a floor e^12 times below the smallest value is 0: the last bit of no measured curve depends on it
)
_STEEPEST = 6.0


@dataclasses.dataclass(frozen=True)
class Law:
  """A law's name and formula, its parameters as fitted, and what a fit needs of it.

  `evaluate` gives (log y (..., M), its gradient (..., M, P)); `bounds` (P, 2) and `starts` (S, P) are of centred sizes.
  """

  name: str
  formula: str
  parameters: tuple[str, ...]  # log_x is fitted for x
  evaluate: Callable[[Array, Array], tuple[Array, Array]]
  bounds: Callable[[Array, Array], Array]
  starts: Callable[[Array, Array], Array]
  moves: tuple[tuple[int, int, int, float], ...]  # (parameter, column, of parameter, sign): see `moved`
  floor: int | None = None  # the parameter that is what no number of images gets below
  columns: int = 1

  @property
  def names(self) -> tuple[str, ...]:
    return tuple(p.removeprefix("log_") for p in self.parameters)

  def log_value(self, theta: Array, logs_MxV: Array) -> Array:
    return self.evaluate(theta, logs_MxV)[0]

  def natural(self, theta: Array) -> Array:
    """The parameters as the formula has them."""
    is_log = np.array([p.startswith("log_") for p in self.parameters])
    return np.where(is_log, np.exp(np.where(is_log, theta, 0.0)), theta)

  def moved(self, theta: Array, centre_V: Array) -> Array:
    """Parameters for sizes, from those for sizes whose logarithms had `centre` taken off."""
    out = np.array(theta, np.float64)
    for parameter, column, exponent, sign in self.moves:
      out[..., parameter] += sign * centre_V[column] * (1.0 if exponent < 0 else theta[..., exponent])
    return out


def _power(theta: Array, logs_MxV: Array) -> tuple[Array, Array]:
  x = logs_MxV[:, 0]
  value = theta[..., :1] - theta[..., 1:2] * x
  return value, np.stack([np.ones_like(value), np.broadcast_to(-x, value.shape)], axis=-1)


def _floor(theta: Array, logs_MxV: Array) -> tuple[Array, Array]:
  x = logs_MxV[:, 0]
  falling, floor = theta[..., :1] - theta[..., 1:2] * x, theta[..., 2:3]
  value = np.logaddexp(falling, floor)
  share = np.exp(falling - value)
  return value, np.stack([share, -share * x, 1 - share], axis=-1)


def _broken(theta: Array, logs_MxV: Array) -> tuple[Array, Array]:
  x = logs_MxV[:, 0]
  log_b, k0, k1, log_d, log_f, log_c = (theta[..., i : i + 1] for i in range(6))
  f = np.exp(log_f)
  u = (x - log_d) / f
  bend = np.logaddexp(0.0, u)  # log (1 + e^u)
  after = np.exp(np.minimum(u, 0.0) - np.logaddexp(0.0, -np.abs(u)))  # the logistic function of u
  falling = log_b - k0 * x - k1 * f * bend
  value = np.logaddexp(falling, log_c)
  share = np.exp(falling - value)
  gradients = [
    share,
    -share * x,
    -share * f * bend,
    share * k1 * after,
    -share * k1 * f * (bend - u * after),
    1 - share,
  ]
  return value, np.stack(gradients, axis=-1)


def _joint(theta: Array, logs_MxV: Array) -> tuple[Array, Array]:
  images, network = logs_MxV[:, 0], logs_MxV[:, 1]
  of_network = theta[..., 0:1] - theta[..., 1:2] * network
  of_images = theta[..., 2:3] - theta[..., 3:4] * images
  value = np.logaddexp(np.logaddexp(of_network, of_images), theta[..., 4:5])
  a, b = np.exp(of_network - value), np.exp(of_images - value)
  return value, np.stack([a, -a * network, b, -b * images, 1 - a - b], axis=-1)


def _range(log_y: Array) -> tuple[float, float]:
  return float(np.min(log_y)), float(np.max(log_y))


def _height(logs_MxV: Array, log_y: Array) -> tuple[float, float]:
  """Of a at the centre."""
  low, high = _range(log_y)
  return low - ZERO, high + _STEEPEST * float(np.max(np.abs(logs_MxV)))


def _bounds_power(logs_MxV: Array, log_y: Array) -> Array:
  return np.array([_height(logs_MxV, log_y), (-_STEEPEST, _STEEPEST)])


def _bounds_floor(logs_MxV: Array, log_y: Array) -> Array:
  low, high = _range(log_y)
  return np.array([_height(logs_MxV, log_y), (0.0, _STEEPEST), (low - ZERO, high)])


def _bounds_broken(logs_MxV: Array, log_y: Array) -> Array:
  (low, high), x = _range(log_y), logs_MxV[:, 0]
  inside = (float(x.min()), float(x.max()))  # a break outside of the sizes cannot be seen
  exponents = [(-_STEEPEST, _STEEPEST)] * 2
  return np.array(
    [_height(logs_MxV, log_y), *exponents, inside, (np.log(0.02), np.log(2.0)), (low - ZERO, high)]
  )


def _bounds_joint(logs_MxV: Array, log_y: Array) -> Array:
  low, high = _range(log_y)
  term = [_height(logs_MxV, log_y), (0.0, _STEEPEST)]
  return np.array([*term, *term, (low - ZERO, high)])


_EXPONENTS = (0.05, 0.2, 0.5, 1.0, 2.0)
_FLOORS = (1e-4, 0.3, 0.6, 0.85, 0.97)  # shares of the smallest value


def _starts_power(logs_MxV: Array, log_y: Array) -> Array:
  x = logs_MxV[:, 0]
  return np.array([(np.median(log_y + k * x), k) for k in (0.0, *_EXPONENTS)])


def _above(log_y: Array, log_c: float) -> Array:
  """log (y - c)"""
  return np.log(np.maximum(np.exp(log_y) - np.exp(log_c), 1e-3 * np.exp(log_y)))


def _starts_floor(logs_MxV: Array, log_y: Array) -> Array:
  x, low = logs_MxV[:, 0], _range(log_y)[0]
  floors = [low + np.log(share) for share in _FLOORS]
  return np.array([(np.median(_above(log_y, c) + k * x), k, c) for c in floors for k in _EXPONENTS])


def _starts_broken(logs_MxV: Array, log_y: Array) -> Array:
  x, low = logs_MxV[:, 0], _range(log_y)[0]
  found = []
  for place, k0, k1, log_f, share in itertools.product(
    (0.25, 0.5, 0.75), (0.05, 0.3, 0.8), (-0.3, 0.3, 1.0), (np.log(0.1), np.log(0.5)), (1e-4, 0.5, 0.9)
  ):
    log_d, log_c = float(np.quantile(x, place)), low + np.log(share)
    slope = k0 * x + k1 * np.exp(log_f) * np.logaddexp(0.0, (x - log_d) / np.exp(log_f))
    found.append((np.median(_above(log_y, log_c) + slope), k0, k1, log_d, log_f, log_c))
  return np.array(found)


def _starts_joint(logs_MxV: Array, log_y: Array) -> Array:
  low = _range(log_y)[0]
  exponents = (0.1, 0.3, 0.6, 1.0)
  found = []
  for alpha, beta, share in itertools.product(exponents, exponents, (1e-4, 0.4, 0.8)):
    log_e = low + np.log(share)
    half = float(np.median(_above(log_y, log_e))) - np.log(2.0)
    found.append((half, alpha, half, beta, log_e))
  return np.array(found)


POWER = Law("power", "a D^-k", ("log_a", "k"), _power, _bounds_power, _starts_power, moves=((0, 0, 1, 1.0),))
FLOOR = Law(
  "floor",
  "a D^-k + c",
  ("log_a", "k", "log_c"),
  _floor,
  _bounds_floor,
  _starts_floor,
  moves=((0, 0, 1, 1.0),),
  floor=2,
)
BROKEN = Law(
  "broken",
  "b D^-k0 (1 + (D/d)^(1/f))^(-k1 f) + c",
  ("log_b", "k0", "k1", "log_d", "log_f", "log_c"),
  _broken,
  _bounds_broken,
  _starts_broken,
  moves=((0, 0, 1, 1.0), (3, 0, -1, 1.0)),
  floor=5,
)
JOINT = Law(
  "joint",
  "a N^-alpha + b D^-beta + e",
  ("log_a", "alpha", "log_b", "beta", "log_e"),
  _joint,
  _bounds_joint,
  _starts_joint,
  moves=((0, 1, 1, 1.0), (2, 0, 3, 1.0)),
  floor=4,
  columns=2,
)
LAWS: Mapping[str, Law] = {law.name: law for law in (POWER, FLOOR, BROKEN, JOINT)}
