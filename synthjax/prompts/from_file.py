"""Prompts, or sentences, that lie in a file: lines of class id, text and, if wanted, a repeat count."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from synthjax.disk import documents
from synthjax.labels.spaces import LabelSpace
from synthjax.prompts.strategy import Written
from synthjax.runtime.errors import UserError, nearest
from synthjax.spec.fields import Prompts
from synthjax.store.prompt import Prompt

_DIGITS = re.compile("[0-9]{1,20}")  # not str.isdigit, which takes a superscript two for one
_MOST_PROMPTS = 10_000_000  # of a file, repeats counted: each is a place in its class's list


class Row(NamedTuple):
  class_id: str
  text: str
  repeat: int


def sha256(path: Path) -> str:
  """Of the file; "" where it is not there: its list may be there already."""
  if not path.is_file():
    return ""
  return hashlib.sha256(
    documents.read_bytes(path, f"prompt file {path}", most=documents.MOST_OF_LINES)
  ).hexdigest()


def rows(path: Path, class_ids: Sequence[str]) -> list[Row]:
  """In the order of the file: JSON lines where it ends with .jsonl, else columns parted by tabs."""
  lines = documents.read_text(path, f"prompt file {path}", most=documents.MOST_OF_LINES).split("\n")
  read = _from_json if path.suffix == ".jsonl" else _from_columns
  known, found = set(class_ids), []
  for number, line in enumerate(lines, start=1):
    line = line.rstrip("\r")
    if not line.strip():
      continue
    row = Row(*read(line, f"{path} line {number}"))
    if row.class_id not in known:
      raise UserError(f"{path} line {number}: no class {row.class_id!r}{nearest(row.class_id, class_ids)}")
    if not row.text.strip():
      raise UserError(f"{path} line {number}: the prompt is empty")
    found.append(row)
  if sum(row.repeat for row in found) > _MOST_PROMPTS:
    raise UserError(
      f"prompt file {path}: with repeats it has more than {_MOST_PROMPTS:,} prompts; lower the repeat counts"
    )
  return found


class FromFile:
  """Lines of class id, prompt and, if wanted, a repeat count; JSON lines, or columns parted by tabs."""

  uses: tuple[str, ...] = ()

  def check(self, fields: Prompts, labels: LabelSpace, where: str) -> None:
    if not fields.file:
      raise UserError(f"{where}: strategy file needs a file; set file to the path of a .jsonl, .tsv or .txt")

  def identity(self, fields: Prompts, labels: LabelSpace) -> dict[str, Any]:
    return {"file_sha256": sha256(Path(fields.file).expanduser())}

  def write(self, fields: Prompts, labels: LabelSpace) -> Written:
    path = Path(fields.file).expanduser()
    order = {c: i for i, c in enumerate(labels.ids)}
    prompts = [Prompt(row.class_id, row.text, row.repeat, origin="file") for row in rows(path, labels.ids)]
    return Written(sorted(prompts, key=lambda p: order[p.class_id]), [])


def _from_json(line: str, where: str) -> tuple[str, str, int]:
  body = documents.parse_json(line, where)
  found = (body.get("class"), body.get("prompt")) if isinstance(body, dict) else ()
  if not found or not all(isinstance(value, str | int | float) for value in found):
    raise UserError(f'{where}: expected {{"class": ID, "prompt": TEXT, "repeat": COUNT}}')
  (class_id, text), repeat = found, body.get("repeat", 1)
  return str(class_id), str(text), _count(repeat, where)


def _from_columns(line: str, where: str) -> tuple[str, str, int]:
  columns = line.split("\t")
  if not 2 <= len(columns) <= 3:
    raise UserError(f"{where}: expected class id, tab, prompt and, if wanted, tab, repeat count")
  return columns[0], columns[1], _count(columns[2] if len(columns) == 3 else 1, where)


def _count(value: Any, where: str) -> int:
  if not _DIGITS.fullmatch(str(value)) or not 1 <= int(value) <= _MOST_PROMPTS:
    raise UserError(
      f"{where}: the repeat count is a whole number from 1 to {_MOST_PROMPTS:,}, not {str(value)[:40]!r}"
    )
  return int(value)
