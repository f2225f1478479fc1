"""What a learner may learn: `config.learning.task` by name. classify ships; a config file may register others in TASKS:

    class Fields(Classify):
      price: Identity[Amount] = 0.1

    @TASKS.register("confident", fields=Fields)
    class Confident:
      def __init__(self, fields: Fields, classes: int): ...

Its fields are a class derived from `spec.fields.Learning`, what every task has, or from another task's. They are set by
`config.learners.NAME.price`, or for all learners of the task by `config.learning.price`, and belong to its learners' identity. A
name that another task has too must be the same line there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import jax

from synthjax.learning import settings
from synthjax.learning.step import Task, Variables
from synthjax.runtime.registry import Registry
from synthjax.spec import tasks
from synthjax.spec.fields import Classify, Learning


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


# Makes a task of a learner's fields, which are of the group that the task declares, and its number of classes.
MakesTask = Callable[[Any, int], LearnerTask]


class Tasks(Registry[MakesTask]):
  def register(self, name: str, fields: type[Learning] = Classify) -> Callable[[MakesTask], MakesTask]:
    """Without fields of its own a task has those of classify."""
    add = super().register(name)
    tasks.declare(name, fields)
    return add


TASKS = Tasks("task", {"classify": settings.task})
