"""How fast the work of a study was on devices like these: what --plan makes hours of.

What was measured on devices of another kind, or on another number of them, says nothing here. Nothing of this decides what is
made, so a file that cannot be read is passed over.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import jax
from etils import epath

from synthjax.disk import checksums, snapshot, workdir
from synthjax.learning.loop import TIMING
from synthjax.runtime import devices, peaks
from synthjax.runtime.errors import UserError
from synthjax.spec.fields import Learning

_SESSION = {"images": int, "seconds": float, "device": str, "local_devices": int}
_TIMING = {"examples": int, "examples_per_second_per_device": float, "device": str}
# What decides a learner's rate; and what does where its task has such a field.
_PROGRAM = ("task", "model", "size", "batch", "dtype", "remat", "accumulate", "freeze")
_OF_TASKS = ("norm",)


def of_sessions(folder: epath.Path) -> float:
  """Images a second, over all that was drawn on devices like these; 0 = nothing was."""
  here = devices.describe()
  found = (_read(folder / name, _SESSION) for name in workdir.names(folder, "*.json"))
  alike = [s for s in found if s and all(s[key] == here[key] for key in ("device", "local_devices"))]
  seconds = sum(s["seconds"] for s in alike)
  return sum(s["images"] for s in alike) / seconds if seconds else 0.0


def of_training(*folders: epath.Path) -> float:
  """Examples a second of all devices here, as the training in these folders last went; 0 = none did."""
  return _mean(_examples_a_second(folder / TIMING) for folder in folders)


def of_learners(root: epath.Path, fields: Learning) -> float:
  """Likewise, of all learners of a workdir that run the same program."""
  program = _program(fields.to_dict())
  runs = snapshot.once((root, "rates of learners"), lambda: list(_learners(root / "runs")))
  return _mean(rate for own, rate in runs if own == program)


def peak() -> float:
  """FLOP/s of all devices here, as published for 16 bits; 0 = not known."""
  local = jax.local_devices()
  return len(local) * (peaks.published(local[0].device_kind) or 0.0) * 1e12


def _program(fields: Mapping[str, Any]) -> dict[str, Any]:
  own = {key: fields.get(key) for key in (*_PROGRAM, *_OF_TASKS)}
  return own | {"side_by_side": fields.get("side_by_side", 1)}


def _learners(runs: epath.Path) -> Iterable[tuple[dict[str, Any], float]]:
  for name in workdir.names(runs, "*"):
    about = _read(runs / name / "run.json", {"fields": dict.fromkeys(_PROGRAM, object)})
    if about and (
      rate := of_training(*((runs / name / seed) for seed in workdir.names(runs / name, "seed-*")))
    ):
      yield _program(about["fields"]), rate


def _examples_a_second(file: epath.Path) -> float:
  timing = _read(file, _TIMING)
  if not timing or timing["device"] != devices.describe()["device"] or not timing["examples"]:
    return 0.0
  return timing["examples_per_second_per_device"] * jax.local_device_count()


def _mean(rates: Iterable[float]) -> float:
  known = [rate for rate in rates if rate]
  return sum(known) / len(known) if known else 0.0


def _read(file: epath.Path, shape: Mapping[str, Any]) -> dict[str, Any] | None:
  try:
    return checksums.read_json(file, "rate", dict(shape)) if file.exists() else None
  except UserError:
    return None
