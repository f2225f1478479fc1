"""Strategy captions: captions of real images with the class's name before them (Fan et al.'s IN-Captions), from a file with a
line or a row a caption."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from synthjax.disk import documents
from synthjax.labels.spaces import LabelSpace
from synthjax.prompts import by_model
from synthjax.prompts.class_prompts import Checks, OneClass, Text
from synthjax.prompts.from_file import sha256
from synthjax.prompts.sentences import fill
from synthjax.prompts.strategy import Written
from synthjax.prompts.structured import clean
from synthjax.runtime.errors import UserError, nearest, of_library
from synthjax.spec.fields import Prompts
from synthjax.store.prompt import Prompt

_SUFFIXES = (".jsonl", ".parquet")


class Captions:
  """`{class}, {caption}`; how Fan et al. join the two is (open): the template has its say where one is given."""

  uses: tuple[str, ...] = ("per_class", "names_class", "overlap", "banned", "caption_column", "class_column")

  def check(self, fields: Prompts, labels: LabelSpace, where: str) -> None:
    if by_model.asks(fields):
      by_model.check(fields, labels, where)
      return
    if not fields.file:
      raise UserError(
        f"{where}: strategy captions needs a file; set file to a .jsonl or a .parquet of captions"
      )
    if Path(fields.file).suffix not in _SUFFIXES:
      raise UserError(f"{where}: captions are read from {' or '.join(_SUFFIXES)}, not from {fields.file}")

  def identity(self, fields: Prompts, labels: LabelSpace) -> dict[str, Any]:
    return {"template": fields.template or "{}", "file_sha256": sha256(Path(fields.file).expanduser())}

  def write(self, fields: Prompts, labels: LabelSpace) -> Written:
    template, names = fields.template or "{}", dict(zip(labels.ids, labels.names, strict=True))
    checks = {i: Checks(fields, OneClass(i, name), _none_too_long) for i, name in names.items()}
    for where, class_id, caption in _rows(fields):
      if class_id not in names:
        raise UserError(f"{where}: no class {class_id!r}{nearest(class_id, labels.ids)}")
      if text := clean(caption):
        parts = {"caption": text}
        checks[class_id].take([Text(fill(template, f"{names[class_id]}, {text}"), parts)])
      else:
        checks[class_id].drop("no text")
    found = [own.result() for own in checks.values()]
    origin = f"captions: {template}"
    prompts: list[Prompt] = [p for one in found for p in one.prompts(origin)]
    dropped = sum(n for one in found for n in one.dropped.values())
    return Written(
      prompts, [f"{dropped:,} captions dropped: repeats, near repeats, banned or empty"] if dropped else []
    )


def _none_too_long(texts: Any) -> list[bool]:
  return [False] * len(texts)


def _rows(fields: Prompts) -> Iterator[tuple[str, str, str]]:
  """Where it stands, class id and caption of each."""
  file = Path(fields.file).expanduser()
  columns = (fields.class_column, fields.caption_column)
  if file.suffix == ".parquet":
    yield from _of_parquet(file, columns)
    return
  lines = documents.read_text(file, f"captions {file}", most=documents.MOST_OF_LINES).split("\n")
  for number, line in enumerate(lines, start=1):
    if line.strip():
      where = f"{file} line {number}"
      body = documents.parse_json(line, where)
      if not isinstance(body, dict):
        raise UserError(f"{where}: expected a JSON object with {columns[0]!r} and {columns[1]!r}")
      yield (where, *_values(body, columns, where))


def _of_parquet(file: Path, columns: tuple[str, str]) -> Iterator[tuple[str, str, str]]:
  try:
    import pyarrow.parquet as pq
  except ImportError:
    raise UserError(
      f"captions {file}: reading Parquet takes pyarrow; pip install 'synthjax[export]'"
    ) from None
  with of_library(lambda why: f"captions {file} cannot be read ({why}); name a Parquet file"):
    table = pq.ParquetFile(file)
    for name in columns:
      if name not in table.schema_arrow.names:
        raise UserError(f"captions {file} has no column {name!r}{nearest(name, table.schema_arrow.names)}")
    number = 0
    for batch in table.iter_batches(columns=list(columns)):
      for row in batch.to_pylist():
        number += 1
        where = f"{file} row {number}"
        yield (where, *_values(row, columns, where))


def _values(row: dict[str, Any], columns: tuple[str, str], where: str) -> tuple[str, str]:
  for name in columns:
    if not isinstance(row.get(name), str | int):
      raise UserError(
        f"{where}: {name} is a text, not {row.get(name)!r}; set class_column and caption_column"
      )
  return str(row[columns[0]]), str(row[columns[1]])
