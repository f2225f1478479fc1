"""The training loop. It knows nothing of what is learnt: that is the task's.

The state after step s is a function of (task, recipe, batches) alone: the random key is folded from the step, the
batch is a function of the step, and a checkpoint holds everything else. So a run that was stopped anywhere goes on to
the same bits. Joined processes leave at the same step: what each of them requests travels with the step, and is read when
the step before it is done.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import optax
from etils import epath
from flax import struct

from synthjax.disk import checksums, workdir
from synthjax.learning import peak
from synthjax.learning.checkpoint import Checkpoints
from synthjax.learning.coordination import NOTHING, SAVE, STOP, Requests
from synthjax.learning.delayed_metrics import DelayedMetrics, NotFinite, Watch
from synthjax.learning.metrics import Metrics
from synthjax.learning.optimizer import Recipe, averaged, optimizer
from synthjax.learning.prefetch import Prefetch
from synthjax.models import attention
from synthjax.runtime import devices, sharding
from synthjax.runtime.errors import UserError
from synthjax.runtime.progress import Progress
from synthjax.runtime.stopping import Stop

Variables = dict[str, Any]  # "params" has gradients; other collections are replaced by the loss's updates
Batch = Mapping[str, Any]
TIMING = "timing.json"  # how fast the last session was
BatchAt = Callable[
  [int], Batch
]  # a batch is a function of the step: of joined processes, each one's share of it


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


@dataclasses.dataclass(frozen=True)
class Pace:
  """When to save and to log: nothing here changes a bit of what is learnt."""

  save_seconds: float = 300.0
  keep_steps: int = 0  # checkpoints of every n-th step stay; 0 = only the last ones do
  log_steps: int = 50
  log_seconds: float = 30.0
  prefetch: int = 0  # batches read, and sent to the devices, while these are busy
  profile: tuple[int, int] = (0, 0)  # steps from, to: their profile goes to the run's folder


def init_state(task: Task, recipe: Recipe, batch: Batch, key: jax.Array) -> State:
  variables = task.init(jax.random.fold_in(key, 2**31 - 1), batch)  # no step's key
  ema = jax.tree.map(jnp.copy, _averages(variables)) if recipe.ema else {}
  return State(jnp.int32(0), variables, optimizer(recipe).init(variables["params"]), ema)


def _averages(variables: Variables) -> Variables:
  return {k: v for k, v in variables.items() if k in ("params", "batch_stats")}


def train_step(
  task: Task, recipe: Recipe, state: State, batch: Batch, key: jax.Array
) -> tuple[State, dict[str, jax.Array]]:
  """One step; pure. `key` is that of the run."""
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
  steps, opt_state = optimizer(recipe).update(grads, state.opt_state, params)
  variables = state.variables | updates | {"params": optax.apply_updates(params, steps)}
  ema = averaged(state.ema, _averages(variables), recipe.ema, state.step) if recipe.ema else {}
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
  watch: Watch | None = None,
  fit: Mapping[str, Any] | None = None,
  init: Variables | None = None,
) -> State:
  """Trains up to `recipe.steps`, from the last checkpoint in `folder` if there is one, and leaves one at the end.

  Batches are split over the devices of `mesh`: by default as many local ones as divide a batch. `fit` is what a
  checkpoint must have been made with to be gone on with. `init` replaces the variables of `task.init`.
  """
  mesh = mesh or sharding.training_mesh(of=jax.local_devices(), batch=batch_size, name=name)
  place = sharding.placer(mesh)
  key, seedless = jax.random.key(recipe.seed), dataclasses.replace(recipe, seed=0)
  make_state = functools.partial(init_state, task, seedless)
  first = place(dict(batch_at(0)))
  shapes = jax.eval_shape(make_state, first, key)
  where = sharding.of_state(mesh, shapes)
  like = jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), shapes, where)
  everywhere = devices.place(mesh, devices.REPLICATED)
  split = mesh.shape.get("fsdp", 1) > 1
  initialise, steps = _compiled(where, everywhere) if split else _programs(everywhere)
  step_of = functools.partial(steps, task, seedless)
  chosen = _chosen(task, seedless, batch_size, mesh)
  with contextlib.ExitStack() as stack:
    checkpoints = stack.enter_context(Checkpoints(folder, keep_steps=pace.keep_steps))
    checkpoints.check(recipe.steps, fit or {})
    if checkpoints.latest is None:
      state = initialise(task, seedless, first, key)
      if init is not None:
        given = jax.device_put({k: init[k] for k in state.variables}, where.variables)
        state = state.replace(
          variables=given, ema=jax.tree.map(jnp.copy, _averages(given)) if recipe.ema else {}
        )
    else:
      state = checkpoints.restore(like)
    start = int(state.step)
    progress = Progress(
      name,
      recipe.steps * batch_size,
      start * batch_size,
      unit="examples",
      devices=mesh.size,
      log_seconds=pace.log_seconds,
      shown=devices.is_main_process(),
      share_of_peak=peak.share(
        mesh, batch_size, functools.partial(train_step, task, seedless), state, first, key
      ),
    )
    metrics = stack.enter_context(Metrics(folder, start, writes=jax.process_index() == 0))
    batches = stack.enter_context(
      Prefetch(lambda step: place(dict(batch_at(step))), start, recipe.steps, pace.prefetch)
    )
    profile = stack.enter_context(peak.Profile(folder, pace.profile))
    delayed = DelayedMetrics(metrics, checkpoints, watch, pace.log_steps)
    requests, saved_at = Requests(mesh), time.monotonic()
    try:
      for step in range(start, recipe.steps):
        due = time.monotonic() - saved_at > pace.save_seconds
        request = requests.exchange(STOP if stop.requested else SAVE if due else NOTHING)
        if request or (pace.keep_steps and step > start and step % pace.keep_steps == 0):
          delayed.flush()  # what is broken is not saved
          checkpoints.save(step, state)  # before the next batch is taken
          saved_at = time.monotonic()
        if request == STOP:
          stop.leave(f"with step {step} of {name} saved")
        with progress.waiting():
          batch = batches.at(step)
        profile.at(step)
        with attention.recorded(chosen):  # while the program is traced
          state, values = step_of(state, batch, key)
        if step == start:
          attention.note_once(name, chosen)
        delayed.flush()  # of the step before: the devices are busy with this one
        delayed.pending = step + 1, values
        progress.add(batch_size)
        if watch and watch.every and (step + 1) % watch.every == 0 and step + 1 < recipe.steps:
          delayed.flush(state.learnt)
      delayed.flush(state.learnt, last=True)
    except NotFinite as e:
      fix = f"lower the learning rate, and remove {folder} to start again"
      if checkpoints.unproven:
        fix = f"it resumed from {checkpoints.unproven}, which has no checksums and may be damaged: remove {folder} to start again, and lower the learning rate if this happens again"
      last = "it has saved nothing yet"
      if watch and checkpoints.latest is not None:
        found = watch.evaluate(checkpoints.restore(like).learnt)
        last = f"at step {checkpoints.latest} it had {', '.join(f'{k} {v:.4g}' for k, v in found.items())}"
      raise UserError(f"{name}: the loss is {e.loss} at step {e.step}; {fix}; {last}") from None
    stop.look()
    timing = progress.timing() | devices.describe() | {"attention": chosen}
    if start < recipe.steps and jax.process_index() == 0:  # before the state that says that all is done
      checksums.replace(folder / TIMING, workdir.to_json(timing))
    checkpoints.save(recipe.steps, state)
    if requests.exchange_now(STOP if stop.requested else NOTHING) == STOP:
      stop.leave(f"with step {recipe.steps} of {name} saved")
    progress.close()
  return state


def _compiled(where: Any, everywhere: jax.sharding.NamedSharding) -> tuple[Any, Any]:
  """The programs that initialise a state, and that step."""
  initialise = jax.jit(init_state, static_argnums=(0, 1), out_shardings=where)
  return initialise, jax.jit(
    train_step, static_argnums=(0, 1), donate_argnums=2, out_shardings=(where, everywhere)
  )


@functools.lru_cache(maxsize=32)  # a task may hold features
def _chosen(task: Task, recipe: Recipe, batch_size: int, mesh: jax.sharding.Mesh) -> attention.Chosen:
  """The kernels in a run's program, which the first run that has it traces."""
  return {}


@functools.cache
def _programs(everywhere: jax.sharding.NamedSharding) -> tuple[Any, Any]:
  """The same for all runs: those that differ in their seed alone are compiled once."""
  return _compiled(everywhere, everywhere)
