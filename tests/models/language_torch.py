"""The oracle of language models: transformers' PyTorch classes, tiny, with weights that let every part show."""

import functools
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from synthjax.models.qwen3 import Qwen3
from synthjax.models.t5 import T5
from synthjax.weights import names

T5_SIZES = dict(
  vocab_size=300,
  d_model=32,
  d_kv=8,
  d_ff=96,
  num_layers=2,
  num_decoder_layers=3,
  num_heads=4,
  decoder_start_token_id=0,
)
QWEN3_SIZES = dict(
  vocab_size=300,
  hidden_size=48,
  intermediate_size=96,
  num_hidden_layers=2,
  num_attention_heads=4,
  num_key_value_heads=2,
  head_dim=16,
  max_position_embeddings=256,
  rope_theta=1e6,
)


def t5(torch, **config: Any):
  from transformers import T5Config, T5ForConditionalGeneration

  return _scattered(torch, T5ForConditionalGeneration, T5Config(**T5_SIZES | config))


def qwen3(torch, **config: Any):
  from transformers import Qwen3Config, Qwen3ForCausalLM

  return _scattered(torch, Qwen3ForCausalLM, Qwen3Config(**QWEN3_SIZES | config, attn_implementation="eager"))


def _scattered(torch, kind, config):
  """Norms away from 1 and biases from 0, and matrices so large that neither attention nor logits are flat."""
  model, noise = kind(config).eval(), np.random.default_rng(0)
  with torch.no_grad():
    for name, own in model.named_parameters():
      centre, spread = (1.0, 0.3) if "norm" in name and own.ndim == 1 else (0.0, 1.5 * own.shape[-1] ** -0.5)
      if "embed" in name or "shared" in name or "relative" in name:
        spread = 1.0
      own.copy_(torch.tensor(centre + spread * noise.standard_normal(own.shape)))
  return model


def params_of(shapes: Any, model) -> Any:
  """A PyTorch network's, for the one of ours whose parameters have these shapes."""
  own = model.state_dict()
  flat = {
    path: names.to_flax(path, own[names.torch_names(path)[0]].numpy())
    for path in traverse_util.flatten_dict(shapes)
  }
  return traverse_util.unflatten_dict(flat)


@functools.cache
def logits_of(network: T5 | Qwen3):
  return jax.jit(network.logits)


def padded(
  rng: np.random.Generator, lengths: list[int], left: bool, most: int = 300
) -> tuple[np.ndarray, np.ndarray]:
  """Token ids [B, L] of these lengths, and their mask."""
  ids, mask = np.zeros((2, len(lengths), max(lengths)), np.int32)
  for row, seen, n in zip(ids, mask, lengths, strict=True):
    where = slice(max(lengths) - n, None) if left else slice(n)
    row[where], seen[where] = rng.integers(2, most, n), 1
  return ids, mask


def error(ours: Any, theirs: Any) -> float:
  theirs = theirs.detach().float().numpy()
  return float(np.linalg.norm(np.asarray(ours) - theirs) / np.linalg.norm(theirs))


def same_shapes(shapes: Any, model) -> None:
  """Ours has every tensor of theirs, in its shape, and no other; what shares memory with another counts once."""
  ours = {
    names.torch_names(path)[0]: names.torch_shape(path, leaf.shape)
    for path, leaf in traverse_util.flatten_dict(shapes).items()
  }
  theirs = {name: tuple(own.shape) for name, own in model.named_parameters()}
  assert ours == theirs
