"""What a learner may learn: `config.learning.task` by name. classify ships; a config file may register others in TASKS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import jax

from synthjax.learning import settings
from synthjax.learning.step import Task, Variables
from synthjax.runtime.registry import Registry
from synthjax.spec.fields import Learning


class LearnerTask(Task, Protocol):
  """A task of the one training loop that can be tested as a classifier. It is hashable: what is compiled goes by it.

  `init(key, batch)` makes the variables: "params", which gradients change, and any other collections. `loss(variables, batch,
  key, step)` returns (the mean loss of the batch, (the other collections after it, what is logged)); a batch holds pixels
  [B, S, S, 3] uint8, labels [B] int32, and domain [B], 0 for real images and 1 for synthetic ones. Both are compiled and may
  use nothing but their arguments, so that a run which was stopped goes on to the same bits.
  """

  @property
  def classes(self) -> int: ...

  def predict(self, variables: Variables, pixels: jax.Array, /, features: bool = False) -> jax.Array:
    """Logits [B, classes] of pixels [B, S, S, 3] uint8; or features [B, D], which probes learn from."""
    ...


# A function of a learner's fields and its number of classes.
TASKS: Registry[Callable[[Learning, int], LearnerTask]] = Registry("task", {"classify": settings.task})
