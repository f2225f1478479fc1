"""What frozen features are good for: nearest neighbours, and a linear classifier on them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax

Array = np.ndarray


def nearest(
  known_NxD: Array, labels_N: Array, asked_MxD: Array, classes: int, k: int = 20, temperature: float = 0.07
) -> Array:
  """Weighted k-NN by cosine (Wu et al. 2018): scores [M, K], the log of each class's share of exp(cosine / temperature)."""
  k = min(k, len(known_NxD))
  known, asked = (
    x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in (known_NxD, asked_MxD)
  )
  scores_MxK = np.zeros((len(asked), classes))
  for start in range(0, len(asked), 1024):
    cosine = asked[start : start + 1024] @ known.T
    best = np.argpartition(-cosine, k - 1, axis=1)[:, :k]
    weights = np.exp((np.take_along_axis(cosine, best, 1) - 1) / temperature)
    rows = np.repeat(np.arange(len(best)), k)
    np.add.at(scores_MxK[start : start + 1024], (rows, labels_N[best].ravel()), weights.ravel())
  return np.log(scores_MxK / scores_MxK.sum(1, keepdims=True) + 1e-12)


def linear(
  known_NxD: Array, labels_N: Array, asked_MxD: Array, classes: int, strength: float = 1.0, steps: int = 200
) -> Array:
  """Logits [M, K] of multinomial regression with an L2 penalty of 1 / (2 strength), by L-BFGS, on standardised features."""
  mean, spread = known_NxD.mean(0), known_NxD.std(0) + 1e-6
  x, y = jnp.asarray((known_NxD - mean) / spread), jnp.asarray(labels_N)

  def loss(head: dict[str, jax.Array]) -> jax.Array:
    fits = optax.losses.softmax_cross_entropy_with_integer_labels(x @ head["W"] + head["b"], y).sum()
    return (fits + jnp.sum(head["W"] ** 2) / (2 * strength)) / len(x)

  solver = optax.lbfgs()
  value_and_grad = optax.value_and_grad_from_state(loss)

  def step(carried, _):
    head, state = carried
    value, grad = value_and_grad(head, state=state)
    updates, state = solver.update(grad, state, head, value=value, grad=grad, value_fn=loss)
    return (optax.apply_updates(head, updates), state), value

  head = {"W": jnp.zeros((x.shape[1], classes)), "b": jnp.zeros(classes)}
  (head, _), _ = jax.jit(lambda c: jax.lax.scan(step, c, length=steps))((head, solver.init(head)))
  return np.asarray((asked_MxD - mean) / spread @ np.asarray(head["W"]) + np.asarray(head["b"]))
