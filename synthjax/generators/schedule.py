"""How a checkpoint was trained to be noised, from its scheduler_config.json.

The file's `_class_name` chooses nothing: which sampler runs is the study's to say.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from synthjax.errors import UserError, nearest

SPACINGS = ("leading", "trailing", "linspace")
# What would change the trajectory, and is not done.
_NOT_DONE = (
  "thresholding",
  "rescale_betas_zero_snr",  # guidance on epsilon is undefined at SNR 0
  "use_karras_sigmas",
  "use_exponential_sigmas",
  "use_beta_sigmas",
  "use_flow_sigmas",
  "use_lu_lambdas",
)


@dataclasses.dataclass(frozen=True)
class Schedule:
  alpha_bar: np.ndarray  # [training steps], float64
  final_alpha_bar: float  # at the end of DDIM, beyond training step 0
  prediction: str  # what the network predicts: epsilon, v_prediction or sample
  spacing: str  # leading, trailing, linspace; "" = not said: each sampler has a custom of its own
  offset: int
  clip: float  # x0 is clipped to +-clip; 0 = not
  distilled_steps: int = 50  # of a latent consistency model: its few steps are a subset of so many

  @property
  def trained_steps(self) -> int:
    return len(self.alpha_bar)

  @property
  def sigmas(self) -> np.ndarray:
    """Noise over signal, by training step."""
    return np.sqrt((1 - self.alpha_bar) / self.alpha_bar)


def read_schedule(config: dict[str, Any]) -> Schedule:
  """What the file asks for and we do not do is refused, not ignored."""
  for asked in _NOT_DONE:
    if config.get(asked):
      raise UserError(
        f"scheduler_config.json asks for {asked}, which is not supported; set it to false to do without"
      )
  alpha_bar = np.cumprod(1.0 - _betas(config, config.get("num_train_timesteps", 1000)))
  return Schedule(
    alpha_bar=alpha_bar,
    final_alpha_bar=1.0 if config.get("set_alpha_to_one", True) else float(alpha_bar[0]),
    prediction=_one_of(config, "prediction_type", "epsilon", ("epsilon", "v_prediction", "sample")),
    spacing=_one_of(config, "timestep_spacing", "", ("", *SPACINGS)),
    offset=config.get("steps_offset", 0),
    clip=config.get("clip_sample_range", 1.0) if config.get("clip_sample", _clips(config)) else 0.0,
    distilled_steps=config.get("original_inference_steps", 50),
  )


def _clips(config: dict[str, Any]) -> bool:
  """Only DDIM's and DDPM's files clip where they do not say so."""
  return config.get("_class_name", "DDIMScheduler") in ("DDIMScheduler", "DDPMScheduler")


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
