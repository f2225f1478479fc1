"""The Flax classes of diffusers and transformers, silent, and corrected where they differ from PyTorch's.

Import them from here only: their deprecation notes, hundreds of lines a run, must be switched off before the
libraries are first imported.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")  # "neither PyTorch nor TensorFlow was found"

import jax.numpy as jnp
from diffusers import FlaxAutoencoderKL, FlaxUNet2DConditionModel
from diffusers.models.attention_flax import FlaxGEGLU, FlaxTransformer2DModel
from flax import linen as nn
from transformers import CLIPConfig, CLIPTextConfig, CLIPTokenizerFast
from transformers.models.clip.modeling_flax_clip import FlaxCLIPModule, FlaxCLIPTextModule

__all__ = [
  "CLIPConfig",
  "CLIPTextConfig",
  "CLIPTokenizerFast",
  "FlaxAutoencoderKL",
  "FlaxCLIPModule",
  "FlaxCLIPTextModule",
  "FlaxUNet2DConditionModel",
  "apply_corrected",
]


def apply_corrected(module: nn.Module, params: Any, *args: Any, **kwargs: Any) -> Any:
  """`module.apply`, computing what PyTorch's class of the same name computes."""
  with nn.intercept_methods(_correct):
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
  return call(*args, **kwargs)
