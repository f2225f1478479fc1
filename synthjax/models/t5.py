"""T5 (Raffel et al. 2020), an encoder and a decoder: 1.0 (ReLU, tied embeddings), and 1.1 or Flan (gated GELU, not tied).

Positions enter as a bias on the scores of attention, by buckets of distance, the same in all layers; scores are not scaled.
Residual branches are summed in float32 whatever the dtype, and logits are float32.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from synthjax.models.kept_attention import KeysValues, attend, bias_of, heads_first, with_room, written
from synthjax.models.norms import RMSNorm
from synthjax.models.precision import dot_to_float32, precision_of

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class T5Config:
  vocabulary: int
  width: int
  hidden: int  # of the MLP
  layers: int
  decoder_layers: int
  heads: int
  head_size: int
  start: int  # the token that the decoder begins with
  buckets: int = 32
  max_distance: int = 128
  epsilon: float = 1e-6
  gated: bool = False  # GELU (tanh) times a linear gate; else ReLU
  tied: bool = True  # the last layer is the embedding, scaled


class Attention(nn.Module):
  """Without a residual branch; the first layer's of a stack holds the bias of its positions."""

  config: T5Config
  dtype: jnp.dtype
  bidirectional: bool = False
  has_bias: bool = False

  def setup(self) -> None:
    config = self.config
    inner = functools.partial(nn.Dense, config.heads * config.head_size, use_bias=False, dtype=self.dtype)
    self.q, self.k, self.v = inner(), inner(), inner()
    self.o = nn.Dense(config.width, use_bias=False, dtype=self.dtype)
    if self.has_bias:
      self.relative_attention_bias = nn.Embed(config.buckets, config.heads)

  def keys_values(self, x_BxMxC: Array) -> KeysValues:
    return heads_first(self._split(self.k(x_BxMxC)), self._split(self.v(x_BxMxC)))

  def __call__(self, x_BxLxC: Array, kept: KeysValues, bias: Array) -> Array:
    found = attend(self._split(self.q(x_BxLxC)), kept, bias, 1.0)
    return self.o(found.reshape(*x_BxLxC.shape[:2], -1))

  def position_bias(self, query_L: Array, key_M: Array) -> Array:
    """[1, H, L, M] in float32."""
    buckets_LxM = _bucket(key_M[None] - query_L[:, None], self.config, self.bidirectional)
    return self.relative_attention_bias(buckets_LxM).astype(jnp.float32).transpose(2, 0, 1)[None]

  def _split(self, x_BxLxI: Array) -> Array:
    return x_BxLxI.reshape(*x_BxLxI.shape[:2], self.config.heads, self.config.head_size)


class SelfAttention(nn.Module):
  config: T5Config
  dtype: jnp.dtype
  bidirectional: bool
  has_bias: bool

  def setup(self) -> None:
    self.SelfAttention = Attention(self.config, self.dtype, self.bidirectional, self.has_bias)
    self.layer_norm = RMSNorm(self.config.epsilon, self.dtype)

  def __call__(
    self, x_BxLxC: Array, bias: Array, kept: KeysValues | None = None, place: Array | int = 0
  ) -> tuple[Array, KeysValues]:
    y = self.layer_norm(x_BxLxC)
    new = self.SelfAttention.keys_values(y)
    kept = new if kept is None else written(kept, new, place)
    return x_BxLxC + self.SelfAttention(y, kept, bias), kept


class CrossAttention(nn.Module):
  config: T5Config
  dtype: jnp.dtype

  def setup(self) -> None:
    self.EncDecAttention = Attention(self.config, self.dtype)
    self.layer_norm = RMSNorm(self.config.epsilon, self.dtype)

  def __call__(self, x_BxLxC: Array, encoded: KeysValues, bias: Array) -> Array:
    return x_BxLxC + self.EncDecAttention(self.layer_norm(x_BxLxC), encoded, bias)


class MLP(nn.Module):
  config: T5Config
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, x_BxLxC: Array) -> Array:
    dense = functools.partial(nn.Dense, use_bias=False, dtype=self.dtype)
    if self.config.gated:
      y = nn.gelu(dense(self.config.hidden, name="wi_0")(x_BxLxC), approximate=True)
      y = y * dense(self.config.hidden, name="wi_1")(x_BxLxC)
    else:
      y = nn.relu(dense(self.config.hidden, name="wi")(x_BxLxC))
    return dense(self.config.width, name="wo")(y)


