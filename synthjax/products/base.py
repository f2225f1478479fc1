"""A product: something that a study makes, in a folder of its own; and what the kinds of products have in common.

A kind is one file in this room and one line in study/kinds.py. The graph, the scheduler, the table of --plan and the pages
know products by this class alone.
"""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import ClassVar, Protocol, Self, TypeVar

from etils import epath

from synthjax.data.source import Source
from synthjax.disk import checksums, snapshot
from synthjax.disk.checksums import Fault
from synthjax.encoders.encoder import Encoder
from synthjax.labels.spaces import LabelSpace
from synthjax.learning import checkpoint_sums
from synthjax.pages.inputs import Described
from synthjax.runtime import absence, devices
from synthjax.runtime.errors import NotHere, UserError
from synthjax.runtime.progress import Progress
from synthjax.runtime.stopping import Stop
from synthjax.spec.fields import RuntimeFields
from synthjax.spec.study import StudySpec
from synthjax.store import claim_files, records, shards, sharing
from synthjax.store.claiming import Seen
from synthjax.store.claims import Owner
from synthjax.weights import hub

MISSING, STALE, DONE, REFUSED = "missing", "stale", "done", "refused"
P = TypeVar("P", bound="Product")


@dataclasses.dataclass(frozen=True)
class Status:
  """How far a product is. `flops` (asked for by --plan alone) and bytes beyond those on disk are still to be spent."""

  state: str
  have: int = 0
  want: int = 0
  unit: str = "images"
  shards: str = ""  # complete, of planned
  bytes: float = 0.0
  flops: Callable[[], float] = float
  seconds: Callable[[], float] = float  # left, as measured on such devices; 0 = not known
  speed: Callable[[], float] = float  # FLOP/s, likewise, of what is there
  why: str = ""  # it is made again, or is refused: for --plan
  note: Callable[[], str] = str  # what else it takes: for --plan
  memory: Callable[[], str] = str  # in a line, for --plan: what making it takes, where that is large
  is_idle: bool = False  # it is done, and so is all that it is made from: to make it would change nothing


class Study(Protocol):
  """What a product is declared from: the config, and the other products of it."""

  spec: StudySpec
  root: epath.Path
  command: str  # that makes the study again

  @property
  def labels(self) -> LabelSpace:
    """The study's classes."""
    ...

  @property
  def products(self) -> Sequence[Product]:
    """Those declared until now, each after what it is made from."""
    ...

  @property
  def studies(self) -> Mapping[str, Study]:
    """Of a matrix, by name."""
    ...

  def of(self, kind: type[P]) -> Sequence[P]:
    """All products of a kind that are declared until now."""
    ...

  def label_space(self, name: str) -> LabelSpace:
    """By the name that a field has; "" is the study's own."""
    ...

  def get(self, kind: type[P], *key: str) -> P:
    """A product, declared when it is first asked for."""
    ...

  def encoder(self, name: str) -> Encoder: ...

  def source(self, name: str) -> Source:
    """Images of `config.tests` or `config.real`, opened when they are first asked for."""
    ...


