"""Joined processes that do not see one workdir are refused at the start; each would train towards a checkpoint of its own.

Of processes that are not joined nobody can tell: one that is not seen here may start later, may have died, or works in another
folder, and a study waits for none of them. `synthjax doctor`, which all of them run at once, tells.
"""

from __future__ import annotations

import time

import jax
from etils import epath

from synthjax.disk import workdir
from synthjax.learning import coordination
from synthjax.runtime import devices
from synthjax.runtime.errors import UserError

_SECONDS = 30.0  # in which a disk shows a file to other hosts
_POLL = 0.05
_NOTHING = bytes(16)  # where process 0 could not write
_SHOWN = 8  # processes that are named


def check(root: epath.Path) -> None:
  """One file of process 0's, for which all look, and which is gone again. Every process must call this."""
  if not devices.is_joined():
    return
  token, fault = None, None
  if devices.is_main_process():
    try:
      token = workdir.draft_of(root / workdir.PROBE)
      token.write_bytes(b"")
    except OSError as e:  # the others are waiting for an answer, whatever it is
      token, fault = None, e
  tag = coordination.broadcast_bytes(_tag_of(token) if token else _NOTHING)
  try:
    blind = _blind(root, tag)
  finally:
    if token:
      workdir.remove(token)
  if fault:
    raise fault
  if tag == _NOTHING:
    raise UserError(f"workdir {root} cannot be written by process 0; give another --workdir")
  if blind:
    shown = ", ".join(map(str, blind[:_SHOWN])) + (", ..." if len(blind) > _SHOWN else "")
    raise UserError(
      f"workdir {root}: process {shown} of {jax.process_count()} does not see what process 0 writes there; give all hosts one shared --workdir"
    )


def _blind(root: epath.Path, tag: bytes) -> list[int]:
  """The processes that do not see the file, the same list in all."""
  if tag == _NOTHING:
    return []
  name = f".{workdir.PROBE}.{tag.hex()}"  # as workdir names drafts
  until = time.monotonic() + _SECONDS
  while not (sees := name in workdir.names(root)) and time.monotonic() < until:
    time.sleep(_POLL)
  return [index for index, seen in enumerate(coordination.of_all(sees)) if not seen]


def _tag_of(token: epath.Path) -> bytes:
  return bytes.fromhex(token.name.rsplit(".", 1)[1])
