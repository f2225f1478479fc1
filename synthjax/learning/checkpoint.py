"""Checkpoints through orbax: whole or not there, written while training goes on.

checkpoints/    the last few states, and those of every `keep_steps`-th step
best/           the learnt variables that did best by a metric, and best.json: which step, how well
fit.json        what the states were made with; another one is refused in one line, and never goes on

Bytes that have changed since are noticed before a state is restored (checkpoint_sums.py): the one before it is used.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from synthjax.disk import checksums, faults, workdir
from synthjax.learning import coordination, orbax_messages
from synthjax.learning.checkpoint_sums import Sums
from synthjax.runtime.errors import UserError

_FIT, _BEST = "fit.json", "best.json"
_NOTE = {"step": int, "value": float}  # of the best


class Checkpoints:
  """`with Checkpoints(folder) as checkpoints:`; leaving waits for the last write."""

  def __init__(self, folder: epath.Path, keep: int = 2, keep_steps: int = 0):
    self._run, self._folder = folder, folder / "checkpoints"
    self._manager = _manager(self._folder, keep, keep_steps)
    self._best: ocp.CheckpointManager | None = None
    writes = jax.process_index() == 0
    self._sums, self._best_sums = Sums(self._folder, writes), Sums(folder / "best", writes)
    self.unproven: epath.Path | None = None  # restored, and nothing says that its bytes are those written

  def __enter__(self) -> Checkpoints:
    return self

  def __exit__(self, *_: object) -> None:
    with (
      contextlib.ExitStack() as closing
    ):  # each of them, though a write of another has failed: threads wait for it
      closing.callback(self._best_sums.close)
      closing.callback(self._sums.close)
      if self._best:
        closing.callback(self._best.close)
      closing.callback(self._manager.close)

  @property
  def latest(self) -> int | None:
    return self._manager.latest_step()

  def check(self, steps: int, fit: Mapping[str, Any]) -> None:
    """Refuses to go on with what was begun otherwise. More steps than before are welcome, fewer than done are not."""
    fix = f"give the run another name, or remove {self._run} to start again"
    if (self.latest or 0) > steps:
      raise UserError(
        f"{self._folder} is at step {self.latest}, beyond the {steps} steps of the config; {fix}"
      )
    file = self._run / _FIT
    if self.latest is not None and file.exists():
      begun = checksums.read_json(file, "checkpoint", dict)
      for what in sorted(begun.keys() | fit.keys()):
        if begun.get(what) != fit.get(what):
          raise UserError(
            f"checkpoints in {self._folder} were made with {what} {begun.get(what)!r}, not {fit.get(what)!r}; {fix}"
          )
    elif fit and jax.process_index() == 0:
      checksums.replace(file, workdir.to_json(dict(fit)))

  def save(self, step: int, state: Any) -> None:
    """A step that is there already is not written again: orbax would refuse it in silence."""
    latest = self.latest
    if latest is None or step > latest:
      _save(self._manager, self._sums, step, state)

  def save_best(self, step: int, learnt: Any, metric: str, value: float) -> None:
    """Keeps the variables if none before did better. A run that goes on from an earlier step may do so again."""
    file = self._run / "best" / _BEST
    known = checksums.read_json(file, "best checkpoint", _NOTE) if file.exists() else None
    if known and (known["value"] >= value or known["step"] >= step):
      return
    self._best = self._best or _manager(self._run / "best", 1, 0)
    for unknown in self._best.all_steps():
      if unknown >= step:  # a death came before its note: it is made again
        self._best.delete(unknown)
    _save(self._best, self._best_sums, step, learnt)
    self._best.wait_until_finished()
    if jax.process_index() == 0:
      checksums.replace(file, workdir.to_json({"step": step, "metric": metric, "value": value}))

  # --- restoring -----------------------------------------------------------------------------------

  def restore(self, like: Any) -> Any:
    """The latest whole state, placed as `like` says. One that does not fit is an error, never a fresh start."""
    self._manager.wait_until_finished()
    damaged: dict[int, str] = {}
    for step in sorted(self._manager.all_steps(), reverse=True):
      state, damaged[step] = self._restored(step, like)
      if not damaged[step]:
        self._set_aside({step: why for step, why in damaged.items() if why})
        self._check_best(step)
        return state
    raise UserError(
      f"checkpoints: no step in {self._folder} is whole ({damaged[max(damaged)]}); remove {self._folder} to start again"
    )

  def _restored(self, step: int, like: Any) -> tuple[Any, str]:
    """(state, ""), or what is wrong with the step. Joined processes find the same."""
    if fault := self._found_by_first(self._sums, step):
      return None, fault
    path, is_known = self._folder / str(step), coordination.broadcast(int(self._sums.knows(step)))
    state, self.unproven = None, None if is_known else path
    try:
      self._check_fits(step, like)
      state = self._manager.restore(step, args=ocp.args.StandardRestore(like))
    except UserError:
      raise
    except Exception as e:  # whatever a damaged file makes of orbax
      if is_known or faults.disk_fault(e):
        raise
      fault = f"{path} cannot be restored ({type(e).__name__}: {' '.join(str(e).split())[:80]})"
    if not is_known and not fault and not _is_finite(state):
      fault = f"{path} holds NaN or inf"
    if not is_known and coordination.any_process(bool(fault)):
      return None, fault or f"{path} cannot be restored by another process"
    return state, ""

  def _check_fits(self, step: int, like: Any) -> None:
    have = {m.name: tuple(m.shape) for m in jax.tree.leaves(self._manager.item_metadata(step).tree)}
    want = {name: tuple(x.shape) for name, x in ocp.tree.to_flat_dict(like, sep=".").items()}
    differ = sorted(n for n in have.keys() | want.keys() if have.get(n) != want.get(n))
    if differ:
      first = f"{differ[0]} is {have.get(differ[0], 'missing')}, wanted {want.get(differ[0], 'no such')}"
      raise UserError(
        f"checkpoint {self._folder / str(step)} does not fit the network: {first}, and {len(differ) - 1} more; "
        f"give the run another name, or remove {self._folder} to start again"
      )

  def _set_aside(self, damaged: Mapping[int, str]) -> None:
    for step, why in damaged.items():
      if jax.process_index() == 0:
        print(
          f"checkpoint: {why}; the one before it is used, and the damaged one was moved to {self._sums.set_aside(step)}",
          file=sys.stderr,
        )
    if damaged:
      coordination.barrier("damaged checkpoints are set aside")
      self._manager.reload()

  def _check_best(self, step: int) -> None:
    """What did best cannot be made again but by chance: it is no longer called so where it is damaged."""
    file = self._run / "best" / _BEST
    if not coordination.broadcast(int(file.exists())):
      return
    best = checksums.read_json(file, "best checkpoint", _NOTE)["step"]
    fault = self._found_by_first(self._best_sums, best)
    if fault and jax.process_index() == 0:
      checksums.forget(file)
      print(
        f"checkpoint: {fault}; it was moved to {self._best_sums.set_aside(best)}, and the best is searched from step {step} on",
        file=sys.stderr,
      )
    if fault:
      coordination.barrier("a damaged best checkpoint is set aside")

  def _found_by_first(self, sums: Sums, step: int) -> str:
    """A fault by the checksums: the first of joined processes reads the bytes for all."""
    fault = sums.fault(step) if jax.process_index() == 0 else ""
    return (fault or "damaged") if coordination.broadcast(int(bool(fault))) else ""


def _manager(folder: epath.Path, keep: int, keep_steps: int) -> ocp.CheckpointManager:
  orbax_messages.silence()
  # Joined processes meet at barriers that have one name in all managers, and two of these may save at once.
  apart = ocp.options.MultiprocessingOptions(barrier_sync_key_prefix=folder.name)
  options = ocp.CheckpointManagerOptions(
    max_to_keep=keep, keep_period=keep_steps or None, create=True, multiprocessing_options=apart
  )
  return ocp.CheckpointManager(
    epath.Path(folder).absolute(), options=options, item_handlers=ocp.StandardCheckpointHandler()
  )


def _save(manager: ocp.CheckpointManager, sums: Sums, step: int, state: Any) -> None:
  sums.expect(step)
  if not manager.save(step, args=ocp.args.StandardSave(state)):
    raise RuntimeError(f"orbax did not save step {step} in {manager.directory}")


def _is_finite(state: Any) -> bool:
  """Of this process's part."""
  return all(
    np.isfinite(np.asarray(shard.data)).all()
    for x in jax.tree.leaves(state)
    if jax.numpy.issubdtype(x.dtype, jax.numpy.inexact)
    for shard in x.addressable_shards[: 1 if x.is_fully_replicated else None]
  )
