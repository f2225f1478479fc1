"""Stage verify, on request: reads every byte of every product of a study, and changes nothing.

Each file is held against its checksum, shards against their facts and the plan, features against the plan's ids, results
against their own bits. A file that has no checksum was written by an older release, or by a run that was killed: it is
counted, and not called damaged.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Sequence

from etils import epath

from synthjax.disk import checksums
from synthjax.disk.checksums import Fault
from synthjax.learning import checkpoint_sums
from synthjax.products.base import Product, file_faults
from synthjax.runtime.errors import UserError
from synthjax.runtime.progress import duration
from synthjax.store import records, shards
from synthjax.weights import hub


@dataclasses.dataclass(frozen=True)
class Files:
  """What lies there."""

  n: int = 0
  bytes: int = 0
  without: int = 0  # checksum
  shards: int = 0

  @staticmethod
  def of(folder: epath.Path) -> Files:
    found = [path for path in checksums.files(folder) if path.exists()]
    return Files(
      len(found),
      sum(path.stat().length for path in found),
      sum(not _is_covered(path) for path in found),
      sum(shards.is_shard(path.name) for path in found),
    )

  def __add__(self, other: Files) -> Files:
    own, others = dataclasses.astuple(self), dataclasses.astuple(other)
    return Files(*(a + b for a, b in zip(own, others, strict=True)))

  def __str__(self) -> str:
    without = f", {self.without:,} without a checksum" if self.without else ""
    return f"{self.n:,} files, {_megabytes(self.bytes)} read{without}"


def verify(titled: Sequence[tuple[str, Product]], roots: Iterable[epath.Path]) -> None:
  """A line a product, and one a fault; ends with the commands that let what is damaged be made again."""
  began, total, faults = time.monotonic(), Files(), list[str]()
  for name, product in titled:
    found, own = _look(name, product)
    faults, total = faults + found, total + own
  for root in roots:
    if (pins := root / hub.RECORDS).exists():
      found, own = file_faults(pins), Files.of(pins)
      _tell(str(pins), own, found)
      faults, total = [*faults, *found], total + own
  print(f"verify: {total} in {duration(time.monotonic() - began)}; {len(faults) or 'nothing'} wrong")
  if not total.n:
    raise UserError("there is nothing to verify; run the study first")
  if faults:
    raise UserError(_redo(faults))


def _look(name: str, product: Product) -> tuple[list[str], Files]:
  try:
    folder = product.folder
  except (UserError, OSError) as e:
    print(f"{name}: cannot be read without what it is made from: {_one_line(e)}")
    return [], Files()
  files = Files.of(folder)
  if not files.n:
    print(f"{name}: missing")
    return [], files
  found: list[str] = []
  try:
    found += product.faults()
  except records.Corrected as e:
    print(f"{name}: refused: {e}")
    found += file_faults(folder)
  except (UserError, OSError) as e:  # it cannot even be opened
    found += file_faults(folder) or [_one_line(e)]
  _tell(name, files, found)
  return found, files


def _tell(name: str, files: Files, faults: Sequence[str]) -> None:
  for fault in faults:
    print(f"{name} {fault}")
  right = "every file is as written" if not files.without else "no damage found"
  right = "every shard is as planned" if files.shards else right
  print(f"{name}: {f'{len(faults)} wrong' if faults else right}; {files}")


def _redo(faults: Sequence[str]) -> str:
  known = [fault for fault in faults if isinstance(fault, Fault) and fault.files]
  commands = "; ".join(dict.fromkeys(fault.command for fault in known))
  if len(known) < len(faults):
    first = next(fault for fault in faults if fault not in known)
    return f"{len(faults)} wrong, first of those that you must fix yourself: {first}" + (
      commands and f"; {commands}"
    )
  what = "shards" if all(shards.is_shard(fault.files[0].name) for fault in known) else "files"
  return f"{len(known)} {what} to redo; run this and then the study again: {commands}"


def _is_covered(path: epath.Path) -> bool:
  if shards.is_shard(path.name):
    return shards.facts_file(path.parent, shards.index_of(path.name)).exists()
  return checksums.is_covered(path) or checkpoint_sums.covers(path)


def _megabytes(n: int) -> str:
  return f"{n / 1e6:,.1f} MB" if n < 1e9 else f"{n / 1e9:,.1f} GB"


def _one_line(error: Exception) -> str:
  return " ".join(str(error).split())
