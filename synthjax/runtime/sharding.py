"""Where the parts of a training lie on the devices: rules for every leaf of a state, by its shape alone.

The mesh has two axes. A batch is split over both. Parameters, their averages and the optimiser's moments are split over
`fsdp` along their longest dimension that divides evenly, where they are large; the rest is whole on every device. So
`fsdp=1` is plain data parallelism, and one rule places whatever has a parameter's shape.
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypedDict

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from synthjax.runtime import devices
from synthjax.runtime.errors import UserError

BATCH = PartitionSpec(("data", "fsdp"))
_SMALL = 2**14  # values: below, splitting costs more than it saves


class MeshRequest(TypedDict):
  """What a run asks `training_mesh` and `training_devices` for."""

  fsdp: int
  batch: int
  name: str


def training_mesh(
  fsdp: int = 1, of: Sequence[devices.Device] | None = None, batch: int = 0, name: str = "training"
) -> Mesh:
  """All devices of all joined processes; of this one alone where none have joined.

  Fewer where they do not divide a `batch`: filling it up would change what batch norms see. A note names the unused ones.

  A CPU alone is one device: its collectives took longer than they saved (a small ResNet, 120 steps on two cores: 13 s as
  two devices, 7 s as one), and on a machine with more work than cores they were seen to end the process.
  """
  row = _all_devices(fsdp, of)
  used = training_devices(fsdp, of, batch, name)
  if len(used) < len(row):
    _note(
      f"{name}: {len(used)} of {len(row)} devices are used; a batch of {batch} cannot be split evenly over more"
    )
  return Mesh(np.array(used).reshape(-1, fsdp), ("data", "fsdp"), axis_types=(AxisType.Auto,) * 2)


def training_devices(
  fsdp: int = 1, of: Sequence[devices.Device] | None = None, batch: int = 0, name: str = "training"
) -> list[devices.Device]:
  """As many as divide the batch, of every joined process the same number; refused in a line where there are none."""
  row = _all_devices(fsdp, of)
  if len(row) % fsdp and (not batch or fsdp > len(row)):
    raise UserError(
      f"config.runtime.fsdp {fsdp} does not divide the {len(row)} devices; set it to 1, or to a divisor"
    )
  if not batch:
    return row
  by_process: dict[int, list[devices.Device]] = {}
  for device in row:
    by_process.setdefault(device.process_index, []).append(device)
  processes, least = len(by_process), min(map(len, by_process.values()))
  for each in range(least, 0, -1):
    n = each * processes
    if batch % n == 0 and n % fsdp == 0:
      return [device for own in by_process.values() for device in own[:each]]
  of_each = (
    f"{least} devices of each of {processes} joined processes" if processes > 1 else f"{least} devices"
  )
  also = f" and is a multiple of config.runtime.fsdp {fsdp}" if fsdp > 1 else ""
  raise UserError(
    f"{name}: no number of the {of_each} divides its batch of {batch}{also}; give it a batch that is a multiple of {math.lcm(processes, fsdp)}"
  )


def _all_devices(fsdp: int, of: Sequence[devices.Device] | None) -> list[devices.Device]:
  row = list(of or (jax.devices() if devices.is_joined() else jax.local_devices()))
  alone_on_cpu = not of and not devices.is_joined() and devices.platform() == "cpu"
  return row[: max(fsdp, 1)] if alone_on_cpu else row


@functools.cache
def _note(text: str) -> None:
  """Once a process, though a learner has many seeds."""
  if devices.is_main_process():
    print(f"note: {text}", file=sys.stderr)


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


def of_runs(mesh: Mesh, shapes: Any) -> Any:
  """Of runs side by side: each lies whole on one device. What counts steps has no axis of runs."""
  split, whole = NamedSharding(mesh, batch_spec(mesh)), NamedSharding(mesh, PartitionSpec())
  return jax.tree.map(lambda x: split if x.ndim else whole, shapes)


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


def replicate(mesh: Mesh, values: Any) -> Any:
  """Numbers and arrays of the host, whole on every device. Joined processes leave theirs, which are equal, to the program
  that takes them: a placement on all would compare them first, one by one."""
  if devices.is_joined():
    return jax.tree.map(jnp.asarray, values)
  return jax.device_put(values, NamedSharding(mesh, PartitionSpec()))
