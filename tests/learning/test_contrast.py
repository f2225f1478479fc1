import jax
import jax.numpy as jnp
import numpy as np
import pytest

from synthjax.learning.contrast import contrastive_loss, normalise


def rows(*angles) -> jax.Array:
  return jnp.array([[np.cos(a), np.sin(a)] for a in angles], jnp.float32)


def test_the_loss_by_hand():
  """Two pairs at right angles, scale s: each softmax is 1 / (1 + exp(-s))."""
  loss = contrastive_loss(rows(0, np.pi / 2), rows(0, np.pi / 2), jnp.float32(3.0), jnp.array([0, 1]))
  assert float(loss) == pytest.approx(np.log(1 + np.exp(-3.0)), rel=1e-6)


def test_equal_captions_are_all_right_answers():
  """Two images of one caption: both rows are perfect, and the loss is the entropy of two equal answers."""
  image, text = rows(0, 0), rows(0, 0)
  shared = contrastive_loss(image, text, jnp.float32(10.0), jnp.array([4, 4]))
  assert float(shared) == pytest.approx(np.log(2), rel=1e-6)
  gradient = jax.grad(lambda x: contrastive_loss(x, text, jnp.float32(10.0), jnp.array([4, 4])))(image)
  np.testing.assert_allclose(gradient, 0, atol=1e-6)  # nothing pushes them apart


def test_against_numpy_on_random_features():
  rng = np.random.default_rng(0)
  image, text = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in rng.standard_normal((2, 6, 5)))
  caption = np.array([0, 1, 1, 2, 3, 0])
  logits, total = 7 * image @ text.T, 0.0
  for z in (logits, logits.T):
    for i in range(6):
      p = np.exp(z[i]) / np.exp(z[i]).sum()
      right = caption == caption[i]
      total += -np.log(p[right]).mean() / 6
  ours = contrastive_loss(jnp.array(image), jnp.array(text), jnp.float32(7.0), jnp.array(caption))
  assert float(ours) == pytest.approx(total / 2, rel=1e-5)


def test_pixels_are_normalised_as_clip_does():
  np.testing.assert_allclose(
    normalise(jnp.full((1, 1, 1, 3), 255, jnp.uint8))[0, 0, 0], [1.9303, 2.0749, 2.1459], atol=1e-4
  )
