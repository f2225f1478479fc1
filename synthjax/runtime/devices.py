"""Processes, devices, meshes and the compile cache: all that depends on the machines is in this file.

Sampling needs no collectives, so its processes share the folder and nothing else: each learns its number from the
launcher, and any of them may die without the others noticing. `--distributed on` joins them by jax.distributed, as
training on a global mesh does; then the death of one ends all, and the same command goes on from what is published.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import jax
import numpy as np
from jax.experimental.compilation_cache import compilation_cache
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from synthjax.runtime import compile_cache as compile_cache_folder
from synthjax.runtime import joining
from synthjax.runtime.errors import UserError

BATCH = PartitionSpec("data")  # split along the first dimension
REPLICATED = PartitionSpec()
_LEAST_SECONDS = 0.1  # of compiling: a faster program is not kept for later processes

# Where launchers say how many processes they started, which one this is, and which on its host.
_LAUNCHERS = (
  ("JAX_NUM_PROCESSES", "JAX_PROCESS_ID", "JAX_LOCAL_PROCESS_ID"),
  ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_LOCALID"),
  ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK"),
)


@dataclasses.dataclass(frozen=True)
class Launched:
  """This process among those that were started together."""

  count: int = 1
  index: int = 0
  local: int | None = None  # its number on its host; None = unknown


_launched = Launched()
Device: TypeAlias = jax.Device  # pyright: ignore[reportInvalidTypeForm]  jaxlib's compiled part has no stubs


def launched() -> Launched:
  """What the launcher says, by its environment variables."""
  for count, index, local in _LAUNCHERS:
    if count in os.environ and index in os.environ:
      values = [os.environ[count], os.environ[index], os.environ.get(local, "")]
      if not all(v.isdigit() for v in values[:2]) or int(values[1]) >= int(values[0]):
        raise UserError(
          f"{count}={values[0]} and {index}={values[1]} do not name a process; set both, counted from 0"
        )
      return Launched(int(values[0]), int(values[1]), int(values[2]) if values[2].isdigit() else None)
  return Launched()


def start(distributed: str = "auto", compile_cache: str = "", cpu_devices: int = 0) -> None:
  """Finds this process's place among the others. Call before anything touches a device.

  auto: by the launcher's variables alone; on: and joined by jax.distributed; off: alone. A CPU becomes `cpu_devices`
  devices (0: one a core): XLA's kernels leave a second core half idle, two programs side by side do not.
  """
  # At least two: a program for one device alone is compiled apart, and was seen to round apart (v-prediction: up to 7e-4
  # of a grey level before the rounding to 8 bits), while two and four agree to the bit.
  global _launched
  if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
    jax.config.update("jax_num_cpu_devices", cpu_devices or max(threads(), 2))
  _launched = Launched() if distributed == "off" else launched()
  if distributed == "on":
    _join()
  elif _launched.count > 1 and _launched.local is not None and "CUDA_VISIBLE_DEVICES" not in os.environ:
    # Several processes on a host take a GPU each, as jax.distributed would have it.
    jax.config.update("jax_cuda_visible_devices", str(_launched.local))
  if compile_cache:
    folder = Path(compile_cache).expanduser()
    try:
      folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
      raise UserError(
        f"config.runtime.compile_cache {folder}: {e.strerror}; set it to '' to do without"
      ) from e
    compile_cache_folder.remove_incomplete(folder)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", _LEAST_SECONDS)


def _join() -> None:
  """Never quietly alone: a fault in one place must not turn 32 hosts into 32 single hosts."""
  global _launched
  n, own = (_launched.count, _launched.index) if _launched.count > 1 else (None, None)
  try:
    joining.initialize(n, own)
  except (ValueError, RuntimeError) as e:
    reason = " ".join(str(e).split())
    raise UserError(
      f"--distributed on: could not join a cluster ({reason}); set JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and "
      "JAX_PROCESS_ID, or use --distributed auto"
    ) from e
  if _launched.count > 1 and jax.process_count() != _launched.count:
    raise UserError(
      f"--distributed on: the launcher started {_launched.count} processes, jax sees {jax.process_count()}"
    )
  _launched = Launched(jax.process_count(), jax.process_index(), _launched.local)


def is_joined() -> bool:
  """Whether jax's own collectives span several processes."""
  return jax.process_count() > 1


