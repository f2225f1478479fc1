"""One row of the benchmark: a network at a size and a batch, timed beside its ceiling and beside PyTorch.

Rates are images/s of one device. A case that does not fit is a row too, which says so.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

import jax
from jax.sharding import Mesh

from synthjax.benchmark import ceilings
from synthjax.benchmark.rounds import interleaved, ratios, spread
from synthjax.runtime import devices
from synthjax.runtime.stopping import Stop


class Theirs(Protocol):
  """The same work in PyTorch."""

  @property
  def where(self) -> str: ...

  @property
  def shares(self) -> int:
    """Devices that its rate is divided by, to be one device's."""
    ...

  def warm_up(self) -> None: ...

  def run(self) -> int:
    """One batch, as many images as it says, on the host."""
    ...


class Case(Protocol):
  @property
  def name(self) -> str: ...

  @property
  def facts(self) -> Mapping[str, Any]:
    """What is measured, for people."""
    ...

  @property
  def dtype(self) -> jax.numpy.dtype: ...

  def flops(self) -> float:
    """Of one image."""
    ...

  def mesh(self) -> Mesh:
    """The devices that it runs on."""
    ...

  def load(self, mesh: Mesh) -> None:
    """Parameters on the devices."""
    ...

  def compile(self) -> tuple[jax.stages.Compiled, Collection[str]]:
    """The program, and the attention kernels in it."""
    ...

  @property
  def batch_size(self) -> int:
    """Of all devices."""
    ...

  def bare(self, n: int) -> float:
    """Images/s of the devices alone."""
    ...

  def whole(self, n: int) -> float:
    """Images/s with all that the host does."""
    ...

  def theirs(self) -> Theirs:
    """ImportError where PyTorch is not installed, LookupError where it cannot do the same work."""
    ...

  def release(self) -> None:
    """The devices' memory is free again."""
    ...


@dataclasses.dataclass(frozen=True)
class Measuring:
  rounds: int
  seconds: float
  torch: bool
  memory_limit: int
  stop: Stop
  tell: Callable[[str], None]


def measure(case: Case, how: Measuring) -> dict[str, Any]:
  """The row. Rounds are in turn: the devices alone, the whole loop, the ceiling, PyTorch."""
  mesh = case.mesh()
  row = {"case": case.name, **case.facts, "dtype": case.dtype.name, "devices": mesh.size}
  how.stop.check()
  try:
    return row | _measured(case, mesh, how)
  except jax.errors.JaxRuntimeError as e:
    if "RESOURCE_EXHAUSTED" not in str(e):
      raise
    return row | {"refused": "the device ran out of memory"}
  finally:
    case.release()


def _measured(case: Case, mesh: Mesh, how: Measuring) -> dict[str, Any]:
  case.load(mesh)
  started = time.perf_counter()
  with devices.without_compile_cache():
    program, kernels = case.compile()
  compile_seconds, needed = time.perf_counter() - started, devices.memory_of(program)
  kernels_note = f"; attention {', '.join(kernels)}" if kernels else ""
  how.tell(f"{case.name}: compiled in {compile_seconds:.0f} s{kernels_note}")
  if needed > how.memory_limit:
    room = f"of a device that has {how.memory_limit / 1e9:.1f} GB"
    return {"refused": f"needs {needed / 1e9:.1f} GB {room}", "compile_seconds": compile_seconds}
  before, batch = devices.peak_memory(), case.batch_size
  case.whole(batch)  # warms up
  how.stop.check()
  n = max(round(how.seconds * case.bare(batch) / batch), 1) * batch
  measures = {
    "bare": lambda: case.bare(n) / mesh.size,
    "whole": lambda: case.whole(max(n, 2 * batch)) / mesh.size,  # of one batch nothing could overlap
  }
  if ceiling := ceilings.of(case.dtype, mesh):
    measures["peak"] = ceiling[1]
  torch, reason = _theirs(case, how) if how.torch else (None, "switched off")
  if torch:
    measures["torch"] = _rate(torch, how.seconds)
  found = interleaved(measures, how.rounds, how.stop)
  memory, by = _memory(needed, before)
  return {
    "batch": batch,
    "flops_per_image": (flops := case.flops()),
    "kernels": kernels,
    "compile_seconds": compile_seconds,
    "memory_bytes": memory,
    "memory_by": by,
    "peak_by": ceiling[0] if ceiling else None,
    "torch_on": torch.where if torch else None,
    "torch_absent": reason,
    **figures(flops, found["bare"], found["whole"], found.get("peak", ()), found.get("torch", ())),
  }


def figures(
  flops: float, bare: Sequence[float], whole: Sequence[float], peak: Sequence[float], theirs: Sequence[float]
) -> dict[str, Any]:
  """Of images/s and the ceiling's TFLOP/s, round by round."""
  tflops = [flops * rate / 1e12 for rate in bare]
  return {
    "end_to_end": spread(whole),
    "device_only": spread(bare),
    "whole_over_bare": spread(ratios(whole, bare)),
    "tflops": spread(tflops),
    "peak_tflops": spread(peak),
    "share_of_peak": spread(ratios(tflops, peak)),
    "torch": spread(theirs),
    "ours_over_theirs": spread(ratios(bare, theirs)),
  }


def _memory(needed: int, before: int | None) -> tuple[int, str]:
  """A device tells the most it ever held, so it can be asked about a case that held more than those before."""
  after = devices.peak_memory()
  if after is not None and before is not None and after > before:
    return after, "device"
  return needed, "compiler"


def _theirs(case: Case, how: Measuring) -> tuple[Theirs | None, str | None]:
  """PyTorch's part, warm; or why there is none."""
  try:
    torch = case.theirs()
    torch.warm_up()
  except ImportError:
    return None, "PyTorch is not installed"
  except LookupError as e:
    return None, str(e.args[0])
  except RuntimeError as e:
    if "out of memory" not in str(e):
      raise
    return None, "PyTorch ran out of memory beside us"
  how.stop.check()
  return torch, None


def _rate(torch: Theirs, target: float) -> Callable[[], float]:
  """Images/s of one device, over about so many seconds and at least one batch."""

  def measure() -> float:
    done, took = 0, 0.0
    while took < target:
      started = time.perf_counter()
      done += torch.run()
      took += time.perf_counter() - started
    return done / took / torch.shares

  return measure
