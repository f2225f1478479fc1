"""Checkpoints through orbax: whole or not there, the last few kept, written while training goes on."""

from __future__ import annotations

from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath

from synthjax.errors import UserError


class Checkpoints:
  """`with Checkpoints(folder) as checkpoints:`; leaving waits for the last write."""

  def __init__(self, folder: epath.Path, keep: int = 2):
    options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True)
    self._folder = folder
    self._manager = ocp.CheckpointManager(
      epath.Path(folder).absolute(), options=options, item_handlers=ocp.StandardCheckpointHandler()
    )

  def __enter__(self) -> Checkpoints:
    return self

  def __exit__(self, *_: object) -> None:
    self._manager.close()

  @property
  def latest(self) -> int | None:
    return self._manager.latest_step()

  def save(self, step: int, state: Any) -> None:
    """A step that is there already is not written again: orbax would refuse it in silence."""
    latest = self.latest
    if latest is None or step > latest:
      saved = self._manager.save(step, args=ocp.args.StandardSave(state))
      if not saved:
        raise RuntimeError(f"orbax did not save step {step} in {self._folder}")

  def restore(self, like: Any) -> Any:
    """The latest state, placed as `like` says. One that does not fit is an error, never a fresh start."""
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