class Feedforward(nn.Module):
  config: T5Config
  dtype: jnp.dtype

  def setup(self) -> None:
    self.DenseReluDense = MLP(self.config, self.dtype)
    self.layer_norm = RMSNorm(self.config.epsilon, self.dtype)

  def __call__(self, x_BxLxC: Array) -> Array:
    return x_BxLxC + self.DenseReluDense(self.layer_norm(x_BxLxC))


class Block(nn.Module):
  """Its parts are named as the files have them."""

  config: T5Config
  dtype: jnp.dtype
  decodes: bool
  has_bias: bool

  def setup(self) -> None:
    own = SelfAttention(self.config, self.dtype, not self.decodes, self.has_bias)
    cross = [CrossAttention(self.config, self.dtype)] if self.decodes else []
    self.layer = [own, *cross, Feedforward(self.config, self.dtype)]


class Stack(nn.Module):
  config: T5Config
  dtype: jnp.dtype
  decodes: bool

  def setup(self) -> None:
    layers = self.config.decoder_layers if self.decodes else self.config.layers
    self.block = [Block(self.config, self.dtype, self.decodes, i == 0) for i in range(layers)]
    self.final_layer_norm = RMSNorm(self.config.epsilon, self.dtype)

  def encode(self, x_BxLxC: Array, mask_BxL: Array) -> Array:
    places = jnp.arange(x_BxLxC.shape[1])
    bias = self._position_bias(places, places) + bias_of(mask_BxL.astype(bool)[:, None, None])
    for block in self.block:
      own, feedforward = block.layer
      x_BxLxC = feedforward(own(x_BxLxC, bias)[0])
    return self.final_layer_norm(x_BxLxC)

  def keys_values(self, encoded_BxMxC: Array) -> list[KeysValues]:
    """Of the encoder's text, for each layer."""
    return [block.layer[1].EncDecAttention.keys_values(encoded_BxMxC) for block in self.block]

  def decode(
    self,
    x_BxLxC: Array,
    encoded: list[KeysValues],
    mask_BxM: Array,
    kept: list[KeysValues] | None,
    place: Array | int,
  ) -> tuple[Array, list[KeysValues]]:
    """Of tokens from `place` on. Without `kept` they are all that there is."""
    queries = place + jnp.arange(x_BxLxC.shape[1])
    keys = queries if kept is None else jnp.arange(kept[0][0].shape[2])
    bias = self._position_bias(queries, keys) + bias_of(keys[None] <= queries[:, None])
    cross_bias, new = bias_of(mask_BxM.astype(bool)[:, None, None]), []
    for i, block in enumerate(self.block):
      own, cross, feedforward = block.layer
      x_BxLxC, own_kept = own(x_BxLxC, bias, None if kept is None else kept[i], place)
      x_BxLxC = feedforward(cross(x_BxLxC, encoded[i], cross_bias))
      new.append(own_kept)
    return self.final_layer_norm(x_BxLxC), new

  def _position_bias(self, query_L: Array, key_M: Array) -> Array:
    return self.block[0].layer[0].SelfAttention.position_bias(query_L, key_M)


class T5Module(nn.Module):
  config: T5Config
  dtype: jnp.dtype = jnp.float32

  def setup(self) -> None:
    config = self.config
    self.shared = nn.Embed(config.vocabulary, config.width)
    self.encoder = Stack(config, self.dtype, decodes=False)
    self.decoder = Stack(config, self.dtype, decodes=True)
    if not config.tied:
      self.lm_head = nn.Dense(config.vocabulary, use_bias=False, dtype=self.dtype, dot_general=dot_to_float32)

  def __call__(self, ids_BxM: Array, mask_BxM: Array, decoder_ids_BxL: Array) -> Array:
    """Logits [B, L, V]."""
    return self.decode(decoder_ids_BxL, self.encode(ids_BxM, mask_BxM), mask_BxM)[0]

  def encode(self, ids_BxM: Array, mask_BxM: Array) -> list[KeysValues]:
    """What the decoder sees of a text."""
    encoded = self.encoder.encode(self.shared(ids_BxM).astype(jnp.float32), mask_BxM)
    return self.decoder.keys_values(encoded)

  def decode(
    self,
    ids_BxL: Array,
    encoded: list[KeysValues],
    mask_BxM: Array,
    kept: list[KeysValues] | None = None,
    place: Array | int = 0,
  ) -> tuple[Array, list[KeysValues]]:
    x = self.shared(ids_BxL).astype(jnp.float32)
    x_BxLxC, kept = self.decoder.decode(x, encoded, mask_BxM, kept, place)
    if not self.config.tied:
      return self.lm_head(x_BxLxC), kept
    embedding_VxC = self.shared.embedding.astype(self.dtype)
    logits = jnp.matmul(x_BxLxC, embedding_VxC.T, preferred_element_type=jnp.float32)
    return logits * self.config.width**-0.5, kept


