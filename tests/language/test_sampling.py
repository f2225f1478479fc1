"""Tokens fall as the distribution says, and what is dropped is what transformers drops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from synthjax.language.sampling import Rule, Settings, draw, kept, sample


def settings(temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> Settings:
  return Settings(jnp.float32(temperature), jnp.int32(top_k), jnp.float32(top_p))


def kept_of(logits, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> np.ndarray:
  rule = Rule(False, top_k > 0, top_p < 1)
  return np.asarray(
    jax.jit(kept, static_argnums=1)(jnp.asarray(logits), rule, settings(temperature, top_k, top_p))
  )


def words(n: int, seed: int = 0) -> np.ndarray:
  return np.stack([np.full(n, seed, np.uint32), np.arange(n, dtype=np.uint32)], axis=1)


# 600 tokens lie in two blocks; the seven likely ones in both.
LIKELY = np.array([0, 3, 300, 511, 512, 550, 599])
SHARES = np.array([0.3, 0.2, 0.2, 0.1, 0.1, 0.06, 0.04])


def known() -> np.ndarray:
  logits = np.full(600, -np.inf, np.float32)
  logits[LIKELY] = np.log(SHARES) + 3
  return logits


@pytest.mark.parametrize(
  ("asked", "shares"),
  [
    ({}, SHARES),
    ({"temperature": 0.5}, SHARES**2 / (SHARES**2).sum()),
    ({"top_k": 2}, np.array([3, 2, 2, 0, 0, 0, 0]) / 7),  # two tie
    ({"top_p": 0.85}, np.array([3, 2, 2, 1, 1, 0, 0]) / 9),  # 0.8 does not reach it
    ({"temperature": 2, "top_k": 5, "top_p": 0.5}, None),
  ],
)
def test_tokens_fall_as_the_distribution_says(asked, shares):
  n = 20_000
  logits = jnp.broadcast_to(known(), (n, 600))
  rule = Rule(False, "top_k" in asked, "top_p" in asked)
  found = np.asarray(jax.jit(sample, static_argnums=3)(logits, words(n), 5, rule, settings(**asked)))
  counts = np.array([(found == token).sum() for token in LIKELY])
  assert counts.sum() == n
  if shares is None:  # square roots of five, of which the first three come to more than a half
    roots = np.sqrt(SHARES[:3])
    shares = np.concatenate([roots / roots.sum(), np.zeros(4)])
  may = shares > 0
  assert not counts[~may].any()
  chi = (((counts - n * shares)[may] ** 2) / (n * shares[may])).sum()
  print(f"\n{asked}: chi-square {chi:.1f} of {may.sum() - 1} degrees of freedom")
  assert chi < 22.5  # 6 degrees: p = 0.001


def test_rows_and_steps_have_draws_of_their_own():
  logits = jnp.zeros((4, 600))
  same = np.asarray(draw(logits, np.zeros((4, 2), np.uint32), 0))
  assert len(set(same)) == 1
  drawn = jax.jit(draw)
  steps = np.array([drawn(logits, words(4), i) for i in range(50)])
  assert abs(np.corrcoef(steps.T)[np.triu_indices(4, 1)]).max() < 0.5
  assert all(len(set(column)) > 40 for column in steps.T)
  alone = draw(logits[:1], words(4)[2:3], 7)
  assert alone[0] == draw(logits, words(4), 7)[2]


def theirs(torch, logits, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> np.ndarray:
  from transformers.generation import logits_process as warpers

  scores = torch.tensor(logits)
  if temperature != 1:
    scores = warpers.TemperatureLogitsWarper(float(temperature))(None, scores)
  if top_k:
    scores = warpers.TopKLogitsWarper(top_k)(None, scores)
  if top_p < 1:
    scores = warpers.TopPLogitsWarper(top_p)(None, scores)
  return scores.numpy()


@pytest.mark.parity
@pytest.mark.parametrize("vocabulary", [7, 1000])
def test_what_is_dropped_is_what_transformers_drops(torch, vocabulary):
  rng = np.random.default_rng(vocabulary)
  logits = rng.normal(0, 3, (200, vocabulary)).astype(np.float32)
  cases = [
    (1.0, 1, 1.0),
    (1.0, 5, 1.0),
    (1.0, 5000, 1.0),
    (0.7, 0, 0.9),
    (1.3, 0, 0.5),
    (0.6, 20, 0.95),
    (1.0, 3, 0.01),
  ]
  sizes = []
  for asked in cases:
    ours, want = kept_of(logits, *asked), theirs(torch, logits, *asked)
    np.testing.assert_array_equal(np.isinf(ours), np.isinf(want))
    np.testing.assert_allclose(ours[np.isfinite(ours)], want[np.isfinite(want)], rtol=1e-6)
    sizes.append(np.isfinite(ours).sum(1).mean())
  assert len(set(sizes)) >= 5


@pytest.mark.parity
def test_ties(torch):
  """Of top-k all stay; of the nucleus so many as transformers keep, which breaks ties by chance: here the last stay."""
  rng = np.random.default_rng(0)
  logits = rng.integers(-2, 3, (300, 40)).astype(np.float32)
  np.testing.assert_array_equal(np.isinf(kept_of(logits, 1, 4)), np.isinf(theirs(torch, logits, 1, 4)))
  for top_p in (0.05, 0.3, 0.77, 0.9):
    ours, want = kept_of(logits, 1, 0, top_p), theirs(torch, logits, 1, 0, top_p)
    for row, own, other in zip(logits, ours, want, strict=True):
      assert sorted(row[np.isfinite(own)]) == sorted(row[np.isfinite(other)])
      bound = row[np.isfinite(own)].min()
      stays = np.isfinite(own)[row == bound]
      assert np.all(np.diff(stays.astype(int)) >= 0)


def test_one_token_always_stays():
  for logits in (
    np.zeros((1, 9), np.float32),
    np.array([[-np.inf, 2, 2, -np.inf]], np.float32),
    known()[None],
  ):
    for asked in ((1.0, 0, 1e-9), (1e-3, 1, 1e-9), (100.0, 0, 0.01)):
      assert np.isfinite(kept_of(logits, *asked)).sum() >= 1
  assert np.isfinite(kept_of(np.zeros((1, 9), np.float32), 1.0, 0, 1e-9))[0].tolist() == [False] * 8 + [True]
