"""Coordination of processes that train together: each requests something, and all do the greatest request at the same step.

Requests travel as a small array beside the step's own, and are read when the next one is sent: no process waits for a
message, and all read the same. All functions return the own value where a process trains alone.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from synthjax.runtime import devices

NOTHING, SAVE, STOP = range(3)


class Requests:
  def __init__(self, mesh: Mesh):
    self._joined, self._own = devices.is_joined(), len(mesh.local_devices)
    self._where = NamedSharding(mesh, PartitionSpec(tuple(mesh.axis_names)))
    self._greatest = jax.jit(jnp.max, out_shardings=NamedSharding(mesh, PartitionSpec()))
    self._pending: jax.Array | None = None

  def exchange(self, request: int) -> int:
    """The request of this process if it is alone; else the greatest of the previous call, without waiting."""
    if not self._joined:
      return request
    before, self._pending = self._pending, self._all_max(request)
    return NOTHING if before is None else int(before)

  def exchange_now(self, request: int) -> int:
    """The greatest request of this call: waits for all processes."""
    return int(self._all_max(request)) if self._joined else request

  def _all_max(self, request: int) -> jax.Array:
    own = np.full(self._own, request, np.int32)
    return self._greatest(jax.make_array_from_process_local_data(self._where, own))


def broadcast(value: int) -> int:
  """The value of process 0."""
  if not devices.is_joined():
    return value
  return int(multihost_utils.broadcast_one_to_all(np.int32(value)))


def any_process(value: bool) -> bool:
  """Whether the value is true in any process."""
  return bool(np.any(multihost_utils.process_allgather(np.int32(value)))) if devices.is_joined() else value


def barrier(name: str) -> None:
  """Waits until all processes are here."""
  if devices.is_joined():
    multihost_utils.sync_global_devices(name)
