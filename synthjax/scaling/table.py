"""Rows of a file to curves: a CSV, or JSON lines such as a study's results.jsonl.

A measure is a column, or in long files, which have columns `metric` and `value`, the rows of that metric. Accuracies in percent
(`top1`) are fitted as the error 1 - top1 / 100, for what falls to 0 or to a floor by a power of the size is the error.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from synthjax.disk import documents
from synthjax.runtime.errors import UserError, nearest
from synthjax.scaling.points import Points, points

Cell = str | float | int | bool | None
Row = Mapping[str, Cell]
ERROR, ACCURACY = "error", "top1"
_ONE_SEED = "one"
_ALL = "all rows"


@dataclasses.dataclass(frozen=True)
class Columns:
  """What names what. `by` and `seed` may be missing from the file where they are the defaults."""

  x: str = "images_per_class"
  y: str = "loss"
  by: tuple[str, ...] = ("arm",)
  seed: str = "seed"
  n: str = ""  # the size of the network, of law joint
  where: tuple[tuple[str, str], ...] = ()  # only rows with these values


@dataclasses.dataclass(frozen=True)
class Table:
  """The curves of a file, by name, and what was done to come by them."""

  curves: list[Points]
  measure: str  # what is fitted
  notes: list[str]


def read(file: Path) -> list[Row]:
  """Each with its line's number as `#`."""
  subject = f"table {file}"
  if file.suffix == ".csv":
    return _read_csv(file, subject)
  if file.suffix not in (".jsonl", ".json"):
    raise UserError(f"{subject} is neither .csv nor .jsonl; name a file of one of these kinds")
  rows: list[Row] = []
  for number, row in documents.read_lines(file, subject):
    if not isinstance(row, dict):
      raise UserError(
        f'{subject} line {number} is no object; write one as {{"images": 10, "loss": 0.7}} on each line'
      )
    rows.append({"#": number, **row})
  return rows


def _read_csv(file: Path, subject: str) -> list[Row]:
  reader = csv.reader(io.StringIO(documents.read_text(file, subject)), skipinitialspace=True)
  rows: list[Row] = []
  try:
    names = next(reader, [])
    for cells in reader:
      if not any(cells):
        continue
      if len(cells) != len(names):
        raise UserError(
          f"{subject} line {reader.line_num} has {len(cells)} cells and the first line {len(names)}; write as many"
        )
      rows.append({"#": reader.line_num, **dict(zip((n.strip() for n in names), cells, strict=True))})
  except csv.Error as e:
    raise UserError(f"{subject} line {reader.line_num} is not readable CSV ({e})") from None
  return rows


def curves(rows: Sequence[Row], columns: Columns, file: str) -> Table:
  if not rows:
    raise UserError(f"table {file} has no rows; a curve needs one for each size and seed")
  known = list(dict.fromkeys(name for row in rows for name in row if name != "#"))
  default = Columns()
  named = [
    columns.x,
    *columns.by,
    columns.seed,
    *filter(None, [columns.n]),
    *(name for name, _ in columns.where),
  ]
  optional = {
    *(default.by if columns.by == default.by else ()),
    *([default.seed] if columns.seed == default.seed else []),
  }
  for name in named:
    if name not in known and name not in optional:
      raise UserError(f"table {file} has no column {name!r}{_instead(name, known)}")
  rows = [row for row in rows if all(str(row.get(name)) == value for name, value in columns.where)]
  if not rows:
    raise UserError(
      f"table {file}: no row has {' and '.join(f'{n}={v}' for n, v in columns.where)}; see what values the column has"
    )
  rows, column, measure = _measured(rows, columns.y, known, file)
  sized = [row for row in rows if not _is_empty(row.get(columns.x)) and not _is_empty(row.get(column))]
  notes = (
    [f"{len(rows) - len(sized)} rows without {columns.x} or {columns.y} were left out"]
    if len(sized) < len(rows)
    else []
  )
  groups: dict[str, list[Row]] = {}
  for row in sized:
    name = ", ".join(f"{by}={row.get(by)}" for by in columns.by if by in known) or _ALL
    groups.setdefault(name, []).append(row)
  if not groups:
    raise UserError(
      f"table {file}: no row has both {columns.x} and {columns.y}; name other columns (--x, --y)"
    )
  # One order for all curves: a seed of two curves is the same seed.
  order = {
    seed: i for i, seed in enumerate(dict.fromkeys(str(row.get(columns.seed, _ONE_SEED)) for row in sized))
  }
  found = []
  for name, group in groups.items():
    sizes = np.array([[_number(row, c, file) for c in filter(None, (columns.x, columns.n))] for row in group])
    if (sizes[:, 0] == 0).all():
      notes.append(f"{name} was left out: all its rows have {columns.x} 0")
      continue
    values = np.array([_number(row, column, file) for row in group])
    if measure != columns.y:
      values = _errors(values, group, file)
    seeds = [str(row.get(columns.seed, _ONE_SEED)) for row in group]
    found.append(_points(name, sizes, values, [order[seed] for seed in seeds], file))
  return Table(found, measure, notes)


def _points(name: str, sizes: np.ndarray, values: np.ndarray, seeds: Sequence[int], file: str) -> Points:
  try:
    return points(name, sizes, values, seeds)
  except UserError as e:
    raise UserError(f"table {file}: {e}") from None


def _measured(rows: Sequence[Row], y: str, known: Sequence[str], file: str) -> tuple[list[Row], str, str]:
  """(the rows that hold the measure, the column of its values, what is fitted)."""
  metrics = {str(row["metric"]) for row in rows if "metric" in row} if "value" in known else set()
  for name in (y, ACCURACY) if y == ERROR else (y,):
    measure = f"error (1 - {name} / 100)" if name == ACCURACY else name
    if name in known:
      return list(rows), name, measure
    if name in metrics:
      return [row for row in rows if str(row.get("metric")) == name], "value", measure
  there = sorted(metrics) or [name for name in known if name not in ("metric", "value")]
  raise UserError(f"table {file} has no {'metric' if metrics else 'column'} {y!r}{_instead(y, there)}")


def _instead(name: str, known: Sequence[str]) -> str:
  return nearest(name, known) or f" (it has {', '.join(known)[:200]})"


def _errors(values: np.ndarray, group: Sequence[Row], file: str) -> np.ndarray:
  bad = np.flatnonzero((values < 0) | (values > 100))
  if len(bad):
    raise UserError(
      f"table {file} line {group[bad[0]]['#']}: an accuracy is {values[bad[0]]:g}, and {ACCURACY} is in percent"
    )
  if len(values) > 1 and values.max() <= 1:
    raise UserError(
      f"table {file}: no {ACCURACY} is above 1, and it is in percent; write percent, or a column of errors (--y {ERROR})"
    )
  return 1 - values / 100


def _is_empty(cell: Cell) -> bool:
  return cell is None or (isinstance(cell, str) and not cell.strip())


def _number(row: Row, column: str, file: str) -> float:
  cell = row.get(column)
  try:
    value = math.nan if cell is None or isinstance(cell, bool) else float(cell)
  except (ValueError, TypeError):
    value = math.nan
  if not math.isfinite(value):
    raise UserError(
      f"table {file} line {row['#']}: {column} is {str(cell)[:80]!r}, not a finite number; fix it, or leave the cell empty"
    )
  return value
