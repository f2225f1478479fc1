"""How much of the devices' published peak a step reaches, and the profile of a few steps."""

from __future__ import annotations

from collections.abc import Callable

import jax
from etils import epath
from jax.sharding import Mesh

from synthjax.runtime import peaks


def share(mesh: Mesh, batch_size: int, flops: Callable[[], float]) -> Callable[[float], float] | None:
  """From examples a second and device to a share of the 16-bit peak; None where the peak is not known, as on CPUs.

  `flops` counts those of a step of the whole batch."""
  tera = peaks.published(mesh.devices.flat[0].device_kind)
  if tera is None:
    return None
  of_example = flops() / batch_size
  return lambda rate: rate * of_example / (tera * 1e12)


class Profile:
  """`with Profile(folder, (from, to)) as profile:` traces those steps, `to` exclusive, for TensorBoard and Perfetto."""

  def __init__(self, folder: epath.Path, steps: tuple[int, int]):
    self._folder, (self._first, self._end), self._on = folder, steps, False

  def __enter__(self) -> Profile:
    return self

  def __exit__(self, *_: object) -> None:
    self._turn(False)

  def at(self, step: int) -> None:
    """Before each step."""
    self._turn(self._first <= step < self._end)

  def _turn(self, on: bool) -> None:
    if on and not self._on:
      jax.profiler.start_trace(str(self._folder / "profile"))
    elif self._on and not on:
      jax.profiler.stop_trace()
    self._on = on
