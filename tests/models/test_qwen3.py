"""Qwen3's logits are PyTorch's, with the cache and without, and its published sizes have the published tensors."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from synthjax.models import kept_attention
from synthjax.models.qwen3 import Qwen3, Qwen3Config
from tests.models import language_torch
from tests.models.language_torch import error, logits_of, padded, params_of

SIZES = Qwen3Config(300, 48, 96, 2, 4, 2, 16, 256, theta=1e6)


def mask_of(shape: tuple[int, ...]) -> np.ndarray:
  return np.ones(shape, np.int32)


@pytest.mark.parity
@pytest.mark.parametrize(
  "kind", [{}, {"tie_word_embeddings": True}, {"attention_bias": True, "num_key_value_heads": 4}]
)
def test_logits_equal_pytorchs(torch, kind):
  model = language_torch.qwen3(torch, **kind)
  config = model.config
  network = Qwen3(
    Qwen3Config(
      300,
      48,
      96,
      2,
      4,
      config.num_key_value_heads,
      16,
      256,
      1e6,
      1e-6,
      bool(kind.get("tie_word_embeddings")),
      config.attention_bias,
    )
  )
  params = params_of(network.shapes, model)
  ids, mask = padded(np.random.default_rng(1), [40, 3, 17], left=True)
  with torch.no_grad():
    alone = model(torch.tensor(ids[:1]).long()).logits
    positions = torch.tensor(np.maximum(mask.cumsum(1) - 1, 0)).long()
    want = model(torch.tensor(ids).long(), torch.tensor(mask), positions).logits
  ours = np.asarray(logits_of(network)(params, ids, mask))
  errors = {
    "alone": error(logits_of(network)(params, ids[:1], mask_of((1, 40))), alone),
    "padded": max(error(ours[i, 40 - n :], want[i, 40 - n :]) for i, n in enumerate((40, 3, 17))),
  }
  print(f"\nQwen3 {kind}: {errors}, logits spread {want.std():.2f}")
  assert want.std() > 0.5 and max(errors.values()) <= 1e-5
  # What stands before a text and what is masked there are nothing to it.
  other = np.where(mask, ids, 7)
  np.testing.assert_array_equal(np.asarray(logits_of(network)(params, other, mask))[1, 37:], ours[1, 37:])


def test_steps_equal_the_whole(qwen3_params):
  """Keys and values that are kept are those of the whole text."""
  network, params = qwen3_params
  ids, mask = padded(np.random.default_rng(2), [9, 5], left=True)
  new = np.random.default_rng(3).integers(2, 300, (2, 4)).astype(np.int32)
  whole_ids = np.concatenate([ids, new], axis=1)
  whole = np.asarray(logits_of(network)(params, whole_ids, np.concatenate([mask, mask_of((2, 4))], axis=1)))
  step = jax.jit(network.step)
  logits, state = jax.jit(network.start, static_argnums=3)(params, ids, mask, 4)
  for i in range(4):
    np.testing.assert_allclose(logits, whole[:, 8 + i], atol=2e-5 * np.abs(whole).max())
    logits, state = step(params, state, new[:, i], jnp.int32(i))
  np.testing.assert_allclose(logits, whole[:, -1], atol=2e-5 * np.abs(whole).max())


def test_scores_too_large_at_once(qwen3_params, monkeypatch):
  network, params = qwen3_params
  ids, mask = padded(np.random.default_rng(2), [9, 5, 7, 1], left=True)
  whole = logits_of(network)(params, ids, mask)
  row = 4 * 4 * 9 * 9
  for most in (row, 2 * row):  # one row at once, or two
    monkeypatch.setattr(kept_attention, "_SCORES", most)
    parted = jax.jit(lambda *x: network.logits(*x))(params, ids, mask)
    np.testing.assert_allclose(parted, whole, atol=1e-5)


def test_half_precision_is_near(qwen3_params):
  network, params = qwen3_params
  half = Qwen3(network.config, "bfloat16")
  ids, mask = padded(np.random.default_rng(2), [9, 5], left=True)
  logits = logits_of(half)(jax.tree.map(lambda x: jnp.asarray(x, jnp.bfloat16), params), ids, mask)
  assert logits.dtype == jnp.float32
  seen = mask.astype(bool)
  want = np.asarray(logits_of(network)(params, ids, mask))[seen]
  assert 1e-4 < np.linalg.norm(np.asarray(logits)[seen] - want) / np.linalg.norm(want) < 0.03


@pytest.fixture(scope="module")
def qwen3_params():
  network = Qwen3(SIZES)
  rng = np.random.default_rng(0)
  flat = traverse_util.flatten_dict(network.shapes)
  made = {
    p: (rng.standard_normal(x.shape) * 0.2 + (p[-1] == "scale")).astype(np.float32) for p, x in flat.items()
  }
  return network, traverse_util.unflatten_dict(made)


# As published, with the number of parameters that the papers' sizes come to: width, MLP, layers, heads, tied.
PUBLISHED = {
  "0.6B": (1024, 3072, 28, 16, True, 596_049_920),
  "1.7B": (2048, 6144, 28, 16, True, 1_720_574_976),
  "4B": (2560, 9728, 36, 32, True, 4_022_468_096),
  "8B": (4096, 12288, 36, 32, False, 8_190_735_360),
}


@pytest.mark.parity
@pytest.mark.parametrize("size", PUBLISHED)
def test_published_sizes(torch, size):
  from transformers import Qwen3Config as Theirs
  from transformers import Qwen3ForCausalLM

  width, hidden, layers, heads, tied, count = PUBLISHED[size]
  network = Qwen3(Qwen3Config(151936, width, hidden, layers, heads, 8, 128, 40960, 1e6, tied=tied))
  own = dict(vocab_size=151936, hidden_size=width, intermediate_size=hidden, num_hidden_layers=layers)
  own |= dict(num_attention_heads=heads, num_key_value_heads=8, head_dim=128, tie_word_embeddings=tied)
  with torch.device("meta"):
    language_torch.same_shapes(network.shapes, Qwen3ForCausalLM(Theirs(**own)))
  assert sum(math.prod(x.shape) for x in jax.tree.leaves(network.shapes)) == count
