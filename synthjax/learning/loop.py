"""The training loop. It knows nothing of what is learnt: that is the task's.

The state after step s is a function of (task, recipe, batches) alone: the random key is folded from the step, the
batch is a function of the step, and a checkpoint holds everything else. So a run that was stopped anywhere goes on to
the same bits. Joined processes leave at the same step: what each of them requests travels with the step, and is read when
the step before it is done.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from etils import epath

from synthjax.disk import checksums, mirrored, workdir
from synthjax.learning import peak
from synthjax.learning.checkpoint import Checkpoints
from synthjax.learning.coordination import NOTHING, SAVE, STOP, Requests
from synthjax.learning.delayed_metrics import DelayedMetrics, NotFinite, Watch
from synthjax.learning.metrics import Metrics
from synthjax.learning.optimizer import Recipe
from synthjax.learning.prefetch import Prefetch
from synthjax.learning.programs import programs
from synthjax.learning.step import Batch, State, Task, Variables, initial_averages
from synthjax.models import attention
from synthjax.runtime import devices, sharding
from synthjax.runtime.errors import UserError
from synthjax.runtime.progress import Progress
from synthjax.runtime.stopping import Stop

TIMING = "timing.json"  # how fast the last session was
BatchAt = Callable[
  [int], Batch
]  # a batch is a function of the step: of joined processes, each one's share of it


@dataclasses.dataclass(frozen=True)
class Pace:
  """When to save and to log: nothing here changes a bit of what is learnt."""

  save_seconds: float = 300.0
  keep_steps: int = 0  # checkpoints of every n-th step stay; 0 = only the last ones do
  log_steps: int = 50
  log_seconds: float = 30.0
  prefetch: int = 0  # batches read, and sent to the devices, while these are busy
  profile: tuple[int, int] = (0, 0)  # steps from, to: their profile goes to the run's folder


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
  seeds: Sequence[int] = (),
) -> State:
  """Trains up to `recipe.steps`, from the last checkpoint in `folder` if there is one, and leaves one at the end.

  Batches are split over the devices of `mesh`: by default as many local ones as divide a batch. `fit` is what a
  checkpoint must have been made with to be gone on with. `init` replaces the variables of `task.init`.

  With `seeds`, runs go side by side, one a seed, as if each were alone: a batch's arrays, `init` and what is learnt have
  them as their first axis, and `batch_size` counts the examples of all.
  """
  mesh = mesh or sharding.training_mesh(of=jax.local_devices(), batch=batch_size, name=name)
  place = sharding.placer(mesh)
  key = jnp.stack([jax.random.key(s) for s in seeds]) if seeds else jax.random.key(recipe.seed)
  first = place(dict(batch_at(0)))
  run = programs(task, recipe, first, mesh, len(seeds))
  with contextlib.ExitStack() as stack:
    folder = stack.enter_context(mirrored.held(folder))
    checkpoints = stack.enter_context(Checkpoints(folder, keep_steps=pace.keep_steps))
    checkpoints.check(recipe.steps, fit or {})
    if checkpoints.latest is None:
      state = run.init(first, key)
      if init is not None:
        given = jax.device_put({k: init[k] for k in state.variables}, run.where.variables)
        state = dataclasses.replace(state, variables=given, ema=initial_averages(recipe, given))
    else:
      state = checkpoints.restore(run.like)
    start = int(state.step)
    progress = Progress(
      name,
      recipe.steps * batch_size,
      start * batch_size,
      unit="examples",
      devices=mesh.size,
      log_seconds=pace.log_seconds,
      shown=devices.is_main_process(),
      share_of_peak=peak.share(mesh, batch_size, lambda: run.flops),
    )
    metrics = stack.enter_context(Metrics(folder, start, writes=jax.process_index() == 0))
    batches = stack.enter_context(
      Prefetch(lambda step: place(dict(batch_at(step))), start, recipe.steps, pace.prefetch)
    )
    profile = stack.enter_context(peak.Profile(folder, pace.profile))
    delayed = DelayedMetrics(metrics, checkpoints, watch, pace.log_steps, seeds)
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
        state, values = run.step(state, batch, key)
        if step == start:
          attention.note_once(name, run.attention)
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
        found = watch.evaluate(checkpoints.restore(run.like).learnt)
        last = f"at step {checkpoints.latest} it had {', '.join(f'{k} {v:.4g}' for k, v in found.items())}"
      raise UserError(f"{name}: the loss is {e.loss} at step {e.step}; {fix}; {last}") from None
    stop.look()
    timing = progress.timing() | devices.describe() | {"attention": run.attention}
    if start < recipe.steps and jax.process_index() == 0:  # before the state that says that all is done
      checksums.replace(folder / TIMING, workdir.to_json(timing))
    checkpoints.save(recipe.steps, state)
    if requests.exchange_now(STOP if stop.requested else NOTHING) == STOP:
      stop.leave(f"with step {recipe.steps} of {name} saved")
    progress.close()
  return state
