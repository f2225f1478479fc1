"""Where the parts of a training lie on the devices: rules for every leaf of a state, by its shape alone.

The mesh has two axes. A batch is split over both. Parameters, their averages and the optimiser's moments are split over
`fsdp` along their longest dimension that divides evenly, where they are large; the rest is whole on every device. So
`fsdp=1` is plain data parallelism, and one rule places whatever has a parameter's shape.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from synthjax import devices
from synthjax.errors import UserError

BATCH = PartitionSpec(("data", "fsdp"))
_SMALL = 2**14  # values: below, splitting costs more than it saves


def training_mesh(fsdp: int = 1, of: Sequence[jax.Device] | None = None) -> Mesh:
  """All devices of all joined processes; of this one alone where none have joined.

  A CPU alone is one device: its collectives took longer than they saved (a small ResNet, 120 steps on two cores: 13 s as
  two devices, 7 s as one), and on a machine with more work than cores they were seen to end the process.
  """
  row = list(of or (jax.devices() if devices.is_joined() else jax.local_devices()))
  if not of and not devices.is_joined() and devices.platform() == "cpu":
    row = row[: max(fsdp, 1)]
  if len(row) % fsdp:
    raise UserError(f"config.runtime.fsdp {fsdp} does not divide the {len(row)} devices")
  return Mesh(np.array(row).reshape(-1, fsdp), ("data", "fsdp"), axis_types=(AxisType.Auto,) * 2)


def spec(shape: tuple[int, ...], parts: int) -> PartitionSpec:
  """Of one leaf, split into so many parts."""
  if parts == 1 or np.prod(shape, dtype=int) < _SMALL:
    return PartitionSpec()
  axes = [i for i in np.argsort(shape, kind="stable")[::-1] if shape[i] % parts == 0]
  return (
    PartitionSpec(*("fsdp" if i == axes[0] else None for i in range(len(shape)))) if axes else PartitionSpec()
  )


def of_state(mesh: Mesh, shapes: Any) -> Any:
  """A placement for every leaf."""
  parts = mesh.shape.get("fsdp", 1)
  return jax.tree.map(lambda x: NamedSharding(mesh, spec(x.shape, parts)), shapes)


def batch_spec(mesh: Mesh) -> PartitionSpec:
  return PartitionSpec(tuple(mesh.axis_names))


def share(n: int) -> slice:
  """The rows of a global batch of n that this process reads."""
  own, index = n // jax.process_count(), jax.process_index()
  return slice(index * own, (index + 1) * own)


def placer(mesh: Mesh) -> Callable[[dict[str, np.ndarray]], dict[str, jax.Array]]:
  """This process's share of a batch, as the global batch on the devices."""
  where = NamedSharding(mesh, batch_spec(mesh))

  def place(batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
    if not devices.is_joined():
      return jax.device_put(batch, where)
    return {k: jax.make_array_from_process_local_data(where, np.asarray(v)) for k, v in batch.items()}

  return place
