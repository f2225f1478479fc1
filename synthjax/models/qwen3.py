"""Qwen3 (Yang et al. 2025), dense: a decoder with grouped queries, norms of queries and keys, rotary positions, SwiGLU.

Residual branches are summed in float32 whatever the dtype, and logits are float32. Texts are padded on the left, so that
all rows of a batch write their next token to the same place.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from synthjax.models.kept_attention import KeysValues, attend, bias_of, heads_first, with_room, written
from synthjax.models.norms import RMSNorm
from synthjax.models.precision import dot_to_float32, precision_of

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class Qwen3Config:
  vocabulary: int
  width: int
  hidden: int  # of the MLP
  layers: int
  heads: int
  key_heads: int
  head_size: int
  max_positions: int
  theta: float = 10000.0
  epsilon: float = 1e-6
  tied: bool = False  # the last layer is the embedding
  attention_bias: bool = False


class Attention(nn.Module):
  config: Qwen3Config
  dtype: jnp.dtype

  @nn.compact
  def __call__(
    self, x_BxLxC: Array, angles_BxLxD: Array, bias: Array, kept: KeysValues | None, place: Array | int
  ) -> tuple[Array, KeysValues]:
    config = self.config

    def dense(width: int, name: str) -> nn.Dense:
      return nn.Dense(width, config.attention_bias, self.dtype, name=name)

    def split(heads: int, name: str) -> Array:
      return dense(heads * config.head_size, name)(x_BxLxC).reshape(
        *x_BxLxC.shape[:2], heads, config.head_size
      )

    def norm(name: str) -> RMSNorm:
      return RMSNorm(config.epsilon, self.dtype, name=name)

    q = _rotated(norm("q_norm")(split(config.heads, "q_proj")), angles_BxLxD)
    k = _rotated(norm("k_norm")(split(config.key_heads, "k_proj")), angles_BxLxD)
    new = heads_first(k, split(config.key_heads, "v_proj"))
    kept = new if kept is None else written(kept, new, place)
    found = attend(q, kept, bias, config.head_size**-0.5)
    return dense(config.width, "o_proj")(found.reshape(*x_BxLxC.shape[:2], -1)), kept


class MLP(nn.Module):
  config: Qwen3Config
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, x_BxLxC: Array) -> Array:
    dense = functools.partial(nn.Dense, use_bias=False, dtype=self.dtype)
    gate = nn.silu(dense(self.config.hidden, name="gate_proj")(x_BxLxC))
    return dense(self.config.width, name="down_proj")(
      gate * dense(self.config.hidden, name="up_proj")(x_BxLxC)
    )


class Layer(nn.Module):
  config: Qwen3Config
  dtype: jnp.dtype

  @nn.compact
  def __call__(
    self, x_BxLxC: Array, angles: Array, bias: Array, kept: KeysValues | None, place: Array | int
  ) -> tuple[Array, KeysValues]:
    config, dtype = self.config, self.dtype
    y = RMSNorm(config.epsilon, dtype, name="input_layernorm")(x_BxLxC)
    y, kept = Attention(config, dtype, name="self_attn")(y, angles, bias, kept, place)
    x = x_BxLxC + y
    y = RMSNorm(config.epsilon, dtype, name="post_attention_layernorm")(x)
    return x + MLP(config, dtype, name="mlp")(y), kept


class Decoder(nn.Module):
  config: Qwen3Config
  dtype: jnp.dtype

  def setup(self) -> None:
    config = self.config
    self.embed_tokens = nn.Embed(config.vocabulary, config.width)
    self.layers = [Layer(config, self.dtype) for _ in range(config.layers)]
    self.norm = RMSNorm(config.epsilon, self.dtype)

  def __call__(
    self, ids_BxL: Array, positions_BxL: Array, seen: Array, kept: list[KeysValues] | None, place: Array | int
  ) -> tuple[Array, list[KeysValues]]:
    x = self.embed_tokens(ids_BxL).astype(jnp.float32)
    angles, bias, new = _angles(self.config, positions_BxL), bias_of(seen), []
    for i, layer in enumerate(self.layers):
      x, own = layer(x, angles, bias, None if kept is None else kept[i], place)
      new.append(own)
    return self.norm(x), new


class Qwen3Module(nn.Module):
  config: Qwen3Config
  dtype: jnp.dtype = jnp.float32

  def setup(self) -> None:
    self.model = Decoder(self.config, self.dtype)
    if not self.config.tied:
      self.lm_head = nn.Dense(
        self.config.vocabulary, use_bias=False, dtype=self.dtype, dot_general=dot_to_float32
      )

  def __call__(
    self,
    ids_BxL: Array,
    positions_BxL: Array,
    seen: Array,
    kept: list[KeysValues] | None = None,
    place: Array | int = 0,
    last: bool = False,
  ) -> tuple[Array, list[KeysValues]]:
    """Logits [B, L, V] in float32, or [B, 1, V] of the last place, and the keys and values, the new ones among them.

    `seen` is bool [1 or B, 1, L, M]: which of the M kept places each token sees.
    """
    x_BxLxC, kept = self.model(ids_BxL, positions_BxL, seen, kept, place)
    x_BxLxC = x_BxLxC[:, -1:] if last else x_BxLxC
    if not self.config.tied:
      return self.lm_head(x_BxLxC), kept
    embedding_VxC = self.model.embed_tokens.embedding.astype(self.dtype)
    return jnp.matmul(x_BxLxC, embedding_VxC.T, preferred_element_type=jnp.float32), kept


def _angles(config: Qwen3Config, positions_BxL: Array) -> Array:
  """[B, L, D]; both halves of a head turn by the same."""
  exponents = jnp.arange(0, config.head_size, 2, dtype=jnp.float32) / config.head_size
  half = positions_BxL[..., None].astype(jnp.float32) * (1 / config.theta**exponents)
  return jnp.concatenate([half, half], axis=-1)


def _rotated(x_BxLxHxD: Array, angles_BxLxD: Array) -> Array:
  x, angles = x_BxLxHxD.astype(jnp.float32), angles_BxLxD[:, :, None]
  first, second = jnp.split(x, 2, axis=-1)
  turned = jnp.concatenate([-second, first], axis=-1)
  return (x * jnp.cos(angles) + turned * jnp.sin(angles)).astype(x_BxLxHxD.dtype)


class State(NamedTuple):
  """What a batch keeps from token to token."""

  kept: list[KeysValues]
  mask_BxP: Array  # of the prompts


class Qwen3:
  """Pure functions of parameters, as decoding wants them."""

  adds_special_tokens = False  # a text is a chat with all its marks, or is continued as it is

  def __init__(self, config: Qwen3Config, dtype: str = "float32"):
    self.config, self.dtype = config, jnp.dtype(dtype)
    self.max_positions: int | None = config.max_positions
    self._module = Qwen3Module(config, self.dtype)

  @functools.cached_property
  def shapes(self) -> dict[str, Any]:
    """Of the parameters."""
    ids, seen = jnp.zeros((1, 1), jnp.int32), jnp.ones((1, 1, 1, 1), bool)
    return dict(jax.eval_shape(self._module.init, jax.random.key(0), ids, ids, seen)["params"])

  def logits(self, params: Any, ids_BxL: Array, mask_BxL: Array) -> Array:
    """[B, L, V] of whole texts; a place sees itself and those before that the mask has."""
    return self._apply(params, ids_BxL, _positions(mask_BxL), _causal(mask_BxL))[0]

  def start(self, params: Any, ids_BxP: Array, mask_BxP: Array, room: int) -> tuple[Array, State]:
    """Logits [B, V] of the first new token, and a state with room for so many."""
    logits, kept = self._apply(params, ids_BxP, _positions(mask_BxP), _causal(mask_BxP), last=True)
    return logits[:, 0], State([with_room(own, room) for own in kept], mask_BxP)

  def step(self, params: Any, state: State, token_B: Array, i: Array) -> tuple[Array, State]:
    """Logits of the token behind new token i."""
    prompt = state.mask_BxP.shape[1]
    room = state.kept[0][0].shape[2] - prompt
    new = jnp.broadcast_to(jnp.arange(room) <= i, (len(token_B), room))
    seen = jnp.concatenate([state.mask_BxP.astype(bool), new], axis=1)[:, None, None]
    position_Bx1 = state.mask_BxP.sum(1, keepdims=True) + i
    logits, kept = self._apply(params, token_B[:, None], position_Bx1, seen, state.kept, prompt + i)
    return logits[:, 0], State(kept, state.mask_BxP)

  def _apply(self, params: Any, *args: Any, last: bool = False) -> Any:
    with jax.default_matmul_precision(precision_of(self.dtype)):
      return self._module.apply({"params": params}, *args, last=last)


def _positions(mask_BxL: Array) -> Array:
  return jnp.maximum(jnp.cumsum(mask_BxL, axis=1) - 1, 0)


def _causal(mask_BxL: Array) -> Array:
  length = mask_BxL.shape[1]
  return mask_BxL.astype(bool)[:, None, None] & jnp.tril(jnp.ones((length, length), bool))
