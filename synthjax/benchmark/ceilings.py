"""What a device could do at most: dense 16-bit peaks as published, and on CPUs what a matrix product reaches here."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from synthjax.benchmark.rounds import seconds
from synthjax.runtime import devices
from synthjax.runtime.peaks import published

_SIDE, _PRODUCTS = 1536, 3  # of the matrices that are multiplied, and how often
_FLOAT32 = jnp.dtype(jnp.float32)


def of(dtype: jnp.dtype, mesh: Mesh) -> tuple[str, Callable[[], float]] | None:
  """Whose word it is, and TFLOP/s of one device; a CPU is asked anew each time, since others may work beside us."""
  device = mesh.devices.flat[0]
  if device.platform == "cpu" and dtype == jnp.float32:
    return "measured", matrix_product(mesh)
  if dtype.itemsize == 2 and (peak := published(device.device_kind)):
    return "published", lambda: peak
  return None


def matrix_product(mesh: Mesh, dtype: jnp.dtype = _FLOAT32, side: int = _SIDE) -> Callable[[], float]:
  """TFLOP/s of one device while all multiply matrices."""
  multiply = jax.jit(
    jax.shard_map(lambda x: x @ x, mesh=mesh, in_specs=devices.BATCH, out_specs=devices.BATCH)
  )
  x = jax.device_put(jnp.full((mesh.size, side, side), 1 / side, dtype), devices.place(mesh, devices.BATCH))
  multiply(x).block_until_ready()  # compiles

  def measure() -> float:
    took = min(seconds(lambda: multiply(x).block_until_ready()) for _ in range(_PRODUCTS))
    return 2 * side**3 / took / 1e12

  return measure
