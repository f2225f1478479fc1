"""CT against references that share no code with it: NumPy by hand, SciPy's optimum, PyTorch's optimiser."""

import functools

import jax
import numpy as np
import pytest
import scipy.optimize

from synthjax.data.order import indices
from synthjax.learning.optimizer import Recipe
from synthjax.learning.step import init_state, train_step
from synthjax.learning.tune import Tune

K, D, N = 4, 6, 60


@pytest.fixture
def case():
  """Overlapping classes, so that the optimum is finite."""
  rng = np.random.default_rng(0)
  labels = rng.integers(0, K, N)
  features = rng.normal(size=(N, D)) + 0.8 * np.eye(K, D)[labels]
  return (
    features.astype(np.float32),
    labels.astype(np.int32),
    (3 * rng.normal(size=(K, D))).astype(np.float32),
  )


def log_softmax(z):
  z = z - z.max(axis=-1, keepdims=True)
  return z - np.log(np.exp(z).sum(axis=-1, keepdims=True))


def reference(W, b, W0, features, labels, soft, temperature=2.0):
  """(loss, dW, db) in float64, from the formulas."""
  x = features.astype(np.float64)
  x /= np.linalg.norm(x, axis=1, keepdims=True)
  target = np.eye(K)[labels]
  if soft:
    q = np.exp(log_softmax(x @ W0.astype(np.float64).T / temperature))
    target = 0.5 * target + 0.5 * q
  logp = log_softmax(x @ W.T + b)
  delta = (np.exp(logp) - target) / len(x)
  return -(target * logp).sum(1).mean(), delta.T @ x, delta.sum(0)


@pytest.mark.parametrize("soft", [False, True])
def test_loss_and_gradient_are_those_of_the_formulas(case, soft):
  features, labels, W0 = case
  rng = np.random.default_rng(1)
  W, b = rng.normal(size=(2, K, D)).astype(np.float32), rng.normal(size=(2, K)).astype(np.float32)
  task = Tune(W0, seeds=2, soft=soft)
  both = {"features": np.stack([features, features[::-1]]), "labels": np.stack([labels, labels])}
  batch = {"synthetic": both}
  variables = task.init(jax.random.key(0), batch)

  def loss_of(params):
    return task.loss(variables | {"params": params}, batch, jax.random.key(0), 0)[0]

  loss, grads = jax.value_and_grad(loss_of)({"W": W, "b": b})
  first = reference(W[0], b[0], W0, features, labels, soft)
  second = reference(W[1], b[1], W0, features[::-1], labels, soft)
  assert float(loss) == pytest.approx(first[0] + second[0], rel=1e-6)
  for seed, wanted in enumerate((first, second)):
    np.testing.assert_allclose(grads["W"][seed], wanted[1], atol=1e-6)
    np.testing.assert_allclose(grads["b"][seed], wanted[2], atol=1e-6)


def tuned(case, recipe, batch, seeds=(0,), soft=False):
  features, labels, W0 = case
  task = Tune(W0, len(seeds), soft)

  def batch_at(step):
    chosen = np.stack([indices(step, batch, N, seed) for seed in seeds])
    return {"synthetic": {"features": features[chosen], "labels": labels[chosen]}}

  key = jax.random.key(0)
  state = init_state(task, recipe, batch_at(0), key)
  step_of = jax.jit(functools.partial(train_step, task, recipe))
  for step in range(recipe.steps):
    state, _ = step_of(state, batch_at(step), key)
  return state.variables["params"]


def recipe(**fields) -> Recipe:
  return Recipe(
    **(dict(steps=40, learning_rate=2e-3, weight_decay=0.1, decay_all=True, copies=True) | fields)
  )


