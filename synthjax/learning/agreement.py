"""What joined processes do together: each says what it wishes, and all do the greatest wish, at the same step.

The wishes travel as a small array beside the step's own, and are read when the next one is sent: nobody waits for a
message, and all read the same.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from synthjax.runtime import devices

NOTHING, SAVE, STOP = range(3)


class Agreement:
  def __init__(self, mesh: Mesh):
    self._joined, self._own = devices.is_joined(), len(mesh.local_devices)
    self._where = NamedSharding(mesh, PartitionSpec(tuple(mesh.axis_names)))
    self._greatest = jax.jit(jnp.max, out_shardings=NamedSharding(mesh, PartitionSpec()))
    self._pending: jax.Array | None = None

  def of(self, wish: int) -> int:
    """The wish of this process if it is alone; else what all wished when they last asked."""
    if not self._joined:
      return wish
    before, self._pending = self._pending, self._sent(wish)
    return NOTHING if before is None else int(before)

  def last(self, wish: int) -> int:
    """What all wish now: this waits for everybody."""
    return int(self._sent(wish)) if self._joined else wish

  def _sent(self, wish: int) -> jax.Array:
    own = np.full(self._own, wish, np.int32)
    return self._greatest(jax.make_array_from_process_local_data(self._where, own))


def from_first(value: int) -> int:
  """What the first of the joined processes says; of a process alone, its own word."""
  if not devices.is_joined():
    return value
  return int(multihost_utils.broadcast_one_to_all(np.int32(value)))


def any_of(value: bool) -> bool:
  """Whether it holds for any of the joined processes."""
  return bool(np.any(multihost_utils.process_allgather(np.int32(value)))) if devices.is_joined() else value


def meet(name: str) -> None:
  """Joined processes wait for each other."""
  if devices.is_joined():
    multihost_utils.sync_global_devices(name)
