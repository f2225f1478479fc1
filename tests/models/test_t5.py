"""T5's logits are PyTorch's, 1.0 and 1.1, with the cache and without, and t5-base has the published tensors."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from synthjax.models.t5 import T5, T5Config
from tests.models import language_torch
from tests.models.language_torch import error, logits_of, padded, params_of

SIZES = T5Config(300, 32, 96, 2, 3, 4, 8, start=0)
FLAN = T5Config(300, 32, 96, 2, 3, 4, 8, start=0, gated=True, tied=False)


@pytest.mark.parity
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_logits_equal_pytorchs(torch, version):
  own = {} if version == "1.0" else dict(feed_forward_proj="gated-gelu", tie_word_embeddings=False)
  model = language_torch.t5(torch, **own)
  network = T5(SIZES if version == "1.0" else FLAN)
  params = params_of(network.shapes, model)
  lengths = [200, 3, 17]  # beyond the largest distance that has a bucket of its own
  ids, mask = padded(np.random.default_rng(1), lengths, left=False)
  decoder_ids = np.random.default_rng(2).integers(2, 300, (3, 150)).astype(np.int32)
  with torch.no_grad():
    want = model(torch.tensor(ids).long(), torch.tensor(mask), torch.tensor(decoder_ids).long()).logits
  ours = np.asarray(logits_of(network)(params, ids, mask, decoder_ids))
  alone = logits_of(network)(params, ids[2:, :17], np.ones((1, 17), np.int32), decoder_ids[2:])
  left = logits_of(network)(params, *(np.roll(x[1:2], -3, axis=1) for x in (ids, mask)), decoder_ids[1:2])
  errors = {"padded": error(ours, want), "alone": error(alone, want[2:]), "left": error(left, want[1:2])}
  print(f"\nT5 {version}: {errors}, logits spread {want.std():.2f}")
  assert want.std() > 0.5 and max(errors.values()) <= 3e-5  # scores are not scaled: a sharp softmax
  assert np.linalg.norm(ours[0] - ours[1]) > 0.1 * np.linalg.norm(ours[0])  # the encoder counts


@pytest.mark.parametrize("config", [SIZES, FLAN])
def test_steps_equal_the_whole(config):
  """Keys and values that are kept are those of the whole text."""
  network = T5(config)
  params = random_params(network)
  ids, mask = padded(np.random.default_rng(2), [9, 5], left=True)
  new = np.random.default_rng(3).integers(2, 300, (2, 4)).astype(np.int32)
  whole = np.asarray(
    logits_of(network)(params, ids, mask, np.concatenate([np.zeros((2, 1), np.int32), new], axis=1))
  )
  step = jax.jit(network.step)
  logits, state = jax.jit(network.start, static_argnums=3)(params, ids, mask, 5)
  for i in range(4):
    np.testing.assert_allclose(logits, whole[:, i], atol=2e-5 * np.abs(whole).max())
    logits, state = step(params, state, new[:, i], jnp.int32(i))
  np.testing.assert_allclose(logits, whole[:, -1], atol=2e-5 * np.abs(whole).max())


def test_half_precision_is_near():
  network, half = T5(FLAN), T5(FLAN, "bfloat16")
  params = random_params(network)
  ids, mask = padded(np.random.default_rng(2), [9, 5], left=True)
  logits = logits_of(half)(jax.tree.map(lambda x: jnp.asarray(x, jnp.bfloat16), params), ids, mask, ids)
  want = np.asarray(logits_of(network)(params, ids, mask, ids))
  assert logits.dtype == jnp.float32
  assert 1e-4 < np.linalg.norm(logits - want) / np.linalg.norm(want) < 0.06


def random_params(network: T5):
  rng = np.random.default_rng(0)
  flat = traverse_util.flatten_dict(network.shapes)
  made = {
    p: (rng.standard_normal(x.shape) * 0.2 + (p[-1] == "scale")).astype(np.float32) for p, x in flat.items()
  }
  return traverse_util.unflatten_dict(made)


@pytest.mark.parity
def test_published_size(torch):
  from transformers import T5Config as Theirs
  from transformers import T5ForConditionalGeneration

  network = T5(T5Config(32128, 768, 3072, 12, 12, 12, 64, start=0))
  sizes = dict(d_model=768, d_ff=3072, num_layers=12, num_heads=12, d_kv=64, vocab_size=32128)
  with torch.device("meta"):
    language_torch.same_shapes(network.shapes, T5ForConditionalGeneration(Theirs(**sizes)))
  assert sum(math.prod(x.shape) for x in jax.tree.leaves(network.shapes)) == 222_903_552
