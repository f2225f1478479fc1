import jax
import jax.numpy as jnp
import numpy as np
import pytest

from synthjax.learning.autoencode import Autoencode, to_model
from synthjax.models import initial
from synthjax.small_world import world


def test_pixels_reach_minus_one_and_one():
  pixels = jnp.array([[[[0, 127, 255]]]], jnp.uint8)
  np.testing.assert_allclose(to_model(pixels).ravel(), [-1, -0.00392, 1], atol=1e-4)


def test_the_loss_is_what_its_terms_say():
  """Against the distribution's own formula, and with the decoder's error measured apart."""
  task = Autoencode(world.AUTOENCODER, kl_weight=0.5)
  pixels = np.random.default_rng(0).integers(0, 255, (2, 32, 32, 3), np.uint8)
  shapes = jax.eval_shape(task.init, jax.random.key(0), {})
  variables = initial.scaled(shapes, np.random.default_rng(1))  # on the host: nothing is compiled
  loss, (_, metrics) = jax.jit(task.loss)(variables, {"pixels": pixels}, jax.random.key(1), jnp.int32(0))

  @jax.jit
  def encode(params):
    latent = task.encode(params, pixels)
    return latent.mean, latent.std

  mean, std = encode(variables["params"])
  assert mean.shape == (2, 8, 8, 4)
  kl = 0.5 * np.mean(np.square(mean) + np.square(std) - 1 - np.log(np.square(std)))
  assert float(metrics["kl"]) == pytest.approx(float(kl), rel=1e-4)
  absolute = float(loss) - float(metrics["squared_error"]) - 0.5 * float(kl)
  assert 0 < float(metrics["squared_error"]) ** 0.5 * 0.5 < absolute < float(metrics["squared_error"]) ** 0.5
