"""LPIPS diversity: how far apart the pictures of a class look to each other (LPIPS: models/lpips.py)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from synthjax.evaluation.set_metrics.diversity import Spread
from synthjax.models.lpips import Lpips, Network

Array = np.ndarray
_BATCH = 32  # pairs at once


def lpips_diversity(
  variables: Any, network: Network, pictures: Callable[[Array], Array], pairs: Mapping[str, Array]
) -> Spread:
  """The mean distance of the pairs of each class, [p, 2] places (`diversity.pairs`), and the mean over classes, each alike.

  `pictures` gives those at some places, uint8 [n, H, W, 3], all of one size of 64 pixels or more.
  """
  distances = jax.jit(Lpips(network).apply)
  every = np.concatenate(list(pairs.values()))
  found: list[Array] = []
  for start in range(0, len(every), _BATCH):
    batch = every[start : start + _BATCH]
    filled = np.concatenate([batch, np.repeat(batch[-1:], _BATCH - len(batch), axis=0)])
    x, y = (pictures(filled[:, i]).astype(np.float32) / 127.5 - 1 for i in (0, 1))
    found.append(np.asarray(distances(variables, x, y), np.float64)[: len(batch)])
  ends = np.cumsum([len(own) for own in pairs.values()])[:-1]
  by_class = np.split(np.concatenate(found), ends)
  means = {name: float(own.mean()) for name, own in zip(pairs, by_class, strict=True)}
  return Spread(float(np.mean(list(means.values()))), means)
