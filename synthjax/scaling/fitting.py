"""A law's fit to points: the summed Huber loss of log residuals, by L-BFGS-B from a grid of starts.

The residual is log law - log y. Huber's delta says from which residual on it counts linearly: by default the median spread of
seeds, or 1e-3 (Hoffmann et al. 2022) with one seed. The loss is divided by delta^2, for L-BFGS-B's tolerances are absolute
below 1: averaged or unscaled losses of 1e-6 end it before it has begun (Besiroglu et al. 2024).

`refine` is the same minimum by Gauss-Newton with Huber's weights, for many weightings at once: the last digits of a fit, and
the thousands of fits of a bootstrap or a profile, each from where the fit ended. tests/scaling compares the two.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy import optimize

from synthjax.runtime.errors import UserError
from synthjax.scaling.laws import Law
from synthjax.scaling.points import Points

Array = np.ndarray
DELTA_OF_ONE_SEED = 1e-3
_BEST_STARTS = 4  # of the grid, from which L-BFGS-B runs
MORE = 2  # points beyond the parameters


@dataclasses.dataclass(frozen=True)
class Fit:
  """A law on some points. `theta` are the parameters as fitted, for sizes as given."""

  law: Law
  points: Points
  theta: Array
  delta: float
  loss: float  # summed Huber loss over delta^2

  @property
  def values(self) -> dict[str, float]:
    return dict(zip(self.law.names, self.law.natural(self.theta).tolist(), strict=True))

  @property
  def residuals(self) -> Array:
    return self.law.log_value(self.theta, self.points.logs_MxV) - self.points.log_y

  @property
  def rmse(self) -> float:
    """Of log y."""
    return float(np.sqrt(np.mean(self.residuals**2)))

  @property
  def r2(self) -> float:
    """Of log y; shown, and never what decides between laws: a law with a parameter more always has more of it."""
    around = self.points.log_y - self.points.log_y.mean()
    return float(1 - np.sum(self.residuals**2) / max(np.sum(around**2), 1e-300))

  def predict(self, sizes: Array) -> Array:
    """y at sizes (M,) or (M, V)."""
    logs = np.log(np.asarray(sizes, np.float64))
    return np.exp(self.law.log_value(self.theta, logs[:, None] if logs.ndim == 1 else logs))


def why_not(law: Law, data: Points) -> str:
  """What makes these points too few for this law; "" where they are enough."""
  n, needed = len(data.sizes), len(law.parameters) + MORE
  if data.logs_MxV.shape[1] < law.columns:
    return f"{data.name}: law {law.name} needs the column of N; name it with --n"
  if n < needed:
    return f"{data.name}: {'1 size is' if n == 1 else f'{n} sizes are'} too few for law {law.name}, which has {len(law.parameters)} parameters and needs {needed}; measure more"
  for column, letter in zip(range(law.columns), "DN", strict=False):
    if data.decades(column) < 1 - 1e-9:
      return f"{data.name}: {letter} spans {data.decades(column):.2g} decades, and law {law.name} needs one; measure smaller or larger sizes"
  return ""


def default_delta(data: Points) -> float:
  return data.spread_of_seeds() or DELTA_OF_ONE_SEED


def fit(law: Law, data: Points, delta: float | None = None) -> Fit:
  """Refused with too few sizes, or too narrow a range of them."""
  if why := why_not(law, data):
    raise UserError(why)
  if delta is not None and not (np.isfinite(delta) and delta > 0):
    raise UserError(f"delta is {delta:g}; Huber's delta is a positive number of log units, such as 0.001")
  return fit_unchecked(law, data, default_delta(data) if delta is None else delta)


def fit_unchecked(law: Law, data: Points, delta: float) -> Fit:
  centre = data.logs_MxV.mean(axis=0)
  logs = data.logs_MxV - centre
  bounds = law.bounds(logs, data.log_y)
  starts = np.clip(law.starts(logs, data.log_y), bounds[:, 0], bounds[:, 1])

  def loss(theta: Array) -> tuple[float, Array]:
    value, gradient = law.evaluate(theta, logs)
    scaled = (value - data.log_y) / delta
    return float(huber(scaled).sum()), np.clip(scaled, -1, 1) @ gradient / delta

  first = huber((law.log_value(starts, logs) - data.log_y) / delta).sum(axis=-1)
  ends = np.stack(
    [
      optimize.minimize(
        loss,
        starts[i],
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": 500, "ftol": 1e-12, "gtol": 1e-8},
      ).x
      for i in np.argsort(first, kind="stable")[:_BEST_STARTS]
    ]
  )
  weights = np.ones((len(ends), len(logs)))
  ends, losses = refine(law, logs, data.log_y, weights, delta, ends, bounds)
  best = int(np.argmin(losses))
  return Fit(law, data, law.moved(ends[best], centre), delta, float(losses[best]))


def huber(scaled: Array) -> Array:
  """Of residuals over delta."""
  size = np.abs(scaled)
  return np.where(size <= 1, 0.5 * size**2, size - 0.5)


def refine(
  law: Law,
  logs_MxV: Array,
  log_y: Array,  # (M,) or (R, M)
  weights_RxM: Array,
  delta: float,
  theta_RxP: Array,
  bounds: Array,  # (P, 2) or (R, P, 2); a parameter whose bounds are equal is held
  iterations: int = 60,
) -> tuple[Array, Array]:
  """(parameters (R, P), losses (R,)) by Levenberg and Marquardt, all R side by side; sizes are centred."""
  low, high = (np.broadcast_to(b, theta_RxP.shape) for b in (bounds[..., 0], bounds[..., 1]))
  theta = np.clip(theta_RxP, low, high)
  log_y = np.broadcast_to(log_y, weights_RxM.shape)
  sizes, where = np.unique(logs_MxV, axis=0, return_inverse=True)  # seeds share the law's values
  where = where.ravel()
  of_size = (where[:, None] == np.arange(len(sizes))).astype(np.float64)
  damping = np.full(len(theta), 1e-3)

  def look(theta: Array, rows: Array) -> tuple[Array, Array, Array]:
    value, gradient = law.evaluate(theta, sizes)
    scaled = (value[:, where] - log_y[rows]) / delta
    return (huber(scaled) * weights_RxM[rows]).sum(axis=-1), scaled, gradient / delta

  todo = np.arange(len(theta))
  losses, scaled, gradient = look(theta, todo)
  for _ in range(iterations):
    pull = weights_RxM[todo] / np.maximum(np.abs(scaled), 1.0)  # Huber's weights
    down = (((pull * scaled) @ of_size)[:, None, :] @ gradient)[:, 0]
    held = ((theta[todo] <= low[todo]) & (down >= 0)) | ((theta[todo] >= high[todo]) & (down <= 0))
    hessian = np.swapaxes(gradient * (pull @ of_size)[:, :, None], 1, 2) @ gradient
    hessian = np.where(held[:, :, None] | held[:, None, :], 0.0, hessian)
    diagonal = np.einsum("rpp->rp", hessian)
    scale = np.maximum(diagonal, 1e-9 * np.maximum(diagonal.max(axis=1, keepdims=True), 1e-9))
    np.einsum("rpp->rp", hessian)[:] += damping[todo, None] * scale + held
    move = -np.linalg.solve(hessian, np.where(held, 0.0, down)[:, :, None])[:, :, 0]
    tried = np.clip(theta[todo] + np.clip(move, -2.0, 2.0), low[todo], high[todo])
    new, new_scaled, new_gradient = look(tried, todo)
    better = new <= losses[todo]
    gain = losses[todo] - new
    change = np.abs(tried - theta[todo]).max(axis=1)
    theta[todo[better]], losses[todo[better]] = tried[better], new[better]
    damping[todo] = np.where(better, np.maximum(damping[todo] / 8, 1e-9), damping[todo] * 6)
    scaled = np.where(better[:, None], new_scaled, scaled)
    gradient = np.where(better[:, None, None], new_gradient, gradient)
    small = (change < 1e-9) | (better & (gain <= 1e-11 * (1 + new)))
    going = ~(small | (damping[todo] > 1e8))
    todo, scaled, gradient = todo[going], scaled[going], gradient[going]
    if not len(todo):
      break
  return theta, losses
