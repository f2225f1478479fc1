"""Norms by domain against separate layers by hand, and statistics over groups."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from synthjax.models.norms import BatchNorm, LayerNorm

RNG = np.random.default_rng(0)
X = RNG.standard_normal((10, 3, 4, 6), np.float32) * 3 + 1
DOMAIN = np.array([0, 1, 1, 0, 1, 0, 0, 0, 1, 0], np.int32)  # in no order


def variables_of(module, *args):
  variables = module.init(jax.random.key(0), *args)
  return jax.tree.map(lambda x: x + RNG.uniform(0.1, 0.9, x.shape).astype(np.float32), dict(variables))


@pytest.mark.parity
def test_auxiliary_norms_are_two_batch_norms_of_pytorch(torch):
  module = BatchNorm(domains=2)
  variables = variables_of(module, X, True)
  ours, updates = module.apply(variables, X, True, jnp.asarray(DOMAIN), mutable=["batch_stats"])
  for domain in (0, 1):
    layer = torch.nn.BatchNorm2d(6)
    values = dict(
      weight=variables["params"]["scale"],
      bias=variables["params"]["bias"],
      running_mean=variables["batch_stats"]["mean"],
      running_var=variables["batch_stats"]["var"],
    )
    with torch.no_grad():
      for name, value in values.items():
        getattr(layer, name).copy_(torch.tensor(np.array(value[domain])))
    own = domain == DOMAIN
    theirs = layer(torch.tensor(X[own].transpose(0, 3, 1, 2))).detach().numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(ours[own], theirs, atol=1e-5)
    for name in ("mean", "var"):
      value = getattr(layer, f"running_{name}").numpy()
      np.testing.assert_allclose(updates["batch_stats"][name][domain], value, rtol=1e-5)
    tested = BatchNorm(domains=2, test_domain=domain).apply(variables | dict(updates), X, False)
    layer.eval()
    theirs = layer(torch.tensor(X.transpose(0, 3, 1, 2))).detach().numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(tested, theirs, atol=1e-5)


def test_where_an_example_lies_says_nothing():
  module = BatchNorm(domains=2)
  variables, order = variables_of(module, X, True), RNG.permutation(10)

  def apply(x, d):
    return module.apply(variables, x, True, jnp.asarray(d), mutable=["batch_stats"])[0]

  np.testing.assert_allclose(apply(X, DOMAIN)[order], apply(X[order], DOMAIN[order]), atol=1e-5)


def test_a_domain_that_the_batch_lacks_keeps_its_statistics():
  module = BatchNorm(domains=2)
  variables = variables_of(module, X, True)
  zeros = jnp.zeros(10, jnp.int32)
  _, updates = module.apply(variables, X, True, zeros, mutable=["batch_stats"])
  for name in ("mean", "var"):
    before, after = variables["batch_stats"][name], updates["batch_stats"][name]
    np.testing.assert_array_equal(before[1], after[1])
    assert not np.allclose(before[0], after[0])


def test_one_domain_is_as_two_whose_second_is_empty():
  one, two = BatchNorm(), BatchNorm(domains=2)
  variables = variables_of(one, X, True)
  both = jax.tree.map(lambda x: jnp.stack([x, x]), variables)
  a, of_a = one.apply(variables, X, True, mutable=["batch_stats"])
  b, of_b = two.apply(both, X, True, jnp.zeros(10, jnp.int32), mutable=["batch_stats"])
  np.testing.assert_allclose(a, b, atol=1e-5)
  for name in ("mean", "var"):
    np.testing.assert_allclose(of_a["batch_stats"][name], of_b["batch_stats"][name][0], rtol=1e-5)


def test_statistics_over_groups_are_those_of_each_group_alone():
  module, group = BatchNorm(groups=2), np.arange(10) % 2
  variables = variables_of(module, X, True)
  ours, updates = module.apply(variables, X, True, None, jnp.asarray(group), mutable=["batch_stats"])
  alone = [BatchNorm().apply(variables, X[group == g], True, mutable=["batch_stats"]) for g in (0, 1)]
  for g in (0, 1):
    np.testing.assert_allclose(ours[group == g], alone[g][0], atol=1e-5)
  mean = np.mean([a[1]["batch_stats"]["mean"] for a in alone], axis=0)
  np.testing.assert_allclose(updates["batch_stats"]["mean"], mean, rtol=1e-5)


def test_auxiliary_layer_norm_gives_each_domain_its_scale():
  x, module = X[:, 0], LayerNorm(domains=2)
  variables = variables_of(module, x)
  ours = module.apply(variables, x, jnp.asarray(DOMAIN))
  for domain in (0, 1):
    own = {"params": jax.tree.map(lambda v, d=domain: v[d], variables["params"])}
    np.testing.assert_allclose(ours[domain == DOMAIN], LayerNorm().apply(own, x[domain == DOMAIN]), atol=1e-6)
