"""Joined processes that do not see one workdir are refused at the start; each would wait for checkpoints of its own.

Of processes that are not joined nobody can tell: one that is not seen here may start later, may have died, or works in another
folder, and a study waits for none of them. `synthjax doctor`, which all of them run at once, tells.
"""

from __future__ import annotations

import json
import time

import jax
from etils import epath

from synthjax.disk import drafts, workdir
from synthjax.runtime import devices
from synthjax.runtime.errors import UserError
from synthjax.runtime.messages import Exchange

_SECONDS = 30.0  # in which a disk shows a file to other hosts
_ANSWER = 120.0  # and in which all have looked
_POLL = 0.05
_SHOWN = 8  # processes that are named


def check(root: epath.Path) -> None:
  """One file of process 0's, for which all look, and which is gone again. Every process must call this."""
  if not devices.is_joined():
    return
  exchange, own = Exchange(_ANSWER), jax.process_index()
  blind = _gather(root, exchange) if own == 0 else _look(root, exchange, own)
  if blind:
    shown = ", ".join(map(str, blind[:_SHOWN])) + (", ..." if len(blind) > _SHOWN else "")
    raise UserError(
      f"workdir {root}: process {shown} of {jax.process_count()} does not see what process 0 writes there; give all hosts one shared --workdir"
    )


def _gather(root: epath.Path, exchange: Exchange) -> list[int]:
  """Of process 0: the processes that do not see its file."""
  token = drafts.draft_of(root / workdir.PROBE)
  try:
    token.write_bytes(b"")
  except OSError:
    exchange.tell("file", "")  # the others wait for an answer, whatever it is
    raise
  try:
    exchange.tell("file", token.name)
    blind = [i for i in range(1, jax.process_count()) if exchange.ask(f"process {i}") != "seen"]
    exchange.tell("result", json.dumps(blind))
  finally:
    workdir.remove(token)
  return blind


def _look(root: epath.Path, exchange: Exchange, own: int) -> list[int]:
  name = exchange.ask("file")
  if not name:
    raise UserError(f"workdir {root} cannot be written by process 0; give another --workdir")
  until = time.monotonic() + _SECONDS
  while not (sees := name in workdir.names(root)) and time.monotonic() < until:
    time.sleep(_POLL)
  exchange.tell(f"process {own}", "seen" if sees else "not seen")
  return json.loads(exchange.ask("result"))
