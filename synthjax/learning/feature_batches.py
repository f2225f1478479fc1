"""Batches of features that lie in memory: in a device's, where all of them fit, so that a step waits for no copy from the host.

The numbers are the same, and so is the program of the step: a small one before it picks the rows. On CPUs the host's own
picking is as fast.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from synthjax.runtime import devices
from synthjax.store.features import Features

Array = np.ndarray
Batches = Callable[[Mapping[str, Array]], dict[str, dict[str, Any]]]
_SHARE = 0.5  # of what a device has free; the rest is for classifiers, their gradients and batches


def batches_of(parts: Mapping[str, Features], device_memory_gb: float) -> Batches:
  """From places [S, B] among the images of each domain to features [S, B, D] and labels [S, B]."""
  size = sum(part.features.nbytes + part.labels.nbytes for part in parts.values())
  if devices.platform() != "cpu" and size <= _SHARE * devices.memory_free(device_memory_gb):
    return on_device(parts)
  return on_host(parts)


def on_host(parts: Mapping[str, Features]) -> Batches:
  def pick(places: Mapping[str, Array]) -> dict[str, dict[str, Any]]:
    return {d: {"features": parts[d].features[at], "labels": parts[d].labels[at]} for d, at in places.items()}

  return pick


def on_device(parts: Mapping[str, Features]) -> Batches:
  """On the one that arms are tuned on."""
  (device,) = jax.local_devices()[:1]
  held = {
    d: jax.device_put({"features": part.features, "labels": part.labels}, device) for d, part in parts.items()
  }

  def pick(places: Mapping[str, Array]) -> dict[str, dict[str, Any]]:
    return {d: _rows(held[d], jax.device_put(at.astype(np.int32), device)) for d, at in places.items()}

  return pick


@jax.jit
def _rows(held: dict[str, jax.Array], at: jax.Array) -> dict[str, jax.Array]:
  return {name: jnp.take(rows, at, axis=0, mode="clip") for name, rows in held.items()}