@pytest.mark.parametrize("soft", [False, True])
def test_the_whole_way_is_that_of_adamw_by_hand(case, soft):
  """Clipping by the global norm of each seed, bias correction, decoupled decay of W and b, cosine to 0 per step."""
  features, labels, W0 = case
  ours = tuned(case, recipe(learning_rate=0.05, clip_norm=0.2), batch=16, seeds=(0, 3), soft=soft)
  for place, seed in enumerate((0, 3)):
    W, b = W0.astype(np.float64), np.zeros(K)
    m, v = [np.zeros_like(W), np.zeros_like(b)], [np.zeros_like(W), np.zeros_like(b)]
    for step in range(40):
      own = indices(step, 16, N, seed)
      _, *grads = reference(W, b, W0, features[own], labels[own], soft)
      norm = np.sqrt(sum((g**2).sum() for g in grads))
      grads = [g * min(1.0, 0.2 / norm) for g in grads]
      rate = 0.05 * 0.5 * (1 + np.cos(np.pi * step / 40))
      new = []
      for i, (p, g) in enumerate(zip((W, b), grads, strict=True)):
        m[i], v[i] = 0.9 * m[i] + 0.1 * g, 0.999 * v[i] + 0.001 * g**2
        direction = (m[i] / (1 - 0.9 ** (step + 1))) / (np.sqrt(v[i] / (1 - 0.999 ** (step + 1))) + 1e-8)
        new.append(p - rate * (direction + 0.1 * p))
      W, b = new
    np.testing.assert_allclose(ours["W"][place], W, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(ours["b"][place], b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("soft", [False, True])
def test_a_long_run_ends_at_the_optimum_that_scipy_finds(case, soft):
  features, labels, W0 = case

  def of_vector(p):
    W, b = p[: K * D].reshape(K, D), p[K * D :]
    loss, dW, db = reference(W, b, W0, features, labels, soft)
    return loss, np.concatenate([dW.ravel(), db])

  best = scipy.optimize.minimize(
    of_vector, np.zeros(K * D + K), jac=True, method="BFGS", options={"gtol": 1e-8}
  )
  ours = tuned(case, recipe(steps=3000, learning_rate=0.1, weight_decay=0.0), batch=N, soft=soft)
  ours_loss, *_ = reference(ours["W"][0], ours["b"][0], W0, features, labels, soft)
  assert of_vector(np.concatenate([W0.ravel(), np.zeros(K)]))[0] > best.fun + 0.3  # there was a way to go
  assert ours_loss == pytest.approx(best.fun, abs=1e-5)


def test_a_seed_learns_the_same_beside_others(case):
  together = tuned(case, recipe(), batch=16, seeds=(0, 1, 2))
  for seed in range(3):
    alone = tuned(case, recipe(), batch=16, seeds=(seed,))
    np.testing.assert_allclose(together["W"][seed], alone["W"][0], rtol=1e-6, atol=1e-6)
  assert np.abs(together["W"][0] - together["W"][1]).max() > 1e-4  # the order of the images is its own


@pytest.mark.parity
def test_the_whole_way_is_pytorchs(case, torch):
  features, labels, W0 = case
  ours = tuned(case, recipe(learning_rate=0.02), batch=16, seeds=(5,))
  x = torch.nn.functional.normalize(torch.tensor(features), dim=1)
  linear = torch.nn.Linear(D, K)
  with torch.no_grad():
    linear.weight.copy_(torch.tensor(W0))
    linear.bias.zero_()
  optimizer = torch.optim.AdamW(linear.parameters(), lr=0.02, weight_decay=0.1)
  cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 40)
  for step in range(40):
    own = torch.tensor(indices(step, 16, N, 5))
    loss = torch.nn.functional.cross_entropy(linear(x[own]), torch.tensor(labels, dtype=torch.long)[own])
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(linear.parameters(), 1.0)
    optimizer.step()
    cosine.step()
  np.testing.assert_allclose(ours["W"][0], linear.weight.detach().numpy(), rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(ours["b"][0], linear.bias.detach().numpy(), rtol=1e-4, atol=1e-5)


# --- real and synthetic images together ----------------------------------------------------------------


def test_mix_training_adds_both_losses_and_only_synthetic_ones_are_soft(case):
  features, labels, W0 = case
  W, b = np.random.default_rng(1).normal(size=(1, K, D)).astype(np.float32), np.zeros((1, K), np.float32)
  parts = {"synthetic": slice(0, 40), "real": slice(40, 52)}
  batch = {d: {"features": features[None, own], "labels": labels[None, own]} for d, own in parts.items()}
  task = Tune(W0, seeds=1, soft=True, real_weight=0.25)
  variables = task.init(jax.random.key(0), batch)

  def loss_of(params):
    return task.loss(variables | {"params": params}, batch, jax.random.key(0), 0)[0]

  loss, grads = jax.value_and_grad(loss_of)({"W": W, "b": b})
  of = {
    d: reference(W[0], b[0], W0, features[own], labels[own], d == "synthetic") for d, own in parts.items()
  }
  assert float(loss) == pytest.approx(of["synthetic"][0] + 0.25 * of["real"][0], rel=1e-6)
  np.testing.assert_allclose(grads["W"][0], of["synthetic"][1] + 0.25 * of["real"][1], atol=1e-6)
