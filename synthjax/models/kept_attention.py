"""Attention of language models: to keys and values that are kept from step to step, with a bias on the scores.

Keys lie heads first, so that a step's product with those of a head reads one stretch of memory. Several heads of queries
may share a head of keys (grouped queries). Scores and softmax are float32.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

Array = jax.Array
KeysValues = tuple[Array, Array]  # each [B, K, M, D]: K heads of keys, M places
_SCORES = 2**29  # bytes at once
HIDDEN = float(jnp.finfo(jnp.float32).min)  # the bias of a place that is not seen


def attend(q_BxLxHxD: Array, kept: KeysValues, bias: Array, scale: float) -> Array:
  """[B, L, H, D]; `bias` is float32 [1 or B, 1 or H, L, M]. Rows go one after the other where all scores are too large."""
  b, length, heads, _ = q_BxLxHxD.shape
  row = 4 * heads * length * kept[0].shape[2]
  parts = next(n for n in range(1, b + 1) if b % n == 0 and (b // n * row <= _SCORES or n == b))
  if parts == 1:
    return _attend(q_BxLxHxD, kept, bias, scale)

  def of_part(part: tuple[Array, KeysValues, Array]) -> Array:
    return _attend(*part, scale)

  every = (q_BxLxHxD, kept, jnp.broadcast_to(bias, (b, *bias.shape[1:])))
  split = jax.tree.map(lambda x: x.reshape(parts, b // parts, *x.shape[1:]), every)
  return jax.lax.map(of_part, split).reshape(q_BxLxHxD.shape)


def _attend(q_BxLxHxD: Array, kept: KeysValues, bias: Array, scale: float) -> Array:
  keys, values = kept
  b, length, heads, size = q_BxLxHxD.shape
  shared = heads // keys.shape[1]  # by so many heads of queries
  q = q_BxLxHxD.reshape(b, length, -1, shared, size).transpose(0, 2, 3, 1, 4)
  q = q.reshape(b, -1, shared * length, size)
  scores = jnp.matmul(q, keys.swapaxes(2, 3), preferred_element_type=jnp.float32) * scale
  scores_BxHxLxM = scores.reshape(b, heads, length, -1) + bias
  weights = jax.nn.softmax(scores_BxHxLxM, axis=-1).astype(values.dtype)
  found = jnp.matmul(weights.reshape(scores.shape), values).reshape(b, heads, length, size)
  return found.swapaxes(1, 2)


def heads_first(k_BxLxKxD: Array, v_BxLxKxD: Array) -> KeysValues:
  return k_BxLxKxD.swapaxes(1, 2), v_BxLxKxD.swapaxes(1, 2)


def written(kept: KeysValues, new: KeysValues, place: Array | int) -> KeysValues:
  """What is kept, with that of one more place."""
  return jax.tree.map(lambda old, own: jax.lax.dynamic_update_slice_in_dim(old, own, place, 2), kept, new)


def with_room(kept: KeysValues, places: int) -> KeysValues:
  """What is kept, with so many more places behind."""
  return jax.tree.map(lambda x: jnp.pad(x, ((0, 0), (0, 0), (0, places), (0, 0))), kept)


def bias_of(seen: Array) -> Array:
  return jnp.where(seen, jnp.float32(0), HIDDEN)
