"""What arms and learners have in common: something trained and tested with several seeds, as `runs/<hash>`.

    run.json       what the run was made from: the hash of its identity names the folder
    seed-0/        what was learnt
    tests/         a file of results for each test, metric and seed
    rows.jsonl     its rows of results, written last: a run that lacks it is made again as far as needed

The hash covers all that decides the result. So a run is never stale: where its images have grown, it is another run.
"""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath

from synthjax.data.source import Source
from synthjax.disk import checksums, workdir
from synthjax.disk.checksums import Fault
from synthjax.evaluation import results
from synthjax.evaluation.accuracy import Tally
from synthjax.evaluation.rows import TOP1, Row
from synthjax.labels.spaces import LabelSpace
from synthjax.learning import coordination
from synthjax.products.base import DONE, MISSING, STALE, Product, Status, file_faults
from synthjax.products.selection import Selection
from synthjax.runtime.stopping import Stop
from synthjax.spec.study import StudySpec
from synthjax.store import records

RUN, ROWS = "run.json", "rows.jsonl"
_HASH = 12  # characters of an identity's hash that name a folder


def folder_of(root: epath.Path, identity: Mapping[str, Any]) -> epath.Path:
  return root / "runs" / records.digest(identity)[:_HASH]


@dataclasses.dataclass(frozen=True)
class Result:
  """What one seed's answers to a test were; `stem` is the file without its ending."""

  test: str
  metric: str
  seed: int
  stem: epath.Path


class Run(Product):
  counts_weights = False  # whether a seed's weights count as one more of the results that `status` counts

  def __init__(
    self,
    config: StudySpec,
    root: epath.Path,
    name: str,
    labels: LabelSpace,
    tests: Mapping[str, Source],
    inputs: Sequence[Product | None],
    shots: int,
    seeds: int,
  ):
    self.arm, self.name, self.labels = name, f"runs/{name}", labels
    self._config, self._study, self._root, self._runtime = config, config.study, root, config.runtime
    self.tests, self.shots, self.seeds = tests, shots, seeds  # shots: real images a class
    self.inputs = tuple(product for product in inputs if product)
    self._selection: Selection | None = None  # of synthetic images

  # --- what is wanted ----------------------------------------------------------------------------

  @property
  @abc.abstractmethod
  def identity(self) -> dict[str, Any]:
    """All that decides what is learnt. Reads the inputs, which must be there."""

  @property
  def folder(self) -> epath.Path:
    return folder_of(self._root, self.identity)

  @property
  @abc.abstractmethod
  def _asked(self) -> Sequence[tuple[str, str]]:
    """(test, metric) of a seed's results."""

  @abc.abstractmethod
  def _files(self) -> tuple[epath.Path, list[Result]]:
    """The folder, and all results in the order of their rows. Reads the inputs."""

  @abc.abstractmethod
  def _is_learnt_in(self, folder: epath.Path, seed: int) -> bool: ...

  @abc.abstractmethod
  def _count(self, test: str) -> int:
    """Examples that a result of the test counts."""

  @property
  @abc.abstractmethod
  def _made_from(self) -> dict[str, Any]:
    """What run.json says."""

  # --- for pages ---------------------------------------------------------------------------------

  @property
  def synthetic_images(self) -> int:
    return len(self._selection.now().places) if self._selection else 0

  @property
  @abc.abstractmethod
  def real_images(self) -> int: ...

  @property
  def images(self) -> int:
    """Learnt from, synthetic and real."""
    return self.synthetic_images + self.real_images

  @property
  def per_class(self) -> int:
    """Images a class that are learnt from; the mean where a filter leaves classes unequal."""
    return round(self.images / len(self.labels))

  # --- what is there -----------------------------------------------------------------------------

  def _is_ready(self) -> bool:
    """The list before what it was chosen from: a list that is whole says that its images are all there."""
    return all(product.status().state == DONE for product in reversed(self.inputs))

  def _status(self) -> Status:
    if not self._is_ready():
      return dataclasses.replace(self._status_without(), why=self._why(is_ready=False))
    want = self._want
    folder, files = self._files()
    learnt = sum(self._is_learnt_in(folder, seed) for seed in range(self.seeds))
    have = sum(results.file_of(x.stem) is not None for x in files) + self.counts_weights * learnt
    is_described = (folder / RUN).exists() and (folder / ROWS).exists()
    if have == want and learnt == self.seeds and is_described:
      return Status(DONE, have, want, "results", is_idle=True)
    state, seconds = STALE if have else MISSING, functools.partial(self._seconds, self.seeds - learnt)
    return Status(state, have, want, "results", seconds=seconds, why=self._why(is_ready=True))

  def _status_without(self) -> Status:
    return Status(MISSING, 0, self._want, "results", seconds=functools.partial(self._seconds, self.seeds))

  @property
  def _want(self) -> int:
    return self.seeds * (len(self._asked) + self.counts_weights)

  def _seconds(self, seeds: int) -> float:
    """To learn so many, as measured on devices like these; 0 = not known."""
    del seeds
    return 0.0

  @abc.abstractmethod
  def _why(self, is_ready: bool) -> str:
    """Why a result of an older release is not this one's, for --plan; "" where there is none. Not ready: inputs are missing."""

  def tallies(self, test: str) -> list[Tally]:
    """One a seed; empty until all are there."""
    if test not in self.tests or self.status().state != DONE:
      return []
    return self._read([x for x in self._files()[1] if (x.test, x.metric) == (test, TOP1)])

  def _read(self, files: Sequence[Result]) -> list[Tally]:
    counts = {test: self._count(test) for test in {x.test for x in files}}
    return [results.read(x.stem, counts[x.test]) for x in files]

  def rows(self) -> list[Row]:
    """What results.jsonl says of this run; empty until all is there."""
    return self._rows() if self.status().state == DONE else []

  def _rows(self) -> list[Row]:
    _, files = self._files()
    return [row for x, tally in zip(files, self._read(files), strict=True) for row in self._rows_of(x, tally)]

  @abc.abstractmethod
  def _rows_of(self, result: Result, tally: Tally) -> list[Row]: ...

  def faults(self) -> list[Fault]:
    """Of all files, and of each result with the number of examples that it counts."""
    folder, files = self._files()
    found = file_faults(folder)
    known = {path for fault in found for path in fault.files}
    counted = ((x.stem, self._count(x.test)) for x in files)
    found += [why for stem, n in counted if (why := results.fault(stem, n)) and not known & set(why.files)]
    return [Fault(fault, *self._to_remove(folder, fault.files)) for fault in found]

  def _to_remove(self, folder: epath.Path, damaged: Sequence[epath.Path]) -> list[epath.Path]:
    """The rows too, so that the run is looked at again."""
    return [*damaged, folder / ROWS]

  # --- making it ---------------------------------------------------------------------------------

  def make(self, stop: Stop) -> bool:
    if not self._inputs_are_made(stop) or not self._is_ready():
      return False
    if coordination.broadcast(int(self.status().state == DONE)):
      return True
    with self._selection.held() if self._selection else contextlib.nullcontext():
      folder = self.folder
      folder.mkdir(parents=True, exist_ok=True)
      checksums.publish(folder / RUN, workdir.to_json(self._made_from))
      return self._work(stop)

  def _inputs_are_made(self, stop: Stop) -> bool:
    """False: others are making them."""
    del stop
    return True

  @abc.abstractmethod
  def _work(self, stop: Stop) -> bool:
    """Learns and tests what is missing, by claims, and finishes. False: others are at the rest."""

  def _finish(self) -> None:
    checksums.replace(self.folder / ROWS, records.to_lines(self._rows()))
