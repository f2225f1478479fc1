"""Where a network starts: every layer keeps the size of what passes through it.

The Flax CLIP of transformers starts at a spread of 0.02 whatever its width, which suits a width of 512; at 128 each
layer then shrinks what it is given four times, and training does not get off the ground.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

_LAST = ("out_proj", "fc2")  # the last layer of a residual branch: half, so that depth does not add up
_SPREAD = {"position_embedding": 0.1, "token_embedding": 0.5}
# The last two: running statistics of a batch norm.
_START = {"scale": 1.0, "bias": 0.0, "logit_scale": 2.6592, "mean": 0.0, "var": 1.0}


def _normal(source: jax.Array | np.random.Generator, i: int, shape: tuple[int, ...]) -> Any:
  if isinstance(source, np.random.Generator):  # drawn one after the other; nothing is compiled
    return source.standard_normal(shape, np.float32)
  return jax.random.normal(jax.random.fold_in(source, i), shape)


def scaled(shapes: Any, source: jax.Array | np.random.Generator) -> Any:
  """Parameters in the shapes given, by a jax key or on the host: normal kernels of spread 1 / sqrt(fan in), norms and biases as they start."""
  flat: dict[tuple[str, ...], Any] = traverse_util.flatten_dict(shapes)

  def fill(i: int, path: tuple[str, ...]) -> Any:
    shape, noise = flat[path].shape, lambda: _normal(source, i, flat[path].shape)
    if path[-1] == "kernel":
      return noise() * ((0.5 if path[-2] in _LAST else 1.0) / float(np.sqrt(np.prod(shape[:-1]))))
    if path[-1] in ("embedding", "class_embedding", "positional_embedding"):
      return noise() * _SPREAD.get(path[-2], 0.02)
    return (np if isinstance(source, np.random.Generator) else jnp).full(shape, _START[path[-1]], np.float32)

  return traverse_util.unflatten_dict({path: fill(i, path) for i, path in enumerate(sorted(flat))})
