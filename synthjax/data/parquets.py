"""Parquet files in the layout of Hugging Face's image data sets as a source; reading them takes `pip install synthjax[export]`.

A row has an image, a struct of bytes and path, and a label, whose names stand in the file's metadata: the columns `image`
and `label`, or else the one Image and the one ClassLabel that the metadata name. An image is one
read of its row group, of which a few stay in memory: keep groups small, as our export and Hugging Face's do.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import threading
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import Any

import numpy as np

from synthjax.data.classes import Reference, absent, digest_of, mapping_of, parse, places
from synthjax.data.decoding import Unreadable
from synthjax.data.source import Source
from synthjax.disk import documents, regular_files
from synthjax.labels.spaces import LabelSpace
from synthjax.runtime.errors import UserError
from synthjax.store.parquet import library

_GROUPS = 16  # in memory


class Parquet(Source):
  """A key is the image id, where the files have that column; else file and row."""

  def __init__(self, reference: str, rest: str, labels: LabelSpace | None):
    found, self._arrow = parse(reference, rest), library()
    self._reference = reference
    self.name, self.split = found.path.resolve().name, found.split or "train"
    files = _files(found)
    self._paths = files
    self._files = [self._opened(file) for file in files]
    columns, features = set(self._files[0].schema_arrow.names), _features(self._files[0].schema_arrow)
    self._image = _column(reference, "image", "Image", columns, features)
    self._label = _column(reference, "label", "ClassLabel", columns, features)
    for path, file in zip(files, self._files, strict=True):
      self._check_types(path, file.schema_arrow)
    self._groups = [
      (f, g, file.metadata.row_group(g).num_rows)
      for f, file in enumerate(self._files)
      for g in range(file.num_row_groups)
    ]
    self._starts = np.array([0, *itertools.accumulate(n for _, _, n in self._groups)])
    self._metadata, self._lock = columns - {self._image, self._label}, threading.Lock()
    self._group = functools.lru_cache(maxsize=_GROUPS)(self._read_group)
    self._mapping = mapping_of(found) if labels else None
    names = _names(features.get(self._label))
    theirs = self._column(self._label)
    rows = np.arange(len(theirs))
    self.labels = None
    if labels:
      used = sorted(set(theirs), key=str)
      if None in used:
        raise UserError(
          f"source {reference!r}: row {theirs.index(None)} has no {self._label}; name another split"
        )
      if names and not set(used) <= set(range(len(names))):
        raise UserError(f"source {reference!r}: it has labels beyond its {len(names)} names")
      texts = [names[k] if names else str(k) for k in used]
      known = dict(zip(used, places(labels, texts, self._mapping, reference, names=True), strict=True))
      found_labels = np.array([known[x] for x in theirs], np.int32)
      rows = np.flatnonzero(found_labels >= 0)
      self.labels = found_labels[rows]
    self._rows = rows
    ids = self._column("image_id") if "image_id" in columns else []
    if ids and all(isinstance(key, str) for key in ids):  # a number, as COCO has it, is no name
      self.keys = [ids[i] for i in rows]
    else:
      counts = [file.metadata.num_rows for file in self._files]
      keys = [f"{path.stem}/{i}" for path, n in zip(files, counts, strict=True) for i in range(n)]
      self.keys = [keys[i] for i in rows]

  def _opened(self, path: Path) -> Any:
    with self._line_for(path):
      regular_files.check(path)
      return self._arrow.parquet.ParquetFile(path, memory_map=True)

  @contextlib.contextmanager
  def _line_for(self, path: Path) -> Iterator[None]:
    try:
      yield
    except (OSError, ValueError, KeyError, self._arrow.ArrowException, MemoryError, OverflowError) as e:
      why = getattr(e, "strerror", None) or " ".join(str(e).split())[:160] or type(e).__name__
      raise UserError(f"source {self._reference!r}: {path} cannot be read ({why}); fetch it again") from None

  def _check_types(self, path: Path, schema: Any) -> None:
    """Each file has a schema of its own; one that differs is refused before an image is asked for."""
    types = self._arrow.types
    for name in (self._image, self._label):
      if schema.names.count(name) != 1:
        raise UserError(f"source {self._reference!r}: {path} has no column {name!r}, or two; fetch it again")
    image, label = schema.field(self._image).type, schema.field(self._label).type
    fields = [image.field(i) for i in range(image.num_fields)] if types.is_struct(image) else []
    if not any(f.name == "bytes" and _is_binary(types, f.type) for f in fields):
      raise UserError(
        f"source {self._reference!r}: column {self._image!r} of {path} is {_short(image)}; expected an image as "
        "Hugging Face's `datasets` stores it, struct<bytes: binary, path: string>"
      )
    kind = label.value_type if types.is_dictionary(label) else label
    if not (types.is_integer(kind) or types.is_string(kind) or types.is_large_string(kind)):
      raise UserError(
        f"source {self._reference!r}: column {self._label!r} of {path} is {_short(label)}; expected one class an "
        "image, as a number or a text"
      )

  def _column(self, name: str) -> list[Any]:
    found: list[Any] = []
    for path, file in zip(self._paths, self._files, strict=True):
      with self._line_for(path):
        values = file.read([name]).column(name).to_pylist()
        if len(values) != file.metadata.num_rows:
          raise ValueError(f"column {name} has {len(values)} values for {file.metadata.num_rows} rows")
      found += values
    return found

  def _read_group(self, number: int) -> list[dict[str, Any]]:
    f, g, n = self._groups[number]
    with self._line_for(self._paths[f]):
      rows = self._files[f].read_row_group(g).to_pylist()
      if len(rows) != n:
        raise ValueError(f"row group {g} has {len(rows)} rows of {n}")
    return rows

  def _row(self, i: int) -> dict[str, Any]:
    row = int(self._rows[i])
    number = int(np.searchsorted(self._starts, row, side="right")) - 1
    with self._lock:  # a file's reader is not for several threads
      group = self._group(number)
    return group[row - int(self._starts[number])]

  def encoded(self, i: int) -> bytes:
    try:
      data = (self._row(i)[self._image] or {}).get("bytes")
    except UserError as e:
      raise Unreadable(self.where(i), str(e)) from None
    if not data:
      raise Unreadable(self.where(i), "the row has no bytes")
    return data

  def where(self, i: int) -> str:
    return f"{self.name}:{self.keys[i]}"

  def about(self, i: int) -> Mapping[str, Any]:
    row = self._row(i)
    return {name: row[name] for name in self._metadata}

  @functools.cached_property
  def digest(self) -> str:
    sha = hashlib.sha256(digest_of(self._mapping))
    for i, key in enumerate(self.keys):
      row = self._row(i)
      data = (row[self._image] or {}).get("bytes") or b""
      sha.update(f"{key}\0{row[self._label]}\0".encode() + hashlib.sha256(data).digest())
    return sha.hexdigest()


def _files(found: Reference) -> list[Path]:
  reference, path, split = found.text, found.path, found.split
  if path.is_file():
    return [path]
  if not path.is_dir():
    raise absent(found, f"source {reference!r}: there is no such folder; fix its path")
  files = sorted(path.rglob("*.parquet"))
  splits = sorted({file.name.partition("-")[0] for file in files})
  if split or len(splits) == 1:
    files = [file for file in files if not split or file.name.partition("-")[0] == split]
  elif files:
    raise UserError(f"source {reference!r}: name a split: {', '.join(splits)}")
  if not files:
    raise UserError(
      f"source {reference!r}: there is no .parquet in it; the splits are {', '.join(splits) or 'none'}"
    )
  return files


def _features(schema: Any) -> dict[str, Any]:
  """What `datasets` wrote down about the columns."""
  try:
    about = documents.parse_json((schema.metadata or {})[b"huggingface"], "")
    return dict(about["info"]["features"])
  except (KeyError, ValueError, TypeError, UserError):
    return {}


def _names(feature: Any) -> list[str] | None:
  """What a ClassLabel's numbers are called."""
  names = feature.get("names") if isinstance(feature, dict) else None
  return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else None


def _is_binary(types: Any, kind: Any) -> bool:
  return types.is_binary(kind) or types.is_large_binary(kind)


def _short(kind: Any) -> str:
  return " ".join(str(kind).split())[:80]


def _column(reference: str, name: str, kind: str, columns: Set[str], features: Mapping[str, Any]) -> str:
  if name in columns:
    return name
  of_kind = [c for c in sorted(columns) if isinstance(f := features.get(c), dict) and f.get("_type") == kind]
  if len(of_kind) != 1:
    raise UserError(
      f"source {reference!r}: no column {name!r}, nor exactly one of its type, among {', '.join(sorted(columns))}; rename one to {name}"
    )
  return of_kind[0]


def open_parquet(reference: str, rest: str, labels: LabelSpace | None) -> Source:
  return Parquet(reference, rest, labels)
