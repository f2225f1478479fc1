"""One step of training, whatever is learnt: pure functions of (task, recipe, numbers, state, batch, key)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import optax
from flax import struct

from synthjax.learning.optimizer import Numbers, Recipe, averaged, numbers_of, optimizer

Variables = dict[str, Any]  # "params" has gradients; other collections are replaced by the loss's updates
Batch = Mapping[str, Any]


class Task(Protocol):
  def init(self, key: jax.Array, batch: Batch) -> Variables: ...

  def loss(
    self, variables: Variables, batch: Batch, key: jax.Array, step: jax.Array
  ) -> tuple[jax.Array, tuple[Variables, dict[str, jax.Array]]]:
    """(loss, (the collections that change, metrics))."""
    ...


@struct.dataclass
class State:
  step: jax.Array
  variables: Variables
  opt_state: optax.OptState
  ema: Variables  # of params, and of running statistics, which belong to the params; {} = off

  @property
  def learnt(self) -> Variables:
    """What the run is for: averages where there are any."""
    return self.variables | self.ema


def init_state(
  task: Task, recipe: Recipe, batch: Batch, key: jax.Array, numbers: Numbers | None = None
) -> State:
  variables = task.init(jax.random.fold_in(key, 2**31 - 1), batch)  # no step's key
  ema = initial_averages(recipe, variables)
  return State(jnp.int32(0), variables, optimizer(recipe, numbers).init(variables["params"]), ema)


def initial_averages(recipe: Recipe, variables: Variables) -> Variables:
  """Copies, as a step gives the variables' buffers away."""
  return jax.tree.map(jnp.copy, _averages(variables)) if recipe.ema else {}


def _averages(variables: Variables) -> Variables:
  return {k: v for k, v in variables.items() if k in ("params", "batch_stats")}


def train_step(
  task: Task, recipe: Recipe, state: State, batch: Batch, key: jax.Array, numbers: Numbers | None = None
) -> tuple[State, dict[str, jax.Array]]:
  """One step; pure. `key` is that of the run; `numbers` are those of the recipe where none are given."""
  numbers = numbers or numbers_of(recipe)
  key = jax.random.fold_in(key, state.step)
  params = state.variables["params"]

  def gradient(variables: Variables, part: Batch, key: jax.Array) -> tuple[Any, Variables, dict[str, Any]]:
    def loss_of(params: Any) -> tuple[jax.Array, tuple[Variables, dict[str, jax.Array]]]:
      return task.loss(variables | {"params": params}, part, key, state.step)

    (loss, (updates, metrics)), grads = jax.value_and_grad(loss_of, has_aux=True)(params)
    return grads, updates, metrics | {"loss": loss}

  if recipe.accumulate == 1:
    grads, updates, metrics = gradient(state.variables, batch, key)
  else:
    grads, updates, metrics = _in_parts(gradient, recipe.accumulate, state.variables, batch, key)
  steps, opt_state = optimizer(recipe, numbers).update(grads, state.opt_state, params)
  variables = state.variables | updates | {"params": optax.apply_updates(params, steps)}
  ema = averaged(state.ema, _averages(variables), numbers.ema, state.step) if recipe.ema else {}
  return State(state.step + 1, variables, opt_state, ema), metrics | {"grad_norm": optax.tree.norm(grads)}


def _in_parts(gradient: Callable, parts: int, variables: Variables, batch: Batch, key: jax.Array) -> Any:
  """Every parts-th example makes a part, so that each holds what the batch holds; statistics follow part by part."""
  cut = jax.tree.map(lambda x: x.reshape(-1, parts, *x.shape[1:]).swapaxes(0, 1), dict(batch))

  def one(carried: Variables, item: tuple[Batch, jax.Array]) -> tuple[Variables, Any]:
    grads, updates, metrics = gradient(carried, *item)
    return carried | updates, (grads, metrics)

  variables, found = jax.lax.scan(one, variables, (cut, jax.random.split(key, parts)))
  grads, metrics = jax.tree.map(lambda x: x.mean(0), found)
  return grads, {k: v for k, v in variables.items() if k != "params"}, metrics
