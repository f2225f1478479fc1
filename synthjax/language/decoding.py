"""A batch of tokenised texts continued by one compiled program: the texts are read, then token follows token.

The loop ends when all rows have ended. A row's tokens depend on its text, its seed and the request alone, not on the rows
beside it: texts of one padded length share a program, and a batch always has the same shape, since XLA's CPU kernels round
differently for others.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from synthjax.language.sampling import Rule, Settings, sample
from synthjax.runtime import devices
from synthjax.runtime.errors import UserError

Array = jax.Array
_SHORTEST = 16  # padded length of a text; then its doubles
_ROOM = 32  # new tokens are padded to multiples


@dataclasses.dataclass(frozen=True)
class Decoding:
  """How a request is sampled."""

  max_tokens: int  # new ones
  temperature: float = 1.0  # 0: the likeliest token each time
  top_k: int = 0  # 0 = off
  top_p: float = 1.0

  def __post_init__(self) -> None:
    for name, value, is_right, wanted in (
      ("max_tokens", self.max_tokens, self.max_tokens >= 1, "at least 1"),
      ("temperature", self.temperature, 0 <= self.temperature < math.inf, "0 or more"),
      ("top_k", self.top_k, 0 <= self.top_k < 2**31, "0 (off) or more"),
      ("top_p", self.top_p, 0 < self.top_p <= 1, "above 0 and at most 1"),
    ):
      if not is_right:
        raise UserError(f"decoding: {name}={value!r}; it must be {wanted}")

  @property
  def rule(self) -> Rule:
    greedy = self.temperature == 0
    return Rule(greedy, not greedy and self.top_k > 0, not greedy and self.top_p < 1)

  @property
  def settings(self) -> Settings:
    return Settings(
      *map(jnp.asarray, (np.float32(self.temperature), np.int32(self.top_k), np.float32(self.top_p)))
    )

  @property
  def room(self) -> int:
    """Places for new tokens: few programs serve all lengths."""
    return -(-self.max_tokens // _ROOM) * _ROOM


class Network(Protocol):
  """What decoding asks of models/t5.py and models/qwen3.py."""

  def start(self, params: Any, ids_BxP: Array, mask_BxP: Array, room: int) -> tuple[Array, Any]: ...

  def step(self, params: Any, state: Any, token_B: Array, i: Array) -> tuple[Array, Any]: ...


class Rows(NamedTuple):
  """Of a batch, one for each text; those that fill it up are not live."""

  ids_BxP: Array | np.ndarray
  mask_BxP: Array | np.ndarray
  words_Bx2: Array | np.ndarray  # of the key
  live_B: Array | np.ndarray


class Found(NamedTuple):
  tokens_BxN: Array
  count_B: Array
  ended_B: Array  # rather than cut off


def padded_length(tokens: int) -> int:
  return max(_SHORTEST, 1 << (tokens - 1).bit_length())


def rows_of(texts: Sequence[Sequence[int]], seeds: Sequence[int], length: int, size: int) -> Rows:
  """A batch of `size`, padded on the left."""
  rows = Rows(
    np.zeros((size, length), np.int32),
    np.zeros((size, length), np.int32),
    np.zeros((size, 2), np.uint32),
    np.arange(size) < len(texts),
  )
  for i in range(size):
    text, seed = (texts[i], seeds[i]) if i < len(texts) else (texts[0], 0)
    rows.ids_BxP[i, length - len(text) :] = text
    rows.mask_BxP[i, length - len(text) :] = 1
    rows.words_Bx2[i] = (seed >> 32) & 0xFFFFFFFF, seed & 0xFFFFFFFF
  return rows


class Program:
  """Compiled once for each padded length, room and rule. `mesh` has the axes data (rows) and fsdp (parameters).

  A batch that a device of `limit` bytes has no room for is refused before it runs.
  """

  def __init__(self, network: Network, ends: Sequence[int], mesh: Mesh, limit: int = sys.maxsize):
    self._network, self._ends, self._mesh, self._limit = network, np.array(ends, np.int32), mesh, limit
    self._compiled: dict[tuple[int, int, Rule], jax.stages.Compiled] = {}

  def __call__(self, params: Any, rows: Rows, decoding: Decoding) -> Found:
    """Returns before it is computed."""
    placed = jax.device_put(rows, devices.place(self._mesh, devices.BATCH))
    arguments = (params, placed, np.int32(decoding.max_tokens), decoding.settings)
    if (key := (rows.ids_BxP.shape[1], decoding.room, decoding.rule)) not in self._compiled:
      compiled = self._jitted(decoding.room, decoding.rule).lower(*arguments).compile()
      self._check_fit(compiled, params, len(rows.live_B) // self._mesh.shape["data"])
      self._compiled[key] = compiled
    return self._compiled[key](*arguments)

  def _check_fit(self, compiled: jax.stages.Compiled, params: Any, rows: int) -> None:
    needed = devices.memory_of(compiled)
    if needed <= self._limit:
      return
    fixed = sum(x.addressable_shards[0].data.nbytes for x in jax.tree.leaves(params))
    most = int(rows * (self._limit - fixed) / (needed - fixed))
    fix = (
      f"about {most} fit: lower per_device_batch"
      if most > 0
      else "not even one fits; lower max_tokens, or take a smaller model"
    )
    raise UserError(
      f"{rows} texts at once need {needed / 1e9:.1f} GB of a device that has {self._limit / 1e9:.1f} GB; {fix}"
    )

  def _jitted(self, room: int, rule: Rule) -> Any:
    decode = functools.partial(self._decode, room, rule)
    if self._is_split:  # the compiler cuts the products between the devices, and exchanges their parts
      return jax.jit(decode, out_shardings=devices.place(self._mesh, devices.BATCH))
    specs = (devices.REPLICATED, devices.BATCH, devices.REPLICATED, devices.REPLICATED)
    # Each device decodes its own rows, and stops when these have ended.
    return jax.jit(
      jax.shard_map(decode, mesh=self._mesh, in_specs=specs, out_specs=devices.BATCH, check_vma=False)
    )

  @property
  def _is_split(self) -> bool:
    return self._mesh.shape["fsdp"] > 1

  def _whole(self, logits_BxV: Array) -> Array:
    """On every device that samples from them: else each sum over the vocabulary would be an exchange."""
    if not self._is_split:
      return logits_BxV
    return jax.lax.with_sharding_constraint(logits_BxV, devices.place(self._mesh, devices.BATCH))

  def _by_heads(self, state: Any) -> Any:
    """Keys and values [B, K, M, D] are split by heads where the parameters are, if their number allows it."""
    if not self._is_split:
      return state
    place = devices.place(self._mesh, PartitionSpec("data", "fsdp"))
    parts = self._mesh.shape["fsdp"]
    return jax.tree.map(
      lambda x: jax.lax.with_sharding_constraint(x, place) if x.ndim == 4 and x.shape[1] % parts == 0 else x,
      state,
    )

  def _decode(self, room: int, rule: Rule, params: Any, rows: Rows, most: Array, settings: Settings) -> Found:
    def add(logits: Array, i: Array | int, found: Found) -> tuple[Array, Found]:
      """Samples new token i of the rows that have not ended."""
      token_B = sample(self._whole(logits), jnp.asarray(rows.words_Bx2), i, rule, settings)
      token_B = jnp.where(found.ended_B, 0, token_B)
      ended_B = found.ended_B | jnp.isin(token_B, self._ends)
      return token_B, Found(found.tokens_BxN.at[:, i].set(token_B), found.count_B + ~found.ended_B, ended_B)

    def goes_on(carry: tuple[Array, Array, Any, Found]) -> Array:
      i, _, _, found = carry
      return (i + 1 < most) & ~jnp.all(found.ended_B)

    def step(carry: tuple[Array, Array, Any, Found]) -> tuple[Array, Array, Any, Found]:
      i, token_B, state, found = carry
      logits, state = self._network.step(params, state, token_B, i)
      token_B, found = add(logits, i + 1, found)
      return i + 1, token_B, state, found

    size = len(rows.live_B)
    nothing = Found(jnp.zeros((size, room), jnp.int32), jnp.zeros(size, jnp.int32), ~jnp.asarray(rows.live_B))
    logits, state = self._network.start(params, jnp.asarray(rows.ids_BxP), jnp.asarray(rows.mask_BxP), room)
    token_B, found = add(logits, 0, nothing)
    _, _, _, found = jax.lax.while_loop(goes_on, step, (jnp.int32(0), token_B, self._by_heads(state), found))
    return found
