"""The training loop. It knows nothing of what is learnt: that is the task's.

The state after step s is a function of (task, recipe, batches) alone: the random key is folded from the step, the
batch is a function of the step, and a checkpoint holds everything else. So a run that was stopped anywhere goes on to
the same bits.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax
from etils import epath

from synthjax import devices
from synthjax.errors import UserError
from synthjax.progress import Progress
from synthjax.stopping import Stop
from synthjax.training.checkpoint import Checkpoints
from synthjax.training.metrics import Metrics
from synthjax.training.optimizer import Recipe, averaged, optimizer

Variables = dict[str, Any]  # "params" has gradients; other collections are replaced by the loss's updates
Batch = Mapping[str, Any]
BatchAt = Callable[[int], Batch]  # a batch is a function of the step


class Task(Protocol):
  def init(self, key: jax.Array, batch: Batch) -> Variables: ...

  def loss(
    self, variables: Variables, batch: Batch, key: jax.Array, step: jax.Array
  ) -> tuple[jax.Array, tuple[Variables, dict[str, jax.Array]]]:
    """(loss, (the collections that change, metrics))."""
    ...


@flax.struct.dataclass
class State:
  step: jax.Array
  variables: Variables
  opt_state: optax.OptState
  ema: Any  # of params; {} = off


@dataclasses.dataclass(frozen=True)
class Pace:
  """When to save and to speak: nothing here changes a bit of what is learnt."""

  save_seconds: float = 300.0
  log_steps: int = 50
  log_seconds: float = 30.0


def init_state(task: Task, recipe: Recipe, batch: Batch) -> State:
  key = jax.random.fold_in(jax.random.key(recipe.seed), 2**31 - 1)  # no step's key
  variables = task.init(key, batch)
  ema = jax.tree.map(jnp.copy, variables["params"]) if recipe.ema else {}
  return State(jnp.int32(0), variables, optimizer(recipe).init(variables["params"]), ema)


def train_step(task: Task, recipe: Recipe, state: State, batch: Batch) -> tuple[State, dict[str, jax.Array]]:
  """One step; pure."""
  key = jax.random.fold_in(jax.random.key(recipe.seed), state.step)

  def loss_of(params: Any) -> tuple[jax.Array, tuple[Variables, dict[str, jax.Array]]]:
    return task.loss(state.variables | {"params": params}, batch, key, state.step)

  params = state.variables["params"]
  (loss, (updates, metrics)), grads = jax.value_and_grad(loss_of, has_aux=True)(params)
  steps, opt_state = optimizer(recipe).update(grads, state.opt_state, params)
  params = optax.apply_updates(params, steps)
  ema = averaged(state.ema, params, recipe.ema, state.step) if recipe.ema else {}
  new = State(state.step + 1, state.variables | updates | {"params": params}, opt_state, ema)
  return new, metrics | {"loss": loss, "grad_norm": optax.tree.norm(grads)}


def train(
  task: Task,
  batch_at: BatchAt,
  recipe: Recipe,
  folder: epath.Path,
  *,
  name: str,
  batch_size: int,
  pace: Pace,
  stop: Stop,
  mesh: jax.sharding.Mesh | None = None,
) -> State:
  """Trains up to `recipe.steps`, from the last checkpoint in `folder` if there is one, and leaves one at the end.

  Batches are split over the devices of `mesh`, which are all local ones unless told otherwise.
  """
  mesh = mesh or devices.local_mesh()
  everywhere = devices.place(mesh, devices.REPLICATED)
  place = functools.partial(jax.device_put, device=devices.place(mesh, devices.BATCH))
  step_of = jax.jit(functools.partial(train_step, task, recipe), donate_argnums=0, out_shardings=everywhere)
  make_state = functools.partial(init_state, task, recipe)
  first = place(dict(batch_at(0)))
  with Checkpoints(folder / "checkpoints") as checkpoints:
    if checkpoints.latest is None:
      state = jax.jit(make_state, out_shardings=everywhere)(first)
    else:
      shapes = jax.eval_shape(make_state, first)
      like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=everywhere), shapes)
      state = checkpoints.restore(like)
    start = int(state.step)
    progress = Progress(
      name,
      recipe.steps * batch_size,
      start * batch_size,
      unit="examples",
      devices=mesh.size,
      log_seconds=pace.log_seconds,
      speak=devices.is_speaker(),
    )
    with Metrics(folder, start) as metrics:
      pending: tuple[int, dict[str, jax.Array]] | None = None
      saved_at = time.monotonic()
      for step in range(start, recipe.steps):
        if stop.requested or time.monotonic() - saved_at > pace.save_seconds:
          checkpoints.save(step, state)  # before the next batch is taken
          saved_at = time.monotonic()
        if stop.requested:
          break
        with progress.waiting():
          batch = place(dict(batch_at(step)))
        state, values = step_of(state, batch)
        if pending:  # of the step before: the device is busy with this one
          _log(metrics, *pending, every=pace.log_steps)
        pending = step + 1, values
        progress.add(batch_size)
      if pending:
        _log(metrics, *pending, every=1)
    stop.check()
    checkpoints.save(recipe.steps, state)
    progress.close()
  return state


def _log(metrics: Metrics, step: int, values: dict[str, jax.Array], every: int) -> None:
  numbers = {k: float(np.asarray(v)) for k, v in values.items()}
  if not math.isfinite(numbers["loss"]):
    raise UserError(
      f"the loss is {numbers['loss']} at step {step}; lower the learning rate, and remove the run's folder to begin anew"
    )
  if step % every == 0:
    metrics.write(step, numbers)