class Product(Described):
  """A subclass declares its inputs, says how far it is, and makes what is missing.

  It may be killed at any moment, and several processes may make it at once: what is there of it is whole, and what is
  missing is made by whoever has the claim on it.
  """

  stage: ClassVar[str]  # prompts, sample, ...
  alone: ClassVar[bool] = False  # whether a config that wants one makes nothing else
  uses: ClassVar[tuple[str, ...]] = ()  # of runtime/residents.py: what stays in memory beside the work on it
  name: str  # its folder below the workdir: prompts/LE, images/LE
  inputs: tuple[Product, ...] = ()  # what it is made from
  _folder: epath.Path
  _runtime: RuntimeFields

  # --- what a study asks for -----------------------------------------------------------------------

  @classmethod
  def wanted(cls, spec: StudySpec) -> Iterable[tuple[str, ...]]:
    """Keys of those that a config asks for by itself; others are there because these are made from them."""
    del spec
    return ()

  @classmethod
  def describes(cls, spec: StudySpec, *key: str) -> bool:
    """Whether a product of this key is one of this kind: image sets are drawn or imported."""
    del spec, key
    return True

  @classmethod
  @abc.abstractmethod
  def declare(cls, study: Study, *key: str) -> Self:
    """Gets its inputs from the study. Nothing is read or opened: a stage that does not need this product never will."""

  def check(self) -> None:
    """Raises UserError for what can be known to be wrong before anything is made."""

  def check_devices(self) -> None:
    """Raises UserError where it cannot be made on this process's devices, or by joined processes."""

  def reads(self) -> Iterable[tuple[str, LabelSpace]]:
    """References to images of elsewhere that it will read, each with its classes: they are opened before anything is made."""
    return ()

  # --- how far it is -------------------------------------------------------------------------------

  @property
  def folder(self) -> epath.Path:
    """Of its files. A run's is named by what it was made from, which must be there."""
    return self._folder

  def status(self) -> Status:
    """Reads, and refuses a changed identity; makes nothing."""
    return snapshot.once((self, "status", self._state()), self._status_of_here)

  def _status_of_here(self) -> Status:
    try:
      return self._status()
    except NotHere as e:
      absence.note(e)
      return self._status_without()

  def _status_without(self) -> Status:
    """What can be known of it while images or weights that it is made from are not on this machine: for --plan."""
    return Status(MISSING)

  def _state(self) -> Hashable:
    """What its status depends on beside the disk: how many images filters need of a set."""
    return tuple(product._state() for product in self.inputs)

  @abc.abstractmethod
  def _status(self) -> Status: ...

  def to_fetch(self) -> Iterable[hub.ToFetch]:
    """Weights that it reads and that are not on this machine yet. Asks nobody."""
    return ()

  @property
  def stored_side(self) -> int:
    """Pixels a side of the images that it will write; 0 = not known, or it writes none."""
    return 0

  @property
  def read_side(self) -> int:
    """Pixels a side, at most, that it needs of its inputs' images; 0 = not known."""
    return 0

  def faults(self) -> Sequence[str]:
    """For stage verify: what is wrong, from reading every byte of what is there; Faults know what to remove."""
    return file_faults(self.folder)

  # --- making it -----------------------------------------------------------------------------------

  @abc.abstractmethod
  def make(self, stop: Stop) -> bool:
    """True: it is whole. False: all that is left is being made by other processes."""

  def owner(self) -> Owner:
    """This process's hold on parts of it."""
    runtime = self._runtime
    return Owner(
      self.folder,
      heartbeat_seconds=runtime.heartbeat_seconds,
      stale_seconds=runtime.stale_seconds,
      seen=self._owners_seen,
    )

  @functools.cached_property
  def _owners_seen(self) -> Seen:
    """Who is at work on it too."""
    return Seen()

  def is_any_free(self, parts: Iterable[str]) -> bool:
    """False where all of these parts, which are missing, are held by processes that were alive a moment ago."""
    files, now = claim_files.files_of(self.folder), time.monotonic()
    return sharing.is_any_free(files, parts, self._owners_seen, self._runtime.stale_seconds, now)

  @contextlib.contextmanager
  def claimed(self, part: str, stop: Stop) -> Iterator[Owner | None]:
    """None where another process is making the part. Look again what is missing: another may just have made it."""
    with self.owner() as owner, owner.making(stop):
      yield owner if owner.take(part) else None

  def unclaimed(self, files: Iterable[epath.Path], owner: Owner, stop: Stop) -> Iterator[epath.Path]:
    """Of files that several processes share, those for this one: each must be there before the next is asked for."""
    by_name = {file.name: file for file in files}
    for name in owner.share(list(by_name)):
      stop.check()
      yield by_name[name]
      owner.release(name)

  def _needs_one_process(self) -> None:
    if devices.is_joined():
      raise UserError(
        f"--distributed on: {self.name} is trained by one process on its own devices, only learners are trained by all of them; "
        "use --distributed auto, where processes share the runs"
      )

  def progress(
    self,
    total: int,
    done: int = 0,
    *,
    doing: str = "",
    unit: str = "images",
    also: Callable[[], str] | None = None,
  ) -> Progress:
    """Its line, printed by one process."""
    return Progress(
      f"{self.name}{doing}",
      total,
      done,
      unit=unit,
      devices=devices.local_mesh().size,
      log_seconds=self._runtime.log_seconds,
      shown=devices.is_main_process(),
      also=also,
    )


def status_or_refusal(product: Product) -> Status:
  """A product of a rule since corrected is a line of the table, so that all of them are seen at once."""
  try:
    return product.status()
  except records.Corrected as e:
    return Status(REFUSED, why=str(e))


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
