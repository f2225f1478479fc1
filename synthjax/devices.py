"""Processes, devices, meshes and the compile cache: all that depends on the machines is in this file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from synthjax.errors import UserError

BATCH = PartitionSpec("data")  # split along the first dimension
REPLICATED = PartitionSpec()

# Where launchers say how many processes they started.
_COUNTS = ("JAX_NUM_PROCESSES", "SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")
_NO_CLUSTER = "coordinator_address should be defined"


def start(distributed: str = "auto", compile_cache: str = "") -> None:
  """Joins the other processes, if there are any. Call before anything touches a device.

  Processes are looked for by jax (Slurm under srun, Open MPI, Kubernetes, TPU pods), or named by
  JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID.
  """
  if distributed != "off":
    _join(must=distributed == "on")
  if compile_cache:
    folder = Path(compile_cache).expanduser()
    try:
      folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
      raise UserError(
        f"config.runtime.compile_cache {folder}: {e.strerror}; set it to '' to do without"
      ) from e
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 1.0)


def _join(must: bool) -> None:
  # Sampling has no collectives: the death of one process must not stop the others.
  jax.config.update("jax_enable_recoverability", True)
  named = {
    key: int(os.environ[name])
    for key, name in (("num_processes", "JAX_NUM_PROCESSES"), ("process_id", "JAX_PROCESS_ID"))
    if name in os.environ
  }
  try:
    jax.distributed.initialize(**named)
  except ValueError as e:
    # Only "there is no cluster" may pass, and only where nothing says that there should be one:
    # else a fault in one place would turn 32 hosts into 32 single hosts.
    if _NO_CLUSTER not in str(e) or must or _launched() > 1:
      raise UserError(
        f"--distributed: jax found no cluster to join ({e}); set JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID, or use --distributed off"
      ) from e
    return
  except RuntimeError as e:
    raise UserError(f"--distributed: could not join the other processes ({' '.join(str(e).split())})") from e
  if _launched() > 1 and jax.process_count() != _launched():
    raise UserError(
      f"--distributed: the launcher started {_launched()} processes, jax sees {jax.process_count()}"
    )


def _launched() -> int:
  return max([int(os.environ[n]) for n in _COUNTS if os.environ.get(n, "").isdigit()], default=0)


def is_speaker() -> bool:
  """One process tells the user what goes on."""
  return jax.process_index() == 0


def local_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
  """This process's own devices in one row: what sampling runs on."""
  row = np.array(jax.local_devices() if devices is None else devices)
  return Mesh(row, ("data",), axis_types=(AxisType.Auto,))


def place(mesh: Mesh, spec: PartitionSpec) -> NamedSharding:
  return NamedSharding(mesh, spec)


def platform() -> str:
  """cpu, gpu or tpu."""
  return jax.local_devices()[0].platform


def describe() -> dict[str, object]:
  """For records: what the work ran on."""
  local = jax.local_devices()
  return {
    "platform": local[0].platform,
    "device": local[0].device_kind,
    "local_devices": len(local),
    "processes": jax.process_count(),
  }
