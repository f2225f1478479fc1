"""Every kernel computes the same attention, and the choice follows what the hardware can do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from synthjax.models import attention


def by_hand(q, k, v, causal: bool) -> np.ndarray:
  q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
  scores = np.einsum("blhd,bmhd->bhlm", q, k) / np.sqrt(q.shape[-1])
  if causal:
    scores = np.where(np.tril(np.ones(scores.shape[-2:], bool)), scores, -np.inf)
  weights = np.exp(scores - scores.max(-1, keepdims=True))
  return np.einsum("bhlm,bmhd->blhd", weights / weights.sum(-1, keepdims=True), v)


def some(length: int, keys: int, heads: int, size: int, dtype=jnp.float32):
  rng = np.random.default_rng(0)
  lengths = (length, keys, keys)
  return tuple(jnp.asarray(3 * rng.standard_normal((2, n, heads, size)), dtype) for n in lengths)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
  ("length", "keys", "heads", "size"), [(16, 16, 2, 8), (64, 64, 1, 512), (10, 10, 3, 5)]
)
def test_it_is_what_the_formula_says(length, keys, heads, size, causal):
  q, k, v = some(length, keys, heads, size)
  got = jax.jit(attention.attend, static_argnames="causal")(q, k, v, causal=causal)
  want = by_hand(q, k, v, causal)
  assert np.linalg.norm(got - want) <= 1e-5 * np.linalg.norm(want)


def test_parts_of_the_queries_give_the_same(monkeypatch):
  q, k, v = some(64, 24, 2, 8)
  whole = attention.attend(q, k, v)
  monkeypatch.setattr(attention, "_SCORES", 4 * 4 * 24 * 16)  # room for 16 queries of 2 images and 2 heads
  with attention.recorded() as chosen:
    parts = attention.attend(q, k, v)
  assert np.linalg.norm(parts - whole) <= 1e-5 * np.linalg.norm(whole)
  assert chosen == {"chunked in 4": ["64x24 (2 heads of 8)"]}


def test_sixteen_bits_take_the_softmax_in_thirty_two():
  """Scores near 300: bfloat16 would round them by 1, and a softmax of that is another one."""
  q, k, v = some(32, 32, 1, 64, jnp.bfloat16)
  q = q * 6
  got = attention.attend(q, k, v)
  assert got.dtype == jnp.bfloat16
  np.testing.assert_allclose(got.astype(jnp.float32), by_hand(q, k, v, False), rtol=0.02, atol=0.06)


@pytest.mark.parametrize(
  ("platform", "dtype", "length", "keys", "size", "kernel"),
  [
    ("cuda9.0", "bfloat16", 4096, 4096, 40, "cudnn"),
    ("cuda9.0", "bfloat16", 1024, 1024, 160, "cudnn"),
    ("cuda8.0", "bfloat16", 1024, 1024, 160, "plain"),  # too wide for Ampere
    ("cuda7.5", "float16", 4096, 4096, 64, "chunked in 4"),
    ("cuda9.0", "float32", 4096, 4096, 40, "chunked in 4"),
    ("cuda9.0", "bfloat16", 4096, 4096, 36, "chunked in 4"),  # no multiple of 8
    ("cuda9.0", "bfloat16", 4096, 77, 40, "plain"),
    ("cuda9.0", "bfloat16", 16384, 16384, 512, "chunked in 64"),
    ("tpu", "bfloat16", 1024, 1024, 64, "plain"),
  ],
)
def test_the_choice(platform, dtype, length, keys, size, kernel):
  assert str(attention.choose(platform, jnp.dtype(dtype), 32, length, keys, size)) == kernel


def test_what_cannot_be_halved_stays_whole():
  assert attention.choose("cpu", jnp.dtype("float32"), 64, 4097, 4097, 64).parts == 1
