"""What is known of the keys of a scheduler_config.json: which sampler reads which, and the values that it can follow.

A sampler reads what diffusers' class of the same method reads. So a key that is absent from its row here cannot change
what it draws, and every other key is followed or refused by name. Keys that say how the network was trained (betas,
prediction, spacing) are read by every sampler and stand in `schedule.py`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from synthjax.runtime.errors import UserError, nearest
from synthjax.spec.fields import SAMPLERS

DDIM, DPM, EULER, ANCESTRAL, LCM = SAMPLERS

# Families whose noise is a table of betas; the name says which defaults hold where the file is silent, nothing else.
CLASSES = (
  "DDIMScheduler",
  "DDIMParallelScheduler",
  "DDPMScheduler",
  "DDPMParallelScheduler",
  "DEISMultistepScheduler",
  "DPMSolverMultistepScheduler",
  "DPMSolverSDEScheduler",
  "DPMSolverSinglestepScheduler",
  "EulerAncestralDiscreteScheduler",
  "EulerDiscreteScheduler",
  "HeunDiscreteScheduler",
  "KDPM2AncestralDiscreteScheduler",
  "KDPM2DiscreteScheduler",
  "LCMScheduler",
  "LMSDiscreteScheduler",
  "PNDMScheduler",
  "SASolverScheduler",
  "TCDScheduler",
  "UniPCMultistepScheduler",
)


@dataclasses.dataclass(frozen=True)
class Key:
  default: Any
  readers: Mapping[str, tuple[Any, ...] | None]  # sampler -> values that it can follow; None = numbers


_BOTH, _OFF = (False, True), (False,)
KEYS: dict[str, Key] = {
  "thresholding": Key(False, {DDIM: _OFF, DPM: _OFF, LCM: _OFF}),  # needs quantiles of x0 at every step
  "use_karras_sigmas": Key(False, {DPM: _BOTH, EULER: _BOTH}),
  "use_lu_lambdas": Key(False, {DPM: _BOTH}),
  # Their multistep solver cuts these to whole training steps after rounding errors of float32 have moved them.
  "use_exponential_sigmas": Key(False, {DPM: _OFF, EULER: _BOTH}),
  "use_beta_sigmas": Key(False, {DPM: _OFF, EULER: _BOTH}),
  "sigma_min": Key(None, {DPM: None, EULER: None}),
  "sigma_max": Key(None, {DPM: None, EULER: None}),
  "interpolation_type": Key("linear", {EULER: ("linear", "log_linear")}),
  "timestep_type": Key("discrete", {EULER: ("discrete", "continuous")}),
  "final_sigmas_type": Key("zero", {DPM: ("zero", "sigma_min"), EULER: ("zero", "sigma_min")}),
  "solver_order": Key(2, {DPM: (1, 2)}),  # the third order needs x0 of two steps before
  # What noise prediction integrates (dpmsolver) is no sum of x0; "deis" is read as dpmsolver++.
  "algorithm_type": Key("dpmsolver++", {DPM: ("dpmsolver++", "sde-dpmsolver++", "deis")}),
  # The last three belong to other solvers, and are read as midpoint.
  "solver_type": Key("midpoint", {DPM: ("midpoint", "heun", "logrho", "bh1", "bh2")}),
  "lower_order_final": Key(True, {DPM: _BOTH}),
  "euler_at_final": Key(False, {DPM: _BOTH}),
  "lambda_min_clipped": Key(-math.inf, {DPM: None}),
  "timestep_scaling": Key(10.0, {LCM: None}),
}
# Older releases read none of these, and drew as if the file did not hold them.
ONCE_IGNORED = frozenset(KEYS) - {
  "thresholding",
  "use_karras_sigmas",
  "use_lu_lambdas",
  "use_exponential_sigmas",
  "use_beta_sigmas",
}
TRAINING_KEYS = (
  "num_train_timesteps",
  "beta_start",
  "beta_end",
  "beta_schedule",
  "trained_betas",
  "rescale_betas_zero_snr",
  "prediction_type",
  "timestep_spacing",
  "steps_offset",
  "set_alpha_to_one",
  "clip_sample",
  "clip_sample_range",
  "original_inference_steps",
)
# Of samplers that are not here, of `thresholding`, or of flow matching; any value will do.
_WITHOUT_EFFECT = (
  "corrector_order",
  "disable_corrector",
  "dynamic_thresholding_ratio",
  "flow_shift",
  "noise_sampler_seed",
  "predict_x0",
  "predictor_order",
  "sample_max_value",
  "skip_prk_steps",
  "solver_p",
  "tau_func",
  "tensor_format",
  "time_shift_type",
)
# Another value means another kind of network, whoever samples it.
_NETWORK: dict[str, tuple[Any, ...]] = {
  "use_flow_sigmas": _OFF,
  "use_dynamic_shifting": _OFF,
  "variance_type": ("fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log"),
  "predict_epsilon": (True,),
}


def check(config: Mapping[str, Any], file: str) -> None:
  """Refuses the files of other families, and keys that nobody here knows: what they would change cannot be known."""
  name = config.get("_class_name")
  if name is not None and str(name).removeprefix("Flax") not in CLASSES:
    raise UserError(
      f"weights: {file} has _class_name={_short(name)}: its noise is no table of betas that is known here; take a "
      f"checkpoint of {', '.join(c.removesuffix('Scheduler') for c in CLASSES)}"
    )
  known = (*TRAINING_KEYS, *KEYS, *_WITHOUT_EFFECT, *_NETWORK)
  for key, value in config.items():
    if key.startswith("_") or value is None or (value is False and key not in known):
      continue
    if key not in known:
      raise UserError(
        f"weights: {file} has {key}={_short(value)}, a key that is not known here{nearest(key, known)}; correct it, or "
        "take it out if nothing was trained by it"
      )
    if key in _NETWORK and value not in _NETWORK[key]:
      raise UserError(
        f"weights: {file} has {key}={_short(value)}: such networks cannot be sampled from; take another checkpoint"
      )


def followed(config: Mapping[str, Any], sampler: str, file: str) -> dict[str, Any]:
  """The values by which `sampler` computes its table, those of silent keys among them."""
  values = {}
  for name, key in KEYS.items():
    if sampler in key.readers:
      value = config.get(name, key.default)
      if value is None:  # null: a switch that is off, anything else as if absent
        value = False if isinstance(key.default, bool) else key.default
      _check_value(name, value, sampler, file)
      values[name] = value
  chosen = [name for name, value in values.items() if name.startswith("use_") and value]
  if len(chosen) > 1:
    raise UserError(f"weights: {file} has both {chosen[0]} and {chosen[1]}; leave one of them true")
  return values


def _check_value(name: str, value: Any, sampler: str, file: str) -> None:
  if _is_followed(name, value, sampler):
    return
  known = KEYS[name].readers[sampler]
  can = "takes a number" if known is None else f"can follow {' or '.join(repr(v) for v in known)}"
  others = [s for s in SAMPLERS if s != LCM and _is_followed(name, value, s)]
  advice = f"set config.sampling.sampler to {' or '.join(others)}" if others and known else "correct it"
  raise UserError(f"weights: {file} has {name}={_short(value)}; sampler {sampler} {can}; {advice}")


def _is_followed(name: str, value: Any, sampler: str) -> bool:
  """Or has no meaning for the sampler."""
  key = KEYS[name]
  if sampler not in key.readers or value is key.default:
    return True
  known = key.readers[sampler]
  if known is not None:
    return value in known
  is_number = isinstance(value, int | float) and not isinstance(value, bool)
  return is_number and (0 < value < math.inf or (name == "lambda_min_clipped" and not math.isnan(value)))


def _short(value: Any) -> str:
  return repr(value)[:80]
