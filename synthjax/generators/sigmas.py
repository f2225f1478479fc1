"""Noise levels (noise over signal) spread over the steps of a sampler by a rule of their own, not by training steps."""

from __future__ import annotations

import numpy as np

_RHO = 7.0  # Karras et al. 2022


def spread(rule: str, most: float, least: float, steps: int) -> np.ndarray:
  """[steps] levels from `most` down to `least`; `rule` is the key that asks for them in a scheduler_config.json."""
  ramp = np.linspace(0, 1, steps)
  if rule == "use_karras_sigmas":
    return (most ** (1 / _RHO) + ramp * (least ** (1 / _RHO) - most ** (1 / _RHO))) ** _RHO
  if rule == "use_beta_sigmas":  # Lee et al. 2024, "Beta sampling is all you need"
    from scipy.stats import beta

    return least + beta.ppf(1 - ramp, 0.6, 0.6) * (most - least)
  return np.exp(np.linspace(np.log(most), np.log(least), steps))  # exponential, and Lu's uniform log-SNR


def training_steps(sigmas: np.ndarray, trained: np.ndarray) -> np.ndarray:
  """Where in training these levels lay, between two steps as the logarithm goes; `trained` holds a level a step."""
  return np.interp(np.log(np.maximum(sigmas, 1e-10)), np.log(trained), np.arange(len(trained)))
