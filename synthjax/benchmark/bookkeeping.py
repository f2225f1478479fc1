"""Stage benchmark, `config.benchmark.bookkeeping`: what it costs to keep account of so many images, and how that grows."""

from __future__ import annotations

import datetime
import statistics
import sys
import tempfile
from collections.abc import Iterable, Mapping
from typing import Self

from etils import epath

from synthjax.benchmark import growth, table
from synthjax.disk import checksums, workdir
from synthjax.products.base import MISSING, Product, Status, Study
from synthjax.runtime import devices
from synthjax.runtime.progress import readable
from synthjax.runtime.stopping import Stop
from synthjax.spec.study import StudySpec
from synthjax.store import records

Costs = Mapping[int, float]  # of each number of images


class Bookkeeping(Product):
  """Measured anew each time it is asked for."""

  name, stage, alone = "bookkeeping", "benchmark", True

  def __init__(self, config: StudySpec, root: epath.Path):
    self._asked, self._folder, self._runtime = config.benchmark, root / "benchmark", config.runtime

  @classmethod
  def wanted(cls, spec: StudySpec) -> Iterable[tuple[str, ...]]:
    return [()] if spec.benchmark.rounds and spec.benchmark.bookkeeping else []

  @classmethod
  def declare(cls, study: Study, *key: str) -> Self:
    del key
    return cls(study.spec, study.root)

  def _status(self) -> Status:
    return Status(MISSING, want=self._asked.rounds, unit="rounds")

  def make(self, stop: Stop) -> bool:
    self.folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, dict[int, list[float]]] = {part.name: {} for part in growth.PARTS}
    for _ in range(self._asked.rounds):
      for part in growth.PARTS:
        for n in self._asked.bookkeeping:
          stop.check()
          found[part.name].setdefault(n, []).append(self._cost(part, n))
    medians = {name: {n: statistics.median(costs) for n, costs in of.items()} for name, of in found.items()}
    self._write(medians)
    if devices.is_main_process():
      print(_table(medians))
    return True

  def _cost(self, part: growth.Part, n: int) -> float:
    with tempfile.TemporaryDirectory(dir=self.folder, prefix=".") as folder:
      cost = part.cost(n, epath.Path(folder))
    if devices.is_main_process():
      print(f"{part.name}, {n:,} images: {readable(cost)} {part.unit}", file=sys.stderr)
    return cost

  def _write(self, medians: Mapping[str, Costs]) -> None:
    parts = [
      {
        "part": part.name,
        "unit": part.unit,
        "costs": medians[part.name],
        "exponent": growth.exponent(medians[part.name]),
        f"at_{growth.MANY}": growth.extrapolated(medians[part.name]),
      }
      for part in growth.PARTS
    ]
    body = {"parts": parts, "rounds": self._asked.rounds, "software": records.software()}
    body["date"] = datetime.date.today().isoformat()
    checksums.replace(self.folder / "bookkeeping.json", workdir.to_json(body))


def _table(medians: Mapping[str, Costs]) -> str:
  sizes = sorted(next(iter(medians.values())))
  rows = [("bookkeeping", *(f"{n:,}" for n in sizes), "unit", "exponent", f"at {growth.MANY:,}")]
  for part in growth.PARTS:
    costs = medians[part.name]
    shown = (readable(costs[n]) for n in sizes)
    rows.append(
      (
        part.name,
        *shown,
        part.unit,
        f"{growth.exponent(costs):.2f}",
        readable(growth.extrapolated(costs)),
      )
    )
  return "\n".join(table.aligned(rows))
