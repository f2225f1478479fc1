"""Initial weights of a learner: another learner's, or a published network's, adapted to its own shapes."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from synthjax.learning.tasks import LearnerTask
from synthjax.models import networks
from synthjax.spec.fields import Learning
from synthjax.weights import image_networks


def initial_weights(
  task: LearnerTask, fields: Learning, source: Path | tuple[bytes, int] | None, seed: int
) -> Any:
  """Variables in the shapes of the task's network, with a newly initialised head where the classes differ. None: random."""
  if source is None:
    return None
  side = fields.size
  pixels = np.zeros((1, side, side, 3), np.float32)
  fresh = _init(task)(jax.random.fold_in(jax.random.key(seed), 2**31 - 1), {"pixels": pixels})
  if isinstance(source, Path):
    main = networks.build(fields.model, task.classes)
    shapes = jax.eval_shape(lambda key: main.init(key, pixels), jax.random.key(0))
    found, domain = traverse_util.flatten_dict(image_networks.read_torch(source, shapes)), 0
  else:
    found, domain = image_networks.from_bytes(source[0]), source[1]
  own = image_networks.adapt(found, traverse_util.flatten_dict(fresh), domain)
  return jax.tree.map(lambda x: np.asarray(x, np.float32), traverse_util.unflatten_dict(own))


@functools.lru_cache(maxsize=8)
def _init(task: LearnerTask) -> Any:
  """Compiled once for tasks that are equal."""
  return jax.jit(task.init)
