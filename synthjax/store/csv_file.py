"""CSV files that a spreadsheet opens as text and numbers: no cell of ours is a formula there."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Any

# What Excel, LibreOffice and Google Sheets take for the beginning of a formula, and what they skip before one.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|nan)")


def to_bytes(columns: Sequence[str], rows: Iterable[Sequence[Any]], line_end: str = "\n") -> bytes:
  """Names of files keep their bytes. A text that would be a formula gets an apostrophe before it; numbers stay as they are."""
  lines = (_line(row) for row in [columns, *rows])
  return "".join(line + line_end for line in lines).encode(errors="surrogateescape")


def _line(row: Sequence[Any]) -> str:
  """The writer quotes a cell that holds a part of its own line end: with both, no cell breaks a line."""
  buffer = io.StringIO(newline="")
  csv.writer(buffer, lineterminator="\r\n").writerow([_cell(value) for value in row])
  return buffer.getvalue()[:-2]


def _cell(value: Any) -> Any:
  if isinstance(value, str) and value.startswith(_FORMULA) and not _NUMBER.fullmatch(value):
    return f"'{value}"
  return value
