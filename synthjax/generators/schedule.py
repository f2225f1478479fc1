"""How a checkpoint was trained to be noised, from its scheduler_config.json.

The file's `_class_name` chooses no sampler: which one runs is the study's to say. What it then reads of the file beside
the training's own facts is in `scheduler_keys.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from synthjax.generators import scheduler_keys
from synthjax.runtime.errors import UserError, nearest

SPACINGS = ("leading", "trailing", "linspace")
FILE = "scheduler_config.json"
_LEAST_ALPHA_BAR = 2.0**-24  # for samplers that divide by the signal: diffusers' choice
_MOST_STEPS = 10**6  # of a training: a table has a place for each
_COSINE = "squaredcos_cap_v2"
# What a class of diffusers takes betas to be where the file names none.
_BETAS = {"beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}
_BETAS_OF_LATENTS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


@dataclasses.dataclass(frozen=True)
class Schedule:
  alpha_bar: np.ndarray  # [training steps], float64; 0 at the last step of a zero-SNR schedule
  final_alpha_bar: float  # at the end of DDIM, beyond training step 0
  prediction: str  # what the network predicts: epsilon, v_prediction or sample
  spacing: str  # leading, trailing, linspace; "" = not said: each sampler has a custom of its own
  offset: int
  clip: float  # x0 is clipped to +-clip; 0 = not
  distilled_steps: int = 50  # of a latent consistency model: its few steps are a subset of so many
  names_clip: bool = True  # the file says whether x0 is clipped
  is_zero_snr: bool = False
  is_cosine: bool = False
  keys: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # of the file
  file: str = FILE
  before: Schedule | None = None  # as releases read the file that ignored some of its keys

  @property
  def trained_steps(self) -> int:
    return len(self.alpha_bar)

  @property
  def sigmas(self) -> np.ndarray:
    """Noise over signal, by training step."""
    alpha_bar = self.alpha_bar
    if self.is_zero_snr:
      alpha_bar = np.append(alpha_bar[:-1], _LEAST_ALPHA_BAR)
    return np.sqrt((1 - alpha_bar) / alpha_bar)

  def followed(self, sampler: str) -> dict[str, Any]:
    """The keys of the file that this sampler reads; refused where it cannot follow them."""
    return scheduler_keys.followed(self.keys, sampler, self.file)


def read_schedule(config: Mapping[str, Any], file: Path | str = FILE) -> Schedule:
  """What the file asks for and is not done is refused, not ignored."""
  scheduler_keys.check(config, str(file))
  return dataclasses.replace(_read(config, str(file)), before=_read(_as_once_read(config), str(file)))


def _as_once_read(config: Mapping[str, Any]) -> dict[str, Any]:
  """The file as older releases understood it, spelt out."""
  kept = {k: v for k, v in config.items() if k not in scheduler_keys.ONCE_IGNORED}
  return _BETAS | {"clip_sample": _clips(config)} | kept


def _read(config: Mapping[str, Any], file: str) -> Schedule:
  read = _File(config, file)
  alpha_bar = np.cumprod(1.0 - _betas(read))
  prediction = read.one_of("prediction_type", "epsilon", ("epsilon", "v_prediction", "sample"))
  is_zero_snr = read.flag("rescale_betas_zero_snr", False)
  if is_zero_snr:
    if prediction == "epsilon":
      raise read.error(
        "rescale_betas_zero_snr",
        "where no signal is left, predicted noise says nothing of the picture; such a network predicts v_prediction or "
        "sample: correct prediction_type if it does, or take another checkpoint",
      )
    alpha_bar = _without_last_signal(alpha_bar)
  clips = read.flag("clip_sample", _clips(config))
  return Schedule(
    alpha_bar=alpha_bar,
    final_alpha_bar=1.0 if read.flag("set_alpha_to_one", True) else float(alpha_bar[0]),
    prediction=prediction,
    spacing=read.one_of("timestep_spacing", "", ("", *SPACINGS)),
    offset=read.integer("steps_offset", 0, least=0),
    clip=read.number("clip_sample_range", 1.0) if clips else 0.0,
    distilled_steps=read.integer("original_inference_steps", 50, least=1, most=len(alpha_bar)),
    names_clip="clip_sample" in config,
    is_zero_snr=is_zero_snr,
    is_cosine=config.get("beta_schedule") == _COSINE,
    keys=dict(config),
    file=file,
  )


def _clips(config: Mapping[str, Any]) -> bool:
  """Only DDIM's and DDPM's files clip where they do not say so."""
  return config.get("_class_name", "DDIMScheduler") in ("DDIMScheduler", "DDPMScheduler")


def _betas(read: _File) -> np.ndarray:
  if (trained := read.config.get("trained_betas")) is not None:
    return _trained_betas(read, trained)
  steps = read.integer("num_train_timesteps", 1000, least=1)
  if steps > _MOST_STEPS:
    raise read.error("num_train_timesteps", f"it must be at most {_MOST_STEPS}; correct it")
  silent = _BETAS_OF_LATENTS if read.config.get("_class_name") in ("LCMScheduler", "TCDScheduler") else _BETAS
  start, end = (read.number(key, silent[key], below=1.0) for key in ("beta_start", "beta_end"))
  kind = read.one_of("beta_schedule", silent["beta_schedule"], ("linear", "scaled_linear", _COSINE))
  if kind == "linear":
    return np.linspace(start, end, steps)
  if kind == "scaled_linear":
    return np.linspace(start**0.5, end**0.5, steps) ** 2
  at = np.cos((np.arange(steps + 1) / steps + 0.008) / 1.008 * np.pi / 2) ** 2
  return np.minimum(1 - at[1:] / at[:-1], 0.999)


def _trained_betas(read: _File, trained: Any) -> np.ndarray:
  steps = read.config.get("num_train_timesteps")
  try:
    betas = np.asarray(trained, np.float64)
  except (TypeError, ValueError, OverflowError):
    betas = np.zeros(0)
  if betas.ndim != 1 or not len(betas) or not np.all((betas > 0) & (betas < 1)):
    raise read.error("trained_betas", "it must be a list of numbers between 0 and 1; fetch it again")
  if steps is not None and steps != len(betas):
    raise read.error("num_train_timesteps", f"trained_betas has {len(betas)} of them; fetch it again")
  return betas


def _without_last_signal(alpha_bar: np.ndarray) -> np.ndarray:
  """Lin et al. 2024, Algorithm 1: shifted so that nothing is left at the last step, scaled so that the first stays."""
  signal = np.sqrt(alpha_bar)
  return ((signal - signal[-1]) * signal[0] / (signal[0] - signal[-1])) ** 2


@dataclasses.dataclass(frozen=True)
class _File:
  """Reads values of the right type, or refuses them by name. null is as good as absent; a switch it turns off."""

  config: Mapping[str, Any]
  name: str

  def error(self, key: str, why: str) -> UserError:
    return UserError(f"weights: {self.name} has {key}={repr(self.config.get(key))[:80]}: {why}")

  def _get(self, key: str, default: Any) -> Any:
    return default if self.config.get(key) is None else self.config[key]

  def one_of(self, key: str, default: str, known: tuple[str, ...]) -> str:
    if (value := self._get(key, default)) not in known:
      raise self.error(key, f"that cannot be read{nearest(str(value), known)}; take another checkpoint")
    return value

  def flag(self, key: str, default: bool) -> bool:
    value = self.config.get(key, default)
    if not isinstance(value, bool | None):
      raise self.error(key, "it must be true or false; correct it")
    return bool(value)

  def integer(self, key: str, default: int, least: int, most: int | None = None) -> int:
    if (value := self.config.get(key)) is None:
      return default
    if not isinstance(value, int) or isinstance(value, bool) or value < least or (most and value > most):
      bounds = f"between {least} and {most}" if most else f"of at least {least}"
      raise self.error(key, f"it must be a whole number {bounds}; correct it")
    return value

  def number(self, key: str, default: float, below: float = np.inf) -> float:
    value = self._get(key, default)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < below:
      raise self.error(
        key, f"it must be a number above 0{f' and below {below:g}' if below < np.inf else ''}; correct it"
      )
    return value
