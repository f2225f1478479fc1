"""Optimisers and schedules against PyTorch's, step for step; schedules by hand; what is frozen stays."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from synthjax.training.optimizer import Recipe, frozen, optimizer, schedule

STEPS = 20
START = {"w": np.array([[1.0, -2.0], [0.5, 3.0]], np.float32), "b": np.array([0.3, -0.1], np.float32)}


def gradient(params, t):
  """Of nothing in particular, but the same for both."""
  return {k: np.sin(3 * np.asarray(v) + t).astype(np.float32) for k, v in params.items()}


def ours(recipe):
  tx, params = optimizer(recipe), jax.tree.map(jnp.asarray, START)
  state = tx.init(params)
  for t in range(STEPS):
    updates, state = tx.update(jax.tree.map(jnp.asarray, gradient(params, t)), state, params)
    params = optax.apply_updates(params, updates)
  return params


def theirs(torch, make, scheduler):
  params = {k: torch.nn.Parameter(torch.tensor(v)) for k, v in START.items()}
  learner = make(list(params.values()))
  rates = scheduler(learner)
  for t in range(STEPS):
    for k, g in gradient({k: v.detach().numpy() for k, v in params.items()}, t).items():
      params[k].grad = torch.tensor(g)
    learner.step()
    rates.step()
  return {k: v.detach().numpy() for k, v in params.items()}


COMMON = dict(steps=STEPS, decay_all=True, clip_norm=0.0)


@pytest.mark.parity
@pytest.mark.parametrize("kind", ["adamw", "sgd", "nesterov"])
@pytest.mark.parametrize("falls", ["cosine", "step"])
def test_twenty_steps_are_those_of_pytorch(torch, kind, falls):
  sgd, nesterov = kind != "adamw", kind == "nesterov"
  recipe = Recipe(
    learning_rate=0.05,
    weight_decay=0.1,
    schedule=falls,
    drops=(0.3, 0.6),
    optimizer="sgd" if sgd else "adamw",
    nesterov=nesterov,
    **COMMON,
  )

  def make(params):
    if sgd:
      return torch.optim.SGD(params, lr=0.05, momentum=0.9, weight_decay=0.1, nesterov=nesterov)
    return torch.optim.AdamW(params, lr=0.05, weight_decay=0.1)

  schedulers = torch.optim.lr_scheduler
  scheduler = {
    "cosine": lambda o: schedulers.CosineAnnealingLR(o, STEPS),
    "step": lambda o: schedulers.MultiStepLR(o, [6, 12], 0.1),
  }[falls]
  got, expected = ours(recipe), theirs(torch, make, scheduler)
  for k in START:
    np.testing.assert_allclose(got[k], expected[k], rtol=1e-5, atol=1e-6)


def test_warm_up_stable_and_decay():
  rate = schedule(Recipe(steps=100, learning_rate=1.0, warmup=10, schedule="wsd", cooldown=0.2))
  assert [float(rate(t)) for t in (0, 5, 10, 79, 80, 90, 100)] == pytest.approx([0, 0.5, 1, 1, 1, 0.5, 0])


def test_drops_count_from_the_first_step_warm_up_or_not():
  for warmup in (0, 10):
    rate = schedule(Recipe(steps=100, learning_rate=1.0, warmup=warmup, schedule="step", drops=(0.5,)))
    assert [float(rate(t)) for t in (20, 49, 51)] == pytest.approx([1, 1, 0.1])


def test_what_is_frozen_stays_and_does_not_decay():
  recipe = Recipe(steps=STEPS, learning_rate=0.1, weight_decay=0.5, freeze="w")
  assert frozen(START, "w") == {"w": "frozen", "b": "learns"}
  params = ours(recipe)
  np.testing.assert_array_equal(params["w"], START["w"])
  assert not np.allclose(params["b"], START["b"])
