"""What the study asks of a product, and what all that work on one need."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Protocol

from etils import epath

from synthjax.disk import checksums
from synthjax.disk.checksums import Fault
from synthjax.learning import checkpoint_sums
from synthjax.pages.inputs import Described
from synthjax.runtime import devices
from synthjax.runtime.progress import Progress
from synthjax.runtime.stopping import Stop
from synthjax.spec.fields import RuntimeFields
from synthjax.store import shards
from synthjax.store.claims import Owner

MISSING, STALE, DONE, REFUSED = "missing", "stale", "done", "refused"


@dataclasses.dataclass(frozen=True)
class Status:
  """How far a product is. `flops` (asked for by --plan alone) and bytes beyond those on disk are still to be spent."""

  state: str
  have: int = 0
  want: int = 0
  unit: str = "images"
  shards: str = ""  # landed of planned
  bytes: float = 0.0
  flops: Callable[[], float] = float
  why: str = ""  # it is to be made again, or is refused: for --plan


class Product(Described, Protocol):
  @property
  def name(self) -> str:
    """Its folder in the workdir: prompts/LE, images/LE."""
    ...

  @property
  def stage(self) -> str:
    """prompts, sample, ..."""
    ...

  @property
  def inputs(self) -> Sequence[Product]:
    """What it is made from."""
    ...

  @property
  def folder(self) -> epath.Path:
    """Of its files. A run's is named by what it was made from, which must be there."""
    ...

  def status(self) -> Status:
    """Reads, and refuses a changed identity; makes nothing."""
    ...

  def make(self, stop: Stop) -> bool:
    """True: it is whole. False: all that is left is being made by other processes."""
    ...

  def faults(self) -> Sequence[str]:
    """For stage verify: what is wrong, from reading every byte of what is there; Faults know what to remove."""
    ...


def file_faults(folder: epath.Path) -> list[Fault]:
  """The check that all kinds of products share: every file against its checksum, shards against their facts."""
  found = []
  for path in checksums.files(folder):
    if shards.is_shard(path.name):
      if why := shards.fault(path.parent, shards.index_of(path.name)):
        found.append(shards.fault_of(path.parent, shards.index_of(path.name), why))
    elif why := checksums.fault(path):
      found.append(Fault(why, path))
  return [*found, *checkpoint_sums.faults(folder)]


def owner_of(folder: epath.Path, runtime: RuntimeFields) -> Owner:
  """This process's hold on parts of the product in `folder`."""
  return Owner(folder, heartbeat_seconds=runtime.heartbeat_seconds, stale_seconds=runtime.stale_seconds)


def progress_of(name: str, total: int, done: int, runtime: RuntimeFields, unit: str = "images") -> Progress:
  """The line of a product, told by one process."""
  return Progress(
    name,
    total,
    done,
    unit=unit,
    devices=devices.local_mesh().size,
    log_seconds=runtime.log_seconds,
    speak=devices.is_speaker(),
  )
