"""Checksums of orbax checkpoints. They lie beside the folder that orbax manages, since it lists and removes what is inside.

    checkpoints/<step>/             orbax's
    checkpoints.sums/<step>.json    the sha256 of each of its files, written once the step has its final name
    checkpoints.damaged/<step>/     a step of which a file has changed since: kept to be looked at, restored by nobody

A step without sums was saved by an older release, or its process died before the sums were written.
"""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import cast

from etils import epath

from synthjax.disk import checksums, mirrored, workdir
from synthjax.disk.checksums import Fault
from synthjax.runtime.errors import UserError

_SUMS, _DAMAGED = mirrored.SUMS, ".damaged"
_POLL_SECONDS = 0.05


class Sums:
  """Of the steps in one folder. Of joined processes, one writes."""

  def __init__(self, steps: epath.Path, writes: bool):
    self._steps, self._writes = steps, writes
    self._folder = steps.with_name(steps.name + _SUMS)
    self._pool = ThreadPoolExecutor(1, thread_name_prefix="checksums")
    self._pending: list[Future] = []
    self._over = threading.Event()

  def expect(self, step: int) -> None:
    """Before a step is saved: its files are hashed as soon as it has its final name, while training goes on."""
    if self._writes:
      checksums.forget(self._file(step))  # of an earlier save of the same step
      self._pending = [f for f in self._pending if not f.done() or f.exception()]
      self._pending.append(self._pool.submit(self._record_when_whole, step))

  def close(self) -> None:
    """After the last save is finished."""
    self._over.set()
    self._pool.shutdown()
    for pending in self._pending:
      pending.result()
    if self._writes:
      self._forget_removed()

  def knows(self, step: int) -> bool:
    return self._file(step).exists()

  def fault(self, step: int) -> str:
    """What is wrong with a step, from reading every byte; "" where nothing is, or nothing is known of it."""
    folder = self._steps / str(step)
    if not self.knows(step) or not folder.is_dir():  # a death may leave the sums of what orbax has removed
      return ""
    try:
      known = checksums.read_json(self._file(step), "checksums", dict)
      with checksums.parsing(self._file(step), "checksums"):
        checksums.shaped(list(known.values()), [str])
    except UserError as e:
      return str(e)
    for name, sha in sorted(known.items()):
      if not (folder / name).is_file():
        return f"{folder / name} is missing"
      if _sha256(folder / name) != sha:
        return f"{folder / name} is damaged: its contents are not those that were written"
    return ""

  def set_aside(self, step: int) -> epath.Path:
    """Moves a damaged step to where orbax does not look; returns where it lies then."""
    aside = self._steps.with_name(self._steps.name + _DAMAGED) / str(step)
    aside.parent.mkdir(exist_ok=True)
    workdir.replace_folder(self._steps / str(step), aside)
    checksums.forget(self._file(step))
    return aside

  def _file(self, step: int) -> epath.Path:
    return self._folder / f"{step}.json"

  def _record_when_whole(self, step: int) -> None:
    """Orbax renames a step when all else is done."""
    while not (self._steps / str(step)).is_dir():
      if self._over.wait(_POLL_SECONDS) and not (self._steps / str(step)).is_dir():
        return
    folder = self._steps / str(step)
    try:
      sums = {str(file.relative_to(folder)): _sha256(file) for file in _files(folder)}
    except FileNotFoundError:
      return  # newer ones have taken its place
    self._folder.mkdir(exist_ok=True)
    checksums.replace(self._file(step), workdir.to_json(sums))
    self._forget_removed()

  def _forget_removed(self) -> None:
    """Orbax removes the oldest step after it has renamed the newest."""
    for step in _steps(self._folder):
      if not (self._steps / str(step)).exists():
        checksums.forget(self._file(step))
    checksums.uncover_missing(self._folder, "*.json")


def covers(path: epath.Path) -> bool:
  """Whether a file belongs to a step that has sums."""
  return any(
    step.name.isdigit() and (step.parent.with_name(step.parent.name + _SUMS) / f"{step.name}.json").exists()
    for step in path.parents
  )


def faults(folder: epath.Path) -> Iterator[Fault]:
  """What is wrong with the checkpoints anywhere in a product's folder, from reading every byte of them."""
  for place, folders, _ in workdir.walk(folder):
    for name in sorted(folders):
      if name.endswith(_SUMS):
        steps = place / name.removesuffix(_SUMS)
        sums = Sums(steps, writes=False)
        known = _steps(place / name)
        yield from (Fault(why, steps / str(step)) for step in known if (why := sums.fault(step)))


def _steps(folder: epath.Path) -> list[int]:
  """Those that have sums."""
  return sorted(int(epath.Path(name).stem) for name in workdir.names(folder, "*.json"))


def _files(folder: epath.Path) -> list[epath.Path]:
  return [place / name for place, _, names in workdir.walk(folder) for name in names]


def _sha256(file: epath.Path) -> str:
  with file.open("rb") as stream:
    return hashlib.file_digest(cast(io.BufferedReader, stream), "sha256").hexdigest()
