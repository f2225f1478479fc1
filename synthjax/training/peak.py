"""How much of the devices' published peak a step reaches, and the profile of a few steps."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import jax
from etils import epath
from jax.sharding import Mesh

from synthjax.speed import ceilings


def share(
  mesh: Mesh, lower: Callable[[], jax.stages.Lowered], batch_size: int
) -> Callable[[float], float] | None:
  """From examples a second and device to a share of the 16-bit peak; None where the peak is not known, as on CPUs."""
  tera = ceilings.published(mesh.devices.flat[0].device_kind)
  if tera is None:
    return None
  flops = float((lower().cost_analysis() or {}).get("flops", 0.0))  # of the whole batch, before it is split
  return lambda rate: rate * flops / batch_size / (tera * 1e12)


@contextlib.contextmanager
def profiled(folder: epath.Path, step: int, steps: tuple[int, int]) -> Iterator[None]:
  """A trace of the steps from, to (exclusive), for TensorBoard and Perfetto."""
  first, end = steps
  if step == first and end > first:
    jax.profiler.start_trace(str(folder / "profile"))
  try:
    yield
  finally:
    if step == end - 1 and end > first:
      jax.profiler.stop_trace()
