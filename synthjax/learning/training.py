"""Where and how a run trains, whatever it learns."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
from etils import epath

from synthjax.learning.loop import BatchAt, Pace, train
from synthjax.learning.optimizer import Recipe
from synthjax.learning.step import State, Task
from synthjax.runtime import devices
from synthjax.runtime.stopping import Stop
from synthjax.spec.fields import RuntimeFields


@dataclasses.dataclass(frozen=True)
class Training:
  """Nothing here changes what is learnt."""

  folder: epath.Path
  name: str
  runtime: RuntimeFields
  stop: Stop

  def run(self, task: Task, batch_at: BatchAt, recipe: Recipe, part: str, size: int, init: Any) -> State:
    """On one device, as a classifier is small; `part` is a folder of its own for one of several trainings."""
    return train(
      task,
      batch_at,
      recipe,
      self.folder / part if part else self.folder,
      name=self.name,
      batch_size=size,
      pace=Pace(save_seconds=self.runtime.save_seconds, log_seconds=self.runtime.log_seconds),
      stop=self.stop,
      mesh=devices.local_mesh(jax.local_devices()[:1]),
      init=init,
    )
