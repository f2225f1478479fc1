"""What a learnt network says of every picture of a test: each once, however many devices and processes share them."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable
from typing import Any, Protocol

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from synthjax.data.pictures import Pictures
from synthjax.runtime import sharding


class Predicts(Protocol):
  def predict(self, variables: Any, pixels: jax.Array, /, features: bool = False) -> jax.Array: ...


@functools.lru_cache(maxsize=8)  # a program stays, and with it what its task holds
def _program(mesh: Mesh, task: Predicts, features: bool) -> Any:
  def run(variables: Any, pixels: jax.Array) -> jax.Array:
    return task.predict(variables, pixels, features)

  return jax.jit(run, out_shardings=NamedSharding(mesh, PartitionSpec()))


def predicted(
  task: Predicts,
  variables: Any,
  pictures: Pictures,
  features: bool = False,
  *,
  mesh: Mesh,
  per_device_batch: int,
) -> np.ndarray:
  """Logits [n, K] or features [n, D], in the order of the source. The last batch is filled up, and cut again."""
  per_device = min(per_device_batch, -(-len(pictures) // mesh.size))
  size, place, n = per_device * mesh.size, sharding.placer(mesh), len(pictures)
  run, found = _program(mesh, task, features), []
  for start in range(0, n, size):
    places = np.minimum(np.arange(start, start + size), n - 1)[sharding.share(size)]
    found.append(run(variables, place({"pixels": pictures.at(places)})["pixels"]))
  return np.concatenate([np.asarray(x) for x in found])[:n]


def predicted_in_order(
  task: Predicts,
  variables: Any,
  pixels: Iterable[np.ndarray],
  at_most: int,
  *,
  mesh: Mesh,
  per_device_batch: int,
) -> np.ndarray:
  """Logits [n, K] of pictures that are decoded meanwhile, by this process alone, in the batches of `predicted`."""
  per_device = min(per_device_batch, -(-at_most // mesh.size))
  size, place, run = per_device * mesh.size, sharding.placer(mesh), _program(mesh, task, False)
  rest, found = iter(pixels), []
  while batch := list(itertools.islice(rest, size)):
    filled = np.stack([*batch, *[batch[-1]] * (size - len(batch))])
    logits = run(variables, place({"pixels": filled})["pixels"])
    found.append(np.asarray(logits)[: len(batch)])
  return np.concatenate(found) if found else np.zeros((0, 1), np.float32)
