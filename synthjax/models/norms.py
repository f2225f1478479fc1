"""Norms that can keep domains apart: statistics and affine parameters of their own, chosen by an index per example.

With one domain they are PyTorch's. With more, every parameter and running statistic has a leading axis of domains:
domain 0 is the main one (real images), 1 the auxiliary one (synthetic images; Yu et al.). Where an example lies in the
batch says nothing: its index does. A batch under jit is the global one, so statistics are those of all devices.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn

Array = jax.Array


class BatchNorm(nn.Module):
  """In float32: a batch is normalised by its biased variance, the unbiased one goes into the running one.

  With `train`, the running statistics follow where the caller made `batch_stats` mutable, and stay where not. A domain
  that a batch lacks keeps its own. `group_B` cuts statistics finer, into groups that share parameters and running
  statistics: a contrast between batches must not be read off the statistics of one (He et al. 2020, shuffling BN).
  """

  domains: int = 1
  test_domain: int = 0  # whose running statistics and parameters serve where no index is given
  groups: int = 1
  momentum: float = 0.1  # as PyTorch counts it: the share of the new batch
  epsilon: float = 1e-5
  dtype: jnp.dtype = jnp.float32  # of the result
  zero: bool = False  # begin with a scale of 0: a residual branch that is not there yet

  @nn.compact
  def __call__(
    self, x_BxHxWxC: Array, train: bool, domain_B: Array | None = None, group_B: Array | None = None
  ) -> Array:
    x, width = x_BxHxWxC.astype(jnp.float32), x_BxHxWxC.shape[-1]
    shape = (width,) if self.domains == 1 else (self.domains, width)
    scale = self.param("scale", nn.initializers.zeros if self.zero else nn.initializers.ones, shape)
    bias = self.param("bias", nn.initializers.zeros, shape)
    running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
    running_var = self.variable("batch_stats", "var", jnp.ones, shape)
    domain_B = _domain(domain_B, len(x), self.domains, self.test_domain)
    follows = train and self.is_mutable_collection("batch_stats") and not self.is_initializing()
    if not train:
      mean, var = _of(running_mean.value, domain_B), _of(running_var.value, domain_B)
    elif domain_B is None and (self.groups == 1 or group_B is None):
      mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
      if follows:
        n = x.size // width
        running_mean.value += self.momentum * (mean - running_mean.value)
        running_var.value += self.momentum * (var * (n / max(n - 1, 1)) - running_var.value)
    else:
      cell_B = jnp.zeros(len(x), jnp.int32) if domain_B is None else domain_B
      cell_B = cell_B if group_B is None else group_B * self.domains + cell_B
      mean_SxC, var_SxC, n_S = _by_cell(x, cell_B, self.domains * self.groups)
      mean, var = _of(mean_SxC, cell_B), _of(var_SxC, cell_B)
      if follows:
        for running, new in (
          (running_mean, mean_SxC),
          (running_var, var_SxC * (n_S / jnp.maximum(n_S - 1, 1))[:, None]),
        ):
          running.value = self._follow(running.value, new, n_S)
    gain = jax.lax.rsqrt(var + self.epsilon) * _of(scale, domain_B)
    return ((x - mean) * gain + _of(bias, domain_B)).astype(self.dtype)

  def _follow(self, old: Array, new_SxC: Array, n_S: Array) -> Array:
    """Each domain moves towards the mean over its groups, weighted by what they hold; one without examples stays."""
    n_GxDx1 = n_S.reshape(self.groups, self.domains, 1)
    total_Dx1 = n_GxDx1.sum(0)
    new_DxC = (new_SxC.reshape(self.groups, self.domains, -1) * n_GxDx1).sum(0) / jnp.maximum(total_Dx1, 1)
    share = self.momentum * (total_Dx1 > 0)
    return old + (share * (new_DxC - old.reshape(self.domains, -1))).reshape(old.shape)


class LayerNorm(nn.Module):
  """Over the last axis, in float32; with several domains each has a scale and a bias of its own."""

  domains: int = 1
  test_domain: int = 0
  epsilon: float = 1e-6
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x_BxLxC: Array, domain_B: Array | None = None) -> Array:
    x, width = x_BxLxC.astype(jnp.float32), x_BxLxC.shape[-1]
    shape = (width,) if self.domains == 1 else (self.domains, width)
    scale = self.param("scale", nn.initializers.ones, shape)
    bias = self.param("bias", nn.initializers.zeros, shape)
    domain_B = _domain(domain_B, len(x), self.domains, self.test_domain)
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    normal = (x - mean) * jax.lax.rsqrt(var + self.epsilon)
    return (normal * _of(scale, domain_B, x.ndim) + _of(bias, domain_B, x.ndim)).astype(self.dtype)


class RMSNorm(nn.Module):
  """Over the last axis, in float32, without a mean or a bias."""

  epsilon: float
  dtype: jnp.dtype = jnp.float32  # of the result

  @nn.compact
  def __call__(self, x: Array) -> Array:
    scale = self.param("scale", nn.initializers.ones, x.shape[-1:])
    x = x.astype(jnp.float32)
    gain = jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + self.epsilon)
    return (x * gain * scale.astype(jnp.float32)).astype(self.dtype)


def _domain(domain_B: Array | None, n: int, domains: int, test_domain: int) -> Array | None:
  """None where there is but one."""
  if domains == 1:
    return None
  return jnp.full(n, test_domain, jnp.int32) if domain_B is None else domain_B


def _of(values: Array, index_B: Array | None, ndim: int = 4) -> Array:
  """Each example's own row, ready to meet [B, ..., C]; the row itself where there is one for all."""
  if index_B is None:
    return values
  return values[index_B].reshape(len(index_B), *(1,) * (ndim - 2), values.shape[-1])


def _by_cell(x_BxHxWxC: Array, cell_B: Array, cells: int) -> tuple[Array, Array, Array]:
  """Mean and biased variance [S, C] of each cell, and how many values they are of. In two passes: no cancellation."""
  member_BxS = jax.nn.one_hot(cell_B, cells, dtype=jnp.float32)
  places = x_BxHxWxC.shape[1] * x_BxHxWxC.shape[2]
  n_S = member_BxS.sum(0) * places

  def mean_of(values_BxC: Array) -> Array:
    total = jnp.einsum("bs,bc->sc", member_BxS, values_BxC, precision="highest")
    return total / jnp.maximum(n_S, 1)[:, None]

  mean_SxC = mean_of(x_BxHxWxC.sum((1, 2)))
  return mean_SxC, mean_of(((x_BxHxWxC - _of(mean_SxC, cell_B)) ** 2).sum((1, 2))), n_S
