"""How many bits products of matrices are computed with."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp


def precision_of(dtype: jnp.dtype) -> str | None:
  """A network asked for in float32 gets it: by default GPUs and TPUs multiply with fewer bits."""
  return "highest" if dtype == jnp.float32 else None


def dot_to_float32(*args: Any, **kwargs: Any) -> jax.Array:
  """For a layer of logits that are sampled from: rounded to 16 bits, the likeliest tokens would tie."""
  return jax.lax.dot_general(*args, **kwargs | {"preferred_element_type": jnp.float32})
