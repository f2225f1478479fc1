"""8-bit pixels as CLIP's networks see them."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


def normalise(
  pixels_BxHxWx3: jax.Array, mean: Sequence[float] = MEAN, std: Sequence[float] = STD
) -> jax.Array:
  """Float32, whatever the network computes in."""
  return (pixels_BxHxWx3 / 255.0 - jnp.array(mean)) / jnp.array(std)