def threads() -> int:
  """Cores that this process may use, at most 8: what JPEG coding and the devices of a CPU make use of."""
  allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
  return min(len(allowed), 8)


def cores() -> int:
  """Cores that this process may use, by its affinity and the quota of its cgroup (a container's --cpus)."""
  allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
  try:
    quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    return min(len(allowed), max(round(int(quota) / int(period)), 1))
  except (OSError, ValueError):  # no cgroup v2, or "max", which is no number
    return len(allowed)


def is_main_process() -> bool:
  """Process 0 alone writes to the terminal."""
  return _launched.index == 0


def local_mesh(devices: Sequence[Device] | None = None) -> Mesh:
  """This process's own devices in one row: what sampling runs on."""
  row = np.array(jax.local_devices() if devices is None else devices)
  return Mesh(row, ("data",), axis_types=(AxisType.Auto,))


def place(mesh: Mesh, spec: PartitionSpec) -> NamedSharding:
  return NamedSharding(mesh, spec)


def platform() -> str:
  """cpu, gpu or tpu."""
  return jax.local_devices()[0].platform


def memory_limit(gigabytes: float = 0.0) -> int:
  """Bytes a device may use: as asked for, or all that it says it has. A CPU's devices share what is free."""
  if gigabytes:
    return int(gigabytes * 1e9)
  device = jax.local_devices()[0]
  stats = device.memory_stats() if device.platform != "cpu" else None
  if stats and "bytes_limit" in stats:
    return int(stats["bytes_limit"])
  return host_memory_free() // jax.local_device_count() if device.platform == "cpu" else sys.maxsize


def host_memory_free() -> int:
  """Bytes; as good as without end where the system does not say."""
  try:
    with open("/proc/meminfo") as file:
      return next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable"))
  except (OSError, StopIteration):
    return sys.maxsize


def memory_free(gigabytes: float = 0.0) -> int:
  """Of these bytes, what nothing on the first device holds now."""
  return memory_limit(gigabytes) - ((jax.local_devices()[0].memory_stats() or {}).get("bytes_in_use", 0))


def memory_of(program: jax.stages.Compiled) -> int:
  """Bytes that a device needs for a program and all it reads and writes, by the compiler's own account."""
  found = program.memory_analysis()
  if found is None:
    return 0
  return (
    found.argument_size_in_bytes
    + found.output_size_in_bytes
    + found.temp_size_in_bytes
    + found.generated_code_size_in_bytes
    - found.alias_size_in_bytes
  )


def peak_memory() -> int | None:
  """The most bytes that a device has held since this process began; None where it does not say."""
  stats = jax.local_devices()[0].memory_stats() or {}
  return stats.get("peak_bytes_in_use")


@contextlib.contextmanager
def without_compile_cache() -> Iterator[None]:
  """What is compiled meanwhile is compiled anew, GPU kernels' trials included, and is not kept."""
  folder = jax.config.values["jax_compilation_cache_dir"]
  jax.config.update("jax_compilation_cache_dir", None)
  compilation_cache.reset_cache()  # jax looks once whether there is a cache, and keeps to it
  try:
    yield
  finally:
    jax.config.update("jax_compilation_cache_dir", folder)
    compilation_cache.reset_cache()


def describe() -> dict[str, object]:
  """For records: what the work ran on."""
  local = jax.local_devices()
  return {
    "platform": local[0].platform,
    "device": local[0].device_kind,
    "local_devices": len(local),
    "processes": _launched.count,
    "jax_processes": jax.process_count(),
  }
