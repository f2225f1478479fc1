"""The benchmark's rows for a terminal: a median, and beside it the least and the most of the rounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from synthjax.benchmark.rounds import Spread
from synthjax.runtime.progress import readable

_COLUMNS = (
  "case",
  "batch",
  "whole/s",
  "device/s",
  "TFLOP/s",
  "of peak",
  "GB",
  "compile",
  "PyTorch/s",
  "ours/theirs",
)


def of_cases(rows: Sequence[dict[str, Any]]) -> str:
  """Rates are of one device."""
  lines = aligned([_COLUMNS, *(_cells(row) for row in rows)])
  measured = [row for row in rows if "refused" not in row]
  notes = ["rates are images/s of one device: median (least - most)"]
  if any(row["memory_by"] == "compiler" for row in measured):
    notes.append("~ by the compiler's account")
  if any(row["peak_by"] == "measured" for row in measured):
    notes.append("* of a float32 matrix product on this machine, measured in the same round")
  for reason in dict.fromkeys(row["torch_on"] or row["torch_absent"] for row in measured):
    notes.append(f"PyTorch: {reason.removeprefix('PyTorch ')}")
  return "\n".join([*lines, *notes])


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
  if "refused" in row:
    return (row["case"], str(row["per_device_batch"]), row["refused"])
  return (
    row["case"],
    f"{row['batch'] // row['devices']}",
    number(row["end_to_end"]),
    number(row["device_only"]),
    number(row["tflops"]),
    number(row["share_of_peak"], percent=True) + ("*" if row["peak_by"] == "measured" else ""),
    f"{'~' if row['memory_by'] == 'compiler' else ''}{row['memory_bytes'] / 1e9:.2f}",
    f"{row['compile_seconds']:.0f} s",
    number(row["torch"]),
    number(row["ours_over_theirs"]),
  )


def in_short(row: dict[str, Any]) -> str:
  """As soon as it is known."""
  text = f"{number(row['end_to_end'])}/s whole, {number(row['device_only'])}/s on the device alone"
  if row["share_of_peak"]:
    text += f", {number(row['share_of_peak'], percent=True)} of peak"
  return text + (f", {number(row['ours_over_theirs'])} of PyTorch's" if row["ours_over_theirs"] else "")


def of_loops(rows: Sequence[dict[str, Any]]) -> str:
  """The whole loop against what it could reach at most."""
  cells = [
    (r["what"], r["against"], readable(r["ceiling"]["median"]), number(r["reached"]), number(r["ratio"]))
    for r in rows
  ]
  return "\n".join(aligned([("the whole loop", "against", "ceiling/s", "reached/s", "ratio"), *cells]))


def number(found: Spread | None, percent: bool = False) -> str:
  if found is None:
    return "-"
  if percent:
    return f"{found['median']:.0%} ({found['min']:.0%} - {found['max']:.0%})"
  return f"{readable(found['median'])} ({readable(found['min'])} - {readable(found['max'])})"


def aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
  """A short row's last cell is a sentence: it runs on over the columns that are left."""
  columns = len(rows[0])
  widths = [
    max(len(row[c]) for row in rows if len(row) == columns or c < len(row) - 1) for c in range(columns)
  ]
  return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=False)).rstrip() for row in rows]
