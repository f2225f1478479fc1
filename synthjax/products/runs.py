"""The files that arms and learners have in common, in `runs/<hash>`.

run.json       what the run was made from
rows.jsonl     its rows of results, written last: a run that lacks it is looked at again
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from etils import epath

from synthjax.disk import checksums, workdir
from synthjax.disk.checksums import Fault
from synthjax.evaluation import results
from synthjax.products.product import file_faults
from synthjax.store import records

RUN, ROWS = "run.json", "rows.jsonl"
GROUPS = "groups"  # of an arm: which seeds were learnt side by side


def begin(folder: epath.Path, run: dict[str, Any]) -> None:
  folder.mkdir(parents=True, exist_ok=True)
  checksums.publish(folder / RUN, workdir.to_json(run))


def finish(folder: epath.Path, rows: Iterable[dict[str, Any]]) -> None:
  checksums.replace(folder / ROWS, records.to_lines(rows))


def is_described(folder: epath.Path) -> bool:
  return (folder / RUN).exists() and (folder / ROWS).exists()


def faults(folder: epath.Path, counted: Iterable[tuple[epath.Path, int]]) -> list[Fault]:
  """Of all files, and of each result with the number of examples that it counts."""
  found = file_faults(folder)
  known = {path for fault in found for path in fault.files}
  found += [why for stem, n in counted if (why := results.fault(stem, n)) and not known & set(why.files)]
  return [Fault(fault, *_to_remove(folder, fault.files)) for fault in found]


def _to_remove(folder: epath.Path, damaged: Sequence[epath.Path]) -> list[epath.Path]:
  """The rows too, so that the run is looked at again. Groups are counted by their files: without one all is learnt anew."""
  return [folder] if any(file.parent.name == GROUPS for file in damaged) else [*damaged, folder / ROWS]
