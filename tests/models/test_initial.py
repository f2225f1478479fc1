import jax
import jax.numpy as jnp
import numpy as np
import pytest

from synthjax.models.initial import scaled


def shape(*sizes):
  return jax.ShapeDtypeStruct(sizes, jnp.float32)


def test_a_layer_keeps_the_size_of_what_passes_through_it():
  shapes = {"fc1": {"kernel": shape(400, 300), "bias": shape(300)}, "conv": {"kernel": shape(3, 3, 40, 200)}}
  shapes |= {"fc2": {"kernel": shape(400, 300)}, "norm": {"scale": shape(7)}}
  params = scaled(shapes, jax.random.key(0))
  x = np.random.default_rng(0).standard_normal((500, 400))
  assert np.std(x @ params["fc1"]["kernel"]) == pytest.approx(1.0, rel=0.02)
  assert np.std(x @ params["fc2"]["kernel"]) == pytest.approx(0.5, rel=0.02)  # ends a residual branch
  assert np.std(params["conv"]["kernel"]) == pytest.approx(1 / np.sqrt(360), rel=0.02)
  assert (params["norm"]["scale"] == 1).all() and (params["fc1"]["bias"] == 0).all()


def test_parameters_are_independent_and_follow_the_key():
  shapes = {"a": {"kernel": shape(50, 50)}, "b": {"kernel": shape(50, 50)}}
  one, two = scaled(shapes, jax.random.key(0)), scaled(shapes, jax.random.key(1))
  a, b, other = (np.asarray(p).ravel() for p in (one["a"]["kernel"], one["b"]["kernel"], two["a"]["kernel"]))
  assert abs(np.corrcoef(a, b)[0, 1]) < 0.1 and abs(np.corrcoef(a, other)[0, 1]) < 0.1
