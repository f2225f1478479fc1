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


def scaled(shapes: Any, key: jax.Array) -> Any:
  """Parameters in the shapes given: normal kernels of spread 1 / sqrt(fan in), norms and biases as they start."""
  flat = traverse_util.flatten_dict(shapes)

  def fill(i: int, path: tuple[str, ...]) -> jax.Array:
    shape, noise = flat[path].shape, lambda: jax.random.normal(jax.random.fold_in(key, i), flat[path].shape)
    if path[-1] == "kernel":
      return noise() * ((0.5 if path[-2] in _LAST else 1.0) / np.sqrt(np.prod(shape[:-1])))
    if path[-1] in ("embedding", "class_embedding"):
      return noise() * _SPREAD.get(path[-2], 0.02)
    return jnp.full(shape, {"scale": 1.0, "bias": 0.0}[path[-1]])

  return traverse_util.unflatten_dict({path: fill(i, path) for i, path in enumerate(sorted(flat))})
