"""The compiled programs of the training loop: runs share them that differ in numbers alone.

A program is compiled for a structure: what a task and a recipe are without their numbers, the mesh, and the shapes of a
batch. Rate, schedule, number of steps, decay and clipping are its arguments, and so are the arrays and numbers of a task
that is a pytree; of another task, all that it holds is part of the program. So a sweep compiles once, and a later process
finds in the compile cache what an earlier one has compiled.

Runs that differ in their seeds can go side by side, in one program that maps the step of a run alone over all of them:
keys, variables, moments and batches have a leading axis, which is split over the devices. Nothing passes between runs.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, Protocol, cast

import jax
from jax.sharding import Mesh

from synthjax.learning.optimizer import Numbers, Recipe, numbers_of, structure_of
from synthjax.learning.step import Batch, State, Task, init_state, train_step
from synthjax.models import attention
from synthjax.models.flops import flops_of
from synthjax.runtime import devices, sharding

_KEPT = 8  # structures, with all that their programs and tasks hold: a study's runs come one structure after the other
Arguments = tuple[list[Any], Numbers]
Values = dict[str, jax.Array]
# Of runs side by side: what has an axis that counts them.
_RUNS = State(step=cast(Any, None), variables=cast(Any, 0), opt_state=0, ema=cast(Any, 0))


class Structure(Protocol):
  """A task without its arrays and numbers; hashable."""

  def unflatten(self, leaves: list[Any], /) -> Task: ...


@dataclasses.dataclass(frozen=True)
class _Whole:
  """Of a task that is no pytree: itself."""

  task: Task

  def unflatten(self, leaves: list[Any], /) -> Task:
    del leaves
    return self.task


class Programs:
  """Of one structure."""

  def __init__(
    self, task: Structure, recipe: Recipe, mesh: Mesh, arguments: Arguments, batch: Batch, runs: int
  ):
    key = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), runs) if runs else jax.random.key(0))
    init, self._one = functools.partial(_init, task, recipe), functools.partial(_step, task, recipe)
    if runs:
      init = jax.vmap(init, in_axes=(None, 0, 0), out_axes=_RUNS)
      self._one = jax.vmap(self._one, in_axes=(None, _RUNS, 0, 0), out_axes=(_RUNS, 0))
    self._shapes = arguments, batch, key
    shapes = jax.eval_shape(init, *self._shapes)
    self.where: State = sharding.of_runs(mesh, shapes) if runs else sharding.of_state(mesh, shapes)
    self.like: State = jax.tree.map(
      lambda x, where: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where), shapes, self.where
    )
    everywhere = devices.place(mesh, devices.REPLICATED)
    self.init = jax.jit(init, out_shardings=self.where)
    self.step = jax.jit(self._one, donate_argnums=1, out_shardings=(self.where, everywhere))
    self.attention: attention.Chosen = {}  # the kernels in it, which its first step finds out

  @functools.cached_property
  def flops(self) -> float:
    """Of a step of the whole batch, before it is split."""
    arguments, batch, key = self._shapes
    return flops_of(self._one, arguments, self.like, batch, key)


@dataclasses.dataclass(frozen=True)
class RunPrograms:
  """The programs of a structure, with the arguments of one run."""

  of_structure: Programs
  arguments: Arguments

  @property
  def like(self) -> State:
    """Shapes and placements of a state."""
    return self.of_structure.like

  @property
  def where(self) -> State:
    return self.of_structure.where

  @property
  def attention(self) -> attention.Chosen:
    return self.of_structure.attention

  @property
  def flops(self) -> float:
    return self.of_structure.flops

  def init(self, batch: Batch, key: jax.Array) -> State:
    return self.of_structure.init(self.arguments, batch, key)

  def step(self, state: State, batch: Batch, key: jax.Array) -> tuple[State, Values]:
    """Gives the state's buffers away."""
    with attention.recorded(self.attention):  # while it is traced
      return self.of_structure.step(self.arguments, state, batch, key)


def programs(task: Task, recipe: Recipe, batch: Batch, mesh: Mesh, runs: int = 0) -> RunPrograms:
  """With `runs`, of so many side by side; then each array of the batch has them as its first axis."""
  structure, leaves = _split(task)
  arguments = sharding.replicate(mesh, (leaves, numbers_of(recipe)))
  shapes, tree = jax.tree.flatten(jax.tree.map(_shape, (arguments, batch)))
  return RunPrograms(_programs(structure, structure_of(recipe), mesh, tree, tuple(shapes), runs), arguments)


@functools.lru_cache(maxsize=_KEPT)
def _programs(
  task: Structure, recipe: Recipe, mesh: Mesh, tree: Any, shapes: tuple[Any, ...], runs: int
) -> Programs:
  arguments, batch = jax.tree.unflatten(tree, shapes)
  return Programs(task, recipe, mesh, arguments, batch, runs)


def _split(task: Task) -> tuple[Structure, list[Any]]:
  leaves, tree = jax.tree.flatten(task)
  return (_Whole(task), []) if jax.tree_util.treedef_is_leaf(tree) else (tree, leaves)


def _shape(x: jax.Array) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(x.shape, x.dtype, weak_type=x.weak_type)


def _init(task: Structure, recipe: Recipe, arguments: Arguments, batch: Batch, key: jax.Array) -> State:
  leaves, numbers = arguments
  return init_state(task.unflatten(leaves), recipe, batch, key, numbers)


def _step(
  task: Structure, recipe: Recipe, arguments: Arguments, state: State, batch: Batch, key: jax.Array
) -> tuple[State, Values]:
  leaves, numbers = arguments
  return train_step(task.unflatten(leaves), recipe, state, batch, key, numbers)
