"""Checkpoints through orbax: whole or not there, written while training goes on.

checkpoints/    the last few states, and those of every `keep_steps`-th step
best/           the learnt variables that did best by a metric, and best.json: which step, how well
fit.json        what the states were made with; another one is refused in one line, and never goes on
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath

from synthjax import workdir
from synthjax.errors import UserError

_FIT, _BEST = "fit.json", "best.json"


class Checkpoints:
  """`with Checkpoints(folder) as checkpoints:`; leaving waits for the last write."""

  def __init__(self, folder: epath.Path, keep: int = 2, keep_steps: int = 0):
    self._run, self._folder = folder, folder / "checkpoints"
    self._manager = _manager(self._folder, keep, keep_steps)
    self._best: ocp.CheckpointManager | None = None

  def __enter__(self) -> Checkpoints:
    return self

  def __exit__(self, *_: object) -> None:
    self._manager.close()
    if self._best:
      self._best.close()

  @property
  def latest(self) -> int | None:
    return self._manager.latest_step()

  def check(self, steps: int, fit: Mapping[str, Any]) -> None:
    """Refuses to go on with what was begun otherwise. More steps than before are welcome, fewer than done are not."""
    mend = f"give the run another name, or remove {self._run} to begin anew"
    if (self.latest or 0) > steps:
      raise UserError(f"{self._folder} is at step {self.latest}, beyond the {steps} wanted; {mend}")
    file = self._run / _FIT
    if self.latest is not None and file.exists():
      begun = workdir.read_json(file, "checkpoint")
      for what in sorted(begun.keys() | fit.keys()):
        if begun.get(what) != fit.get(what):
          raise UserError(
            f"checkpoints in {self._folder} were made with {what} {begun.get(what)!r}, not {fit.get(what)!r}; {mend}"
          )
    elif fit and jax.process_index() == 0:
      workdir.replace_bytes(file, workdir.to_json(dict(fit)))

  def save(self, step: int, state: Any) -> None:
    """A step that is there already is not written again: orbax would refuse it in silence."""
    latest = self.latest
    if latest is None or step > latest:
      _save(self._manager, step, state)

  def save_best(self, step: int, learnt: Any, metric: str, value: float) -> None:
    """Keeps the variables if none before did better. A run that goes on from an earlier step may do so again."""
    file = self._run / "best" / _BEST
    known = workdir.read_json(file, "best checkpoint") if file.exists() else None
    if known and (known["value"] >= value or known["step"] >= step):
      return
    self._best = self._best or _manager(self._run / "best", 1, 0)
    for unknown in self._best.all_steps():
      if unknown >= step:  # a death came before its note: it is made again
        self._best.delete(unknown)
    _save(self._best, step, learnt)
    self._best.wait_until_finished()
    if jax.process_index() == 0:
      workdir.replace_bytes(file, workdir.to_json({"step": step, "metric": metric, "value": value}))

  def restore(self, like: Any) -> Any:
    """The latest state, placed as `like` says. One that does not fit is an error, never a fresh start."""
    self._manager.wait_until_finished()
    have = {m.name: tuple(m.shape) for m in jax.tree.leaves(self._manager.item_metadata(self.latest).tree)}
    want = {name: tuple(x.shape) for name, x in ocp.tree.to_flat_dict(like, sep=".").items()}
    differ = sorted(n for n in have.keys() | want.keys() if have.get(n) != want.get(n))
    if differ:
      first = f"{differ[0]} is {have.get(differ[0], 'missing')}, wanted {want.get(differ[0], 'no such')}"
      raise UserError(
        f"checkpoint {self._folder / str(self.latest)} does not fit the network: {first}, and {len(differ) - 1} more; "
        f"give the run another name, or remove {self._folder} to begin anew"
      )
    return self._manager.restore(self.latest, args=ocp.args.StandardRestore(like))


def _manager(folder: epath.Path, keep: int, keep_steps: int) -> ocp.CheckpointManager:
  options = ocp.CheckpointManagerOptions(max_to_keep=keep, keep_period=keep_steps or None, create=True)
  return ocp.CheckpointManager(
    epath.Path(folder).absolute(), options=options, item_handlers=ocp.StandardCheckpointHandler()
  )


def _save(manager: ocp.CheckpointManager, step: int, state: Any) -> None:
  if not manager.save(step, args=ocp.args.StandardSave(state)):
    raise RuntimeError(f"orbax did not save step {step} in {manager.directory}")
