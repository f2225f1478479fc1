"""Which examples make batch s: a function of the step, so that a run's place in the data is its step."""

from __future__ import annotations

import functools

import numpy as np


@functools.lru_cache(maxsize=16)  # a batch may span two epochs, of several seeds
def _permutation(n: int, seed: int, epoch: int) -> np.ndarray:
  return np.random.default_rng([seed, epoch]).permutation(n)


def indices(step: int, batch: int, n: int, seed: int) -> np.ndarray:
  """Indices into n examples: every epoch is a permutation of its own, and a batch may span two epochs."""
  places = np.arange(step * batch, (step + 1) * batch)
  epochs = places // n
  return np.concatenate([_permutation(n, seed, int(e))[places[epochs == e] % n] for e in np.unique(epochs)])
