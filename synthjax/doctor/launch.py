"""All processes of a launch: whether they see one folder, whether one alone wins a name there, how fast they reduce.

They meet by files, within a folder of process 0's that has a name of its own kind. Process 0 shows which launch it is of; each of
the others answers there with a number of its own; what process 0 has read of them it writes down, and they look for themselves.
So neither side takes what an earlier launch left for an answer, and none waits longer than a limit.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
import uuid
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jax.sharding import Mesh

from synthjax.disk import drafts, workdir
from synthjax.doctor.finding import Finding, span
from synthjax.doctor.second import NAMES
from synthjax.runtime import devices
from synthjax.runtime.devices import Launched

_POLL = 0.02
_LAUNCH, _MET = "launch", "met"
_REDUCED = 64 * 2**20  # bytes
# What tells one launch on a cluster from the next, where the launcher says it.
_NAMES = ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT", "PMIX_NAMESPACE", "JAX_COORDINATOR_ADDRESS")


def launch_id(count: int) -> str:
  return json.dumps([count, *(os.environ.get(name, "") for name in _NAMES)])


Met = tuple[Finding, epath.Path | None]  # and where they have met


def same_folder(root: epath.Path, own: epath.Path, launched: Launched, limit: float) -> Met:
  """`own`: process 0's folder below the root, where the others answer; nobody else's is used."""
  if launched.index == 0:
    return _gather(own, launched, limit)
  return _answer(root, launched, limit)


def _gather(place: epath.Path, launched: Launched, limit: float) -> Met:
  began = time.monotonic()
  workdir.publish_bytes(place / _LAUNCH, launch_id(launched.count).encode())
  others: dict[int, str] = {}

  def all_here() -> bool:
    for name in workdir.names(place, "*.answer"):
      others[int(name.split(".")[0])] = name
    return len(others) == launched.count - 1

  if not _wait(all_here, limit):
    missing = sorted({*range(1, launched.count)} - {*others})
    return _unseen(f"process {_list(missing)} of {launched.count}", place.parent, limit), None
  took = time.monotonic() - began
  written = time.monotonic()
  workdir.publish_bytes(place / _MET, json.dumps(sorted(others.values())).encode())
  left = _wait(lambda: not workdir.names(place, "*.answer"), limit)
  if not left:
    late = [int(name.split(".")[0]) for name in workdir.names(place, "*.answer")]
    return _unseen(f"process {_list(sorted(late))} of {launched.count}", place.parent, limit), None
  seen = time.monotonic() - written
  figure = f"{launched.count} processes see this folder (all were here after {span(took)}; a file is seen after {span(seen)})"
  return Finding("launch", figure), place


def _answer(root: epath.Path, launched: Launched, limit: float) -> Met:
  own = f"{launched.index}.{uuid.uuid4().hex}.answer"
  answered: set[epath.Path] = set()
  found: list[epath.Path] = []
  try:

    def is_named() -> bool:
      for place in drafts.drafts(root, workdir.PROBE, among=workdir.names(root)):
        if place not in answered and _text(place / _LAUNCH) == launch_id(launched.count):
          with contextlib.suppress(FileNotFoundError):  # it has left
            workdir.create_exclusive(place / own, socket.gethostname())
            answered.add(place)
        if own in (_text(place / _MET) or ""):
          found.append(place)
      return bool(found)

    if not _wait(is_named, limit):
      return _unseen(f"process 0 of {launched.count}", root, limit), None
  finally:
    for place in answered:
      workdir.remove(place / own)
  return Finding("launch", "process 0 sees this folder"), found[0]


def _unseen(who: str, folder: epath.Path, limit: float) -> Finding:
  fix = "give all hosts one shared --workdir, and start all processes at once (--wait raises the seconds)"
  figure = f"process {devices.launched().index} on {socket.gethostname()} has not met {who} in {folder} within {limit:g} s"
  return Finding("launch", figure, fix, essential=True)


def _list(numbers: list[int]) -> str:
  shown = ", ".join(map(str, numbers[:8]))
  return f"{shown} and {len(numbers) - 8} more" if len(numbers) > 8 else shown


def exclusive_creation(place: epath.Path, launched: Launched, limit: float) -> Finding | None:
  """All processes of the launch at once, where they have met; None of those that only take part."""
  won = []
  for number in range(NAMES):
    if workdir.create_exclusive(place / f"all-{number}", ""):
      won.append(number)
  workdir.publish_bytes(place / f"{launched.index}.won", json.dumps(won).encode())
  if launched.index:
    return None
  name = "exclusive"
  if not _wait(lambda: len(workdir.names(place, "*.won")) == launched.count, limit):
    return _unseen("the results of all", place.parent, limit)
  winners = [
    number for file in workdir.names(place, "*.won") for number in json.loads(_text(place / file) or "[]")
  ]
  if sorted(winners) != list(range(NAMES)):
    wrong = f"of {NAMES} names that {launched.count} processes created, {len(winners)} were won"
    fix = "hosts cannot share this folder: use a file system that honours O_EXCL between hosts (NFS from version 3 on, Lustre)"
    return Finding(name, wrong, fix, essential=True)
  return Finding(name, f"{NAMES} names, {launched.count} processes of the launch: one winner each")


def all_reduce() -> Finding:
  """Bytes a second of the joined processes' sums, as a ring of n would move them: 2 (n - 1) / n of the array."""
  every = np.array(jax.devices())
  mesh = Mesh(every, ("data",), axis_types=(jax.sharding.AxisType.Auto,))
  side = _REDUCED // 4
  x = jax.make_array_from_callback(
    (mesh.size, side), devices.place(mesh, devices.BATCH), lambda _: np.ones((1, side), np.float32)
  )
  total = jax.jit(lambda x: jnp.sum(x, 0), out_shardings=devices.place(mesh, devices.REPLICATED))
  right = float(total(x).addressable_data(0)[0]) == mesh.size  # compiles
  times = []
  for _ in range(3):
    began = time.monotonic()
    total(x).block_until_ready()
    times.append(time.monotonic() - began)
  rate = 2 * (mesh.size - 1) / mesh.size * _REDUCED / min(times)
  figure = f"{mesh.size} devices of {jax.process_count()} processes sum {_REDUCED >> 20} MB in {span(min(times))}, {rate / 1e9:.3g} GB/s"
  if not right:
    return Finding("all-reduce", f"{figure}, and the sum is wrong", "replace the network or the driver", True)
  return Finding("all-reduce", figure)


def _text(file: epath.Path) -> str | None:
  try:
    return file.read_text()
  except OSError:  # not there, or gone meanwhile
    return None


def _wait(holds: Callable[[], bool], limit: float) -> bool:
  until = time.monotonic() + limit
  while not holds():
    if time.monotonic() > until:
      return False
    time.sleep(_POLL)
  return True
