"""The Flax classes of diffusers and transformers, silent, and corrected where they differ from PyTorch's.

Import them from here only: their deprecation notes, hundreds of lines a run, must be switched off before the
libraries are first imported.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

from synthjax.models.without_torchvision import hide_torchvision

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")  # "neither PyTorch nor TensorFlow was found"
hide_torchvision()

import jax
import jax.numpy as jnp
from diffusers.models.attention_flax import FlaxAttention, FlaxGEGLU, FlaxTransformer2DModel
from diffusers.models.embeddings_flax import FlaxTimestepEmbedding
from diffusers.models.unets.unet_2d_condition_flax import FlaxUNet2DConditionModel
from diffusers.models.vae_flax import FlaxAttentionBlock, FlaxAutoencoderKL
from flax import linen as nn
from transformers import CLIPConfig, CLIPTextConfig, CLIPTokenizerFast, CLIPVisionConfig
from transformers.models.clip.modeling_flax_clip import (
  FlaxCLIPAttention,
  FlaxCLIPModule,
  FlaxCLIPTextModelWithProjectionModule,
  FlaxCLIPTextModule,
  FlaxCLIPTextTransformer,
)

from synthjax.models.attention import attend
from synthjax.models.precision import precision_of

__all__ = [
  "CLIPConfig",
  "CLIPTextConfig",
  "CLIPTokenizerFast",
  "CLIPVisionConfig",
  "FlaxAutoencoderKL",
  "FlaxCLIPAttention",
  "FlaxCLIPModule",
  "FlaxCLIPTextModelWithProjectionModule",
  "FlaxCLIPTextModule",
  "FlaxCLIPTextTransformer",
  "FlaxUNet2DConditionModel",
  "apply_corrected",
  "clip_attention",
  "of_config",
]

Array = jax.Array
_Network = TypeVar("_Network", FlaxAutoencoderKL, FlaxUNet2DConditionModel)


def of_config(kind: type[_Network], config: dict[str, Any], dtype: jnp.dtype = jnp.float32) -> _Network:
  """diffusers' `from_config`, which is annotated as if it might return more than the network."""
  network = kind.from_config(config, dtype=dtype)
  assert isinstance(network, kind)
  return network


def apply_corrected(
  module: nn.Module, params: Any, *args: Any, onto_time: Array | None = None, **kwargs: Any
) -> Any:
  """`module.apply`, computing what PyTorch's class of the same name computes, with our attention kernels.

  `onto_time` is added to what the UNet makes of t before its time embedding, as distilled models want it; the Flax class
  has no such input.
  """

  def correct(call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
    named = context.module.name == "time_embedding" and isinstance(context.module, FlaxTimestepEmbedding)
    if named and context.method_name == "__call__" and onto_time is not None:
      return call(args[0] + onto_time)
    return _correct(call, args, kwargs, context)

  with nn.intercept_methods(correct), jax.default_matmul_precision(precision_of(module.dtype)):
    return module.apply({"params": params}, *args, **kwargs)


def _correct(call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
  module = context.module
  if context.method_name != "__call__":
    return call(*args, **kwargs)
  if isinstance(module, FlaxGEGLU):  # theirs takes the tanh form of GELU
    linear, gate = jnp.split(module.proj(args[0]), 2, axis=2)
    return linear * nn.gelu(gate, approximate=False)
  if isinstance(module, nn.GroupNorm) and isinstance(module.parent, FlaxTransformer2DModel):
    object.__setattr__(module, "epsilon", 1e-6)  # theirs is 1e-5; the instance lives for this call alone
  if isinstance(module, FlaxAttention):
    return _attention(module, *args, **kwargs)
  if isinstance(module, FlaxAttentionBlock):
    return _decoder_attention(module, *args, **kwargs)
  if isinstance(module, FlaxCLIPAttention) and kwargs.get("attention_mask") is None:
    return (clip_attention(module, kwargs["hidden_states"]),)
  return call(*args, **kwargs)


def _attention(
  module: FlaxAttention, x_BxLxC: Array, context: Array | None = None, deterministic: bool = True
) -> Array:
  """Of the UNet's transformer blocks; theirs takes the softmax in the compute dtype and keeps all scores."""
  del deterministic  # none of the published networks drops anything out
  context = x_BxLxC if context is None else context
  heads = (module.heads, module.dim_head)
  q = module.query(x_BxLxC).reshape(*x_BxLxC.shape[:2], *heads)
  k, v = (f(context).reshape(*context.shape[:2], *heads) for f in (module.key, module.value))
  return module.proj_attn(attend(q, k, v).reshape(*x_BxLxC.shape[:2], -1))


def clip_attention(module: FlaxCLIPAttention, x_BxLxC: Array) -> Array:
  """Without a mask: CLIP's networks read at the end of a text, and what stands behind it is hidden by causality."""
  heads = (module.num_heads, module.head_dim)
  q, k, v = (
    project(x_BxLxC).reshape(*x_BxLxC.shape[:2], *heads)
    for project in (module.q_proj, module.k_proj, module.v_proj)
  )
  return module.out_proj(attend(q, k, v, causal=module.causal).reshape(x_BxLxC.shape))


def _decoder_attention(module: FlaxAttentionBlock, x_BxHxWxC: Array) -> Array:
  shape = x_BxHxWxC.shape
  x = module.group_norm(x_BxHxWxC).reshape(shape[0], shape[1] * shape[2], module.num_heads, -1)
  flat = x.reshape(*x.shape[:2], -1)
  q, k, v = (f(flat).reshape(x.shape) for f in (module.query, module.key, module.value))
  return module.proj_attn(attend(q, k, v).reshape(flat.shape)).reshape(shape) + x_BxHxWxC
