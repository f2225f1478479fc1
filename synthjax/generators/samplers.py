"""A sampler is a table of coefficients, computed once on the host, and one loop over it on the device.

The schedule comes from the checkpoint's scheduler_config.json. `guide` says how the predictions with and without
the prompt become one; classifier-free guidance is the usual one, and a learner may steer it later.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from synthjax.errors import UserError, nearest

Array = jax.Array
# guide(x_t, x0, eps_cond, eps_uncond, t, aux) -> eps; x0 is what eps_cond says of the clean latent.
Guide = Callable[[Array, Array, Array, Array, Array, Any], Array]


@dataclasses.dataclass(frozen=True)
class Schedule:
  """How a checkpoint was trained to be noised: alpha-bar by training step, and what its network predicts."""

  alpha_bar: np.ndarray  # [training steps], float64
  final_alpha_bar: float  # at the end of sampling, beyond training step 0
  prediction: str  # epsilon, v_prediction or sample
  spacing: str  # leading, trailing or linspace
  offset: int
  clip: float  # x0 is clipped to +-clip; 0 = not


def read_schedule(config: dict[str, Any]) -> Schedule:
  """From scheduler_config.json. What it asks for and we do not do is refused, not ignored."""
  steps = config.get("num_train_timesteps", 1000)
  betas = _betas(config, steps)
  alpha_bar = np.cumprod(1.0 - betas)
  for asked in (
    "thresholding",
    "rescale_betas_zero_snr",
  ):  # the latter: guidance on epsilon is undefined at SNR 0
    if config.get(asked):
      raise UserError(
        f"scheduler_config.json asks for {asked}, which is not supported; set it to false to do without"
      )
  prediction = _one_of(config, "prediction_type", "epsilon", ("epsilon", "v_prediction", "sample"))
  spacing = _one_of(config, "timestep_spacing", "leading", ("leading", "trailing", "linspace"))
  return Schedule(
    alpha_bar=alpha_bar,
    final_alpha_bar=1.0 if config.get("set_alpha_to_one", True) else float(alpha_bar[0]),
    prediction=prediction,
    spacing=spacing,
    offset=config.get("steps_offset", 0),
    clip=config.get("clip_sample_range", 1.0) if config.get("clip_sample", True) else 0.0,
  )


def _one_of(config: dict[str, Any], key: str, default: str, known: tuple[str, ...]) -> str:
  value = config.get(key, default)
  if value not in known:
    raise UserError(f"scheduler_config.json: {key} {value!r}{nearest(str(value), known)}")
  return value


def _betas(config: dict[str, Any], steps: int) -> np.ndarray:
  start, end = config.get("beta_start", 1e-4), config.get("beta_end", 0.02)
  if config.get("trained_betas") is not None:
    return np.asarray(config["trained_betas"], np.float64)
  kind = _one_of(config, "beta_schedule", "linear", ("linear", "scaled_linear", "squaredcos_cap_v2"))
  if kind == "linear":
    return np.linspace(start, end, steps)
  if kind == "scaled_linear":
    return np.linspace(start**0.5, end**0.5, steps) ** 2
  at = np.cos((np.arange(steps + 1) / steps + 0.008) / 1.008 * np.pi / 2) ** 2
  return np.minimum(1 - at[1:] / at[:-1], 0.999)


def ddim_table(schedule: Schedule, steps: int, eta: float) -> dict[str, np.ndarray]:
  """One row a step: at t, x0 from the prediction; then x at the step before t, with noise sigma."""
  trained = len(schedule.alpha_bar)
  if steps > trained:
    raise UserError(
      f"config.sampling.steps is {steps}, the generator was trained on {trained}; use at most {trained}"
    )
  t = _timesteps(schedule, steps)
  before = t - trained // steps
  a_t = schedule.alpha_bar[t]
  a_before = np.where(before >= 0, schedule.alpha_bar[np.maximum(before, 0)], schedule.final_alpha_bar)
  sigma = eta * np.sqrt(np.maximum((1 - a_before) / (1 - a_t) * (1 - a_t / a_before), 0))
  rows = {
    "signal": np.sqrt(a_t),
    "noise": np.sqrt(1 - a_t),
    "signal_next": np.sqrt(a_before),
    "direction": np.sqrt(np.maximum(1 - a_before - sigma**2, 0)),
    "sigma": sigma,
  }
  return {"t": t.astype(np.int32)} | {k: v.astype(np.float32) for k, v in rows.items()}


def _timesteps(schedule: Schedule, steps: int) -> np.ndarray:
  trained = len(schedule.alpha_bar)
  if schedule.spacing == "leading":
    t = np.arange(steps)[::-1] * (trained // steps) + schedule.offset
  elif schedule.spacing == "trailing":
    t = np.round(np.arange(trained, 0, -trained / steps)) - 1
  else:
    t = np.linspace(0, trained - 1, steps).round()[::-1]
  if t.max() >= trained:
    raise UserError(
      f"{steps} steps with steps_offset {schedule.offset} reach beyond the {trained} trained; use fewer steps"
    )
  return t.astype(np.int64)


def classifier_free(
  x_t: Array, x0: Array, eps_cond: Array, eps_uncond: Array, t: Array, guidance: Array
) -> Array:
  """Ho & Salimans; `guidance` is one number an image."""
  del x_t, x0, t
  scale = guidance.reshape(-1, *[1] * (eps_cond.ndim - 1))
  return eps_uncond + scale * (eps_cond - eps_uncond)


def sample(
  predict: Callable[[Array, Array], tuple[Array, Array | None]],
  table: dict[str, Array],
  x: Array,
  schedule: Schedule,
  *,
  fresh_noise: Callable[[Array], Array] | None = None,
  guide: Guide = classifier_free,
  aux: Any = None,
) -> Array:
  """From noise to a clean latent.

  `predict(x_t, t)` gives the network's output with the prompt and without it (None: sampled unguided).
  `fresh_noise(step)` is asked for where the table has a sigma (eta > 0).
  """

  def to_eps(output: Array, x_t: Array, row: dict[str, Array]) -> Array:
    if schedule.prediction == "v_prediction":
      return row["signal"] * output + row["noise"] * x_t
    if schedule.prediction == "sample":
      return (x_t - row["signal"] * output) / row["noise"]
    return output

  def to_x0(eps: Array, x_t: Array, row: dict[str, Array]) -> Array:
    return (x_t - row["noise"] * eps) / row["signal"]

  def step(i: Array, x_t: Array) -> Array:
    row = {k: v[i] for k, v in table.items()}
    output_cond, output_uncond = predict(x_t, row["t"])
    eps = to_eps(output_cond, x_t, row)
    if output_uncond is not None:
      eps_uncond = to_eps(output_uncond, x_t, row)
      eps = guide(x_t, to_x0(eps, x_t, row), eps, eps_uncond, row["t"], aux)
    x0 = to_x0(eps, x_t, row)
    if schedule.clip:
      x0 = jnp.clip(x0, -schedule.clip, schedule.clip)
    x_next = row["signal_next"] * x0 + row["direction"] * eps
    if fresh_noise is not None:
      x_next = x_next + row["sigma"] * fresh_noise(i)
    return x_next

  return jax.lax.fori_loop(0, table["t"].shape[0], step, x)