def _bucket(distance: Array, config: T5Config, bidirectional: bool) -> Array:
  """Near distances have a bucket each, far ones share theirs, ever more of them up to the largest."""
  if not bidirectional:
    return jnp.asarray(_buckets(config.buckets, config.max_distance))[
      jnp.clip(-distance, 0, config.max_distance)
    ]
  half = config.buckets // 2
  table = jnp.asarray(_buckets(half, config.max_distance))
  return jnp.where(distance > 0, half, 0) + table[jnp.minimum(jnp.abs(distance), config.max_distance)]


@functools.cache
def _buckets(count: int, max_distance: int) -> np.ndarray:
  """Of each distance up to the largest. On the host: a device's logarithm may fall short of a bucket's edge."""
  distance, exact = np.arange(max_distance + 1), count // 2
  share = np.log(np.maximum(distance, 1).astype(np.float32) / np.float32(exact))
  share = share / np.float32(math.log(max_distance / exact)) * np.float32(count - exact)
  far = np.minimum(exact + share.astype(np.int32), count - 1)
  return np.where(distance < exact, distance, far).astype(np.int32)


class State(NamedTuple):
  """What a batch keeps from token to token."""

  kept: list[KeysValues]
  encoded: list[KeysValues]
  mask_BxP: Array  # of the prompts


class T5:
  """Pure functions of parameters, as decoding wants them."""

  adds_special_tokens = True  # a text ends with </s>
  max_positions: int | None = None  # distances are all that counts

  def __init__(self, config: T5Config, dtype: str = "float32"):
    self.config, self.dtype = config, jnp.dtype(dtype)
    self._module = T5Module(config, self.dtype)

  @functools.cached_property
  def shapes(self) -> dict[str, Any]:
    """Of the parameters."""
    ids = jnp.zeros((1, 1), jnp.int32)
    return dict(jax.eval_shape(self._module.init, jax.random.key(0), ids, ids, ids)["params"])

  def logits(self, params: Any, ids_BxM: Array, mask_BxM: Array, decoder_ids_BxL: Array) -> Array:
    """[B, L, V]."""
    return self._apply(params, ids_BxM, mask_BxM, decoder_ids_BxL)

  def start(self, params: Any, ids_BxP: Array, mask_BxP: Array, room: int) -> tuple[Array, State]:
    """Logits [B, V] of the first new token, and a state with room for so many."""
    encoded = self._apply(params, ids_BxP, mask_BxP, method=T5Module.encode)
    first_Bx1 = jnp.full((len(ids_BxP), 1), self.config.start)
    logits, kept = self._apply(params, first_Bx1, encoded, mask_BxP, method=T5Module.decode)
    return logits[:, 0], State([with_room(own, room) for own in kept], encoded, mask_BxP)

  def step(self, params: Any, state: State, token_B: Array, i: Array) -> tuple[Array, State]:
    """Logits of the token behind new token i."""
    logits, kept = self._apply(
      params, token_B[:, None], state.encoded, state.mask_BxP, state.kept, i + 1, method=T5Module.decode
    )
    return logits[:, 0], state._replace(kept=kept)

  def _apply(self, params: Any, *args: Any, method: Any = None) -> Any:
    with jax.default_matmul_precision(precision_of(self.dtype)):
      return self._module.apply({"params": params}, *args, method=method)
