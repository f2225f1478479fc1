"""Stage benchmark: how fast generators draw, encoders read and networks learn, beside what could be reached at most.

Every figure is measured in rounds, in turn with what it is compared to, because machines are noisy and shared:
  device   the whole loop (JPEG, records, shards, syncs) against the bare loop of the same program;
  peak     the program's arithmetic against what the device could do;
  PyTorch  the bare loop against the same work there, where it is installed;
  host     the whole loop against the pace of a stand-in that hands over 512 px batches at 60 % of the rate at which
           this host encodes them: is the overlap perfect where the host is busy, but not the bottleneck?
"""

from __future__ import annotations

import datetime
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Self

from etils import epath

from synthjax.benchmark import table
from synthjax.benchmark.case import Case, Measuring, measure
from synthjax.benchmark.encoding import EncodingCase
from synthjax.benchmark.loop import Loop
from synthjax.benchmark.rounds import interleaved, ratios, spread
from synthjax.benchmark.sampling import SamplingCase
from synthjax.benchmark.stand_in import StandIn, encoding_rate, pictures
from synthjax.benchmark.training import TrainingCase
from synthjax.disk import checksums, workdir
from synthjax.products.base import MISSING, Product, Status, Study
from synthjax.runtime import devices
from synthjax.runtime.stopping import Stop
from synthjax.spec.study import BenchmarkSpec, StudySpec
from synthjax.store import records

_SIZE, _BATCH = 512, 16  # of the stand-in's images
_SHARE = 0.6  # of the host's encoding rate


class Benchmark(Product):
  """Measured anew each time it is asked for: there is nothing to resume."""

  name, stage, alone = "benchmark", "benchmark", True

  def __init__(self, config: StudySpec, root: epath.Path):
    self._config, self._folder, self._runtime = config, root / "benchmark", config.runtime

  @classmethod
  def wanted(cls, spec: StudySpec) -> Iterable[tuple[str, ...]]:
    asked = spec.benchmark
    return [()] if asked.rounds and (asked.sampling or asked.encoding or asked.training) else []

  @classmethod
  def declare(cls, study: Study, *key: str) -> Self:
    del key
    return cls(study.spec, study.root)

  def check(self) -> None:
    """Refuses what could not be measured."""
    self._cases(Stop())

  def _cases(self, stop: Stop) -> list[Case]:
    asked, loop = self._config.benchmark, Loop(self._config, self.folder, stop)
    cases: list[Case] = [SamplingCase(self._config, name, loop) for name in asked.sampling]
    cases += [EncodingCase(self._config, name) for name in asked.encoding]
    return cases + [TrainingCase(self._config, name, self.folder, stop) for name in asked.training]

  def _status(self) -> Status:
    return Status(MISSING, want=self._config.benchmark.rounds, unit="rounds")

  def make(self, stop: Stop) -> bool:
    benchmark, runtime = self._config.benchmark, self._config.runtime
    self.folder.mkdir(parents=True, exist_ok=True)
    limit = devices.memory_limit(runtime.device_memory_gb)
    how = Measuring(benchmark.rounds, benchmark.seconds, benchmark.torch, limit, stop, _tell)
    rows: list[dict[str, Any]] = []
    loops: list[dict[str, Any]] = []
    for case in self._cases(stop):
      rows.append(measure(case, how))
      if "refused" not in rows[-1]:
        loops.append(_against_device(rows[-1]))
        _tell(f"{case.name}: {table.in_short(rows[-1])}")
      self._write(rows, loops)
    if benchmark.sampling:
      loop = Loop(self._config, self.folder, stop)
      loops.append(_against_host(loop, benchmark, runtime.encode_threads, stop))
    self._write(rows, loops)
    if devices.is_main_process():
      print(table.of_cases(rows), table.of_loops(loops), sep="\n\n")
    return True

  def _write(self, rows: Sequence[dict[str, Any]], loops: Sequence[dict[str, Any]]) -> None:
    """After each case: who is stopped keeps what was measured."""
    body = {"cases": rows, "loops": loops, "where": devices.describe(), "software": records.software()}
    body |= {"date": datetime.date.today().isoformat(), "rounds": self._config.benchmark.rounds}
    checksums.replace(self.folder / "benchmark.json", workdir.to_json(body))


def _tell(sentence: str) -> None:
  if devices.is_main_process():
    print(sentence, file=sys.stderr)


def _against_device(row: dict[str, Any]) -> dict[str, Any]:
  return {
    "what": row["case"],
    "against": "the devices alone",
    "ceiling": row["device_only"],
    "reached": row["end_to_end"],
    "ratio": row["whole_over_bare"],
  }


def _against_host(loop: Loop, benchmark: BenchmarkSpec, threads: int, stop: Stop) -> dict[str, Any]:
  pixels = pictures(_BATCH, _SIZE)
  rate = encoding_rate(loop.encode, pixels, threads)
  pace = _SHARE * rate
  n = max(round(benchmark.seconds * pace / _BATCH), 2) * _BATCH
  reached: Sequence[float] = interleaved(
    {"whole": lambda: loop.whole(StandIn(pixels, pace), n)}, benchmark.rounds, stop
  )["whole"]
  return {
    "what": f"a stand-in, {_SIZE} px",
    "against": f"{_SHARE:.0%} of the host's {rate:.0f} JPEG/s",
    "ceiling": spread([pace]),
    "reached": spread(reached),
    "ratio": spread(ratios(reached, [pace] * benchmark.rounds)),
    "host_images_per_second": rate,
  }
