"""How much of the devices' published peak a step reaches, and the profile of a few steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from etils import epath
from jax.sharding import Mesh

from synthjax.models.flops import flops_of
from synthjax.runtime import peaks


def share(mesh: Mesh, batch_size: int, step: Callable, *arguments: Any) -> Callable[[float], float] | None:
  """From examples a second and device to a share of the 16-bit peak; None where the peak is not known, as on CPUs.

  The arithmetic is that of `step(*arguments)`, a step of the whole batch before it is split."""
  tera = peaks.published(mesh.devices.flat[0].device_kind)
  if tera is None:
    return None
  flops = flops_of(step, *arguments) / batch_size
  return lambda rate: rate * flops / (tera * 1e12)


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
