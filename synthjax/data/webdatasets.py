"""Tar shards as a source, in the layout of CLIP_benchmark's public mirrors; no package of its own is needed to read them.

    PATH/classnames.txt                              a display name a line: line i is what `.cls` i means
    PATH/classids.txt                                likewise class ids, where we wrote the shards
    PATH/zeroshot_classification_templates.txt       prompts with {c} for the name
    PATH/test/0.tar, 1.tar, ...                      s0000000.webp and s0000000.cls, ...

The tars are walked once, when the source is opened: afterwards every image is one read at a known place.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import io
import os
import tarfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from glob import glob
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from synthjax.data.classes import Reference, absent, digest_of, mapping_of, parse, places
from synthjax.data.decoding import SUFFIXES, Unreadable
from synthjax.data.source import Source
from synthjax.disk import documents, regular_files
from synthjax.labels.spaces import TEMPLATE, LabelSpace
from synthjax.runtime.errors import NotHere, UserError, nearest

NAMES, IDS, TEMPLATES = "classnames.txt", "classids.txt", "zeroshot_classification_templates.txt"
_IMAGES = tuple(suffix[1:] for suffix in SUFFIXES)
_OPEN = 256  # tars held open; the rest are opened anew for each image
_PATTERN = "*?["  # what makes a path a glob
_SMALL = 1 << 20  # bytes of a .cls, .txt or .json that is read


@dataclasses.dataclass
class _Sample:
  tar: int
  key: str
  image: tuple[int, int] = (0, 0)  # where it begins, its length
  cls: str = ""
  about: tuple[int, int] | None = None  # of the .json
  caption: tuple[int, int] | None = None  # of the .txt


class WebDataset(Source):
  """A key is a sample's; where shards repeat keys, the shard's name comes before them."""

  def __init__(self, reference: Reference, labels: LabelSpace | None):
    self._reference = reference
    self._tars, self._root, self.split = _find(reference)
    self.name = self._root.resolve().name
    self._samples = [s for i, tar in enumerate(self._tars) for s in _walk(i, tar)]
    if not self._samples:
      raise UserError(f"source {reference.text}: its tars hold no image ({', '.join(_IMAGES)})")
    self._mapping = mapping_of(reference) if labels else None
    self.labels = self._read_labels(labels) if labels else None
    keys = [s.key for s in self._samples]
    if len(set(keys)) < len(keys):
      keys = [f"{self._tars[s.tar].stem}/{s.key}" for s in self._samples]
    self.keys = keys
    self._open = {i: regular_files.open_file(tar) for i, tar in enumerate(self._tars[:_OPEN])}
    weakref.finalize(self, _close, tuple(self._open.values()))

  def _read_labels(self, labels: LabelSpace) -> np.ndarray:
    """Where the mapping leaves classes out, their samples go."""
    where = self._reference.text
    theirs = sorted({s.cls for s in self._samples})
    if "" in theirs:
      key = next(s.key for s in self._samples if not s.cls)
      raise UserError(f"source {where}: sample {key} has an image but no .cls")
    name_of = dict(zip(theirs, theirs, strict=True))
    if not (self._mapping and set(theirs) <= set(self._mapping)):  # else it is of .cls
      lines = None if self._mapping else _lines(self._root / IDS)
      lines = lines or _lines(self._root / NAMES) or []
      for cls in theirs if lines else ():
        if not (cls.isascii() and cls.isdigit()) or int(cls) >= len(lines):
          raise UserError(
            f"source {where}: .cls {cls!r} is no line of its class names, which are {len(lines)}"
          )
        name_of[cls] = lines[int(cls)]
    known = places(labels, [name_of[cls] for cls in theirs], self._mapping, where, names=True)
    found = dict(zip(theirs, known, strict=True))
    self._samples = [s for s in self._samples if found[s.cls] >= 0]
    return np.array([found[s.cls] for s in self._samples], np.int32)

  def encoded(self, i: int) -> bytes:
    sample = self._samples[i]
    if sample.image[1] > regular_files.LARGEST:
      raise Unreadable(self.where(i), f"it has {sample.image[1]:,} bytes; no image is as large")
    data = self._read(sample.tar, sample.image)
    if len(data) < sample.image[1]:
      raise Unreadable(self.where(i), "the tar ends before the image does")
    return data

  def where(self, i: int) -> str:
    return f"{self._tars[self._samples[i].tar]}:{self._samples[i].key}"

  def about(self, i: int) -> Mapping[str, Any]:
    sample = self._samples[i]
    if sample.about:
      try:
        found = documents.parse_json(self._read(sample.tar, sample.about), "")
      except UserError:
        found = {}
      return found if isinstance(found, dict) else {}
    if sample.caption:
      return {"prompt": self._read(sample.tar, sample.caption).decode(errors="replace").strip()}
    return {}

  def _read(self, tar: int, place: tuple[int, int]) -> bytes:
    kept = self._open.get(tar)
    try:
      with contextlib.nullcontext(kept) if kept else regular_files.open_file(self._tars[tar]) as file:
        return os.pread(file.fileno(), place[1], place[0])  # has no position: threads share a handle
    except OSError as e:
      raise Unreadable(str(self._tars[tar]), e.strerror or str(e)) from e

  @functools.cached_property
  def digest(self) -> str:
    sha = hashlib.sha256(digest_of(self._mapping))
    for i, (key, sample) in enumerate(zip(self.keys, self._samples, strict=True)):
      try:
        data = self.encoded(i)
      except Unreadable as e:
        raise UserError(f"source {self._reference.text}: {e}; fetch the tar again") from None
      about = f"{key}\0{sample.cls}\0{len(data)}\0".encode(errors="surrogateescape")
      sha.update(about + hashlib.sha256(data).digest())
    return sha.hexdigest()


def _close(files: Sequence[BinaryIO]) -> None:
  for file in files:
    file.close()


def _find(reference: Reference) -> tuple[list[Path], Path, str]:
  """The tars, the folder of the names, and the split."""
  where_from = f"source {reference.text}"
  if any(c in str(reference.path) for c in _PATTERN):
    tars = [Path(p) for p in glob(str(reference.path))]
    if not tars:
      line = f"{where_from}: no file is called so"
      if (above := _above_pattern(reference.path)).exists():
        raise UserError(line)
      raise NotHere(line, reference.text, f"there is no {above}")
    folder = tars[0].parent
  else:
    folder = reference.folder
    if reference.path.is_file():
      tars, folder = [reference.path], reference.path.parent
    elif not folder.is_dir():
      raise absent(reference, f"{where_from}: there is no such folder; fix its path")
    else:
      tars = list(folder.glob("*.tar"))
    if not tars:
      splits = sorted({tar.parent.name for tar in folder.glob("*/*.tar")})
      if len(splits) != 1:
        raise UserError(
          f"{where_from}: {'name a split: ' + ', '.join(splits) if splits else 'there is no .tar in it; compressed ones are not read'}"
        )
      folder = folder / splits[0]
      tars = list(folder.glob("*.tar"))
  tars.sort(key=lambda t: (len(t.stem), t.stem))  # 2.tar before 10.tar
  nshards = folder / "nshards.txt"
  if (lines := _lines(nshards)) and lines != [str(len(tars))]:
    raise UserError(
      f"{where_from}: {nshards} says {lines[0][:20]} shards, but {len(tars)} are there; fetch the rest"
    )
  root = next((f for f in (folder, folder.parent) if any((f / n).exists() for n in (NAMES, IDS))), folder)
  return tars, root, folder.name if folder not in (root, reference.path) else "all"


def _above_pattern(path: Path) -> Path:
  """The folder down to which a glob names one alone."""
  return next(p for p in path.parents if not any(c in str(p) for c in _PATTERN))


class _Headers(io.BufferedReader):
  """A tar to walk through: only headers are read, and none is as large as one may claim to be."""

  def __init__(self, path: Path):
    super().__init__(regular_files.open_file(path).detach())
    self.size = os.fstat(self.fileno()).st_size

  def read(self, size: int | None = -1, /) -> bytes:
    if size is None or not 0 <= size <= _SMALL:
      raise tarfile.ReadError(f"a header of {size} bytes")
    return super().read(size)


def _check_member(member: tarfile.TarInfo, end: int) -> None:
  """A member is read where its header says: it must lie in the file, in one piece."""
  name = ascii(member.name)[1:-1][:80]
  if member.issparse():
    raise tarfile.ReadError(
      f"{name} is a sparse file, which is not stored in one piece: pack it without --sparse"
    )
  if not 0 <= member.size <= end - member.offset_data:
    raise tarfile.ReadError(f"{name} claims {member.size} bytes, which the file does not have")


def _walk(index: int, path: Path) -> Iterator[_Sample]:
  """Neighbours of one name up to its first dot are a sample."""
  sample: _Sample | None = None
  try:
    with _Headers(path) as raw, tarfile.open(fileobj=raw, mode="r:") as tar:
      for member in tar:
        _check_member(member, raw.size)
        folder, _, base = member.name.rpartition("/")
        stem, _, suffix = base.partition(".")
        if not member.isfile() or not stem or not suffix:
          continue
        key = f"{folder}/{stem}".removeprefix("./").lstrip("/")
        if sample is None or sample.key != key:
          if sample is not None and sample.image[1]:
            yield sample
          sample = _Sample(index, key)
        place, suffix = (member.offset_data, member.size), suffix.lower()
        if suffix in _IMAGES:
          sample.image = place
        elif suffix == "cls" and member.size < 1024:
          sample.cls = (
            os.pread(raw.fileno(), member.size, member.offset_data).decode(errors="replace").strip()
          )
        elif suffix == "json" and member.size < _SMALL:
          sample.about = place
        elif suffix == "txt" and member.size < _SMALL:
          sample.caption = place
  # Sizes that no integer holds, headers within headers: tarfile raises whatever these lead it to.
  except (OSError, tarfile.TarError, ValueError, OverflowError, RecursionError, MemoryError) as e:
    why = getattr(e, "strerror", None) or " ".join(str(e).split())[:200] or type(e).__name__
    raise UserError(f"source webdataset: {path} is not a whole tar ({why}); fetch it again") from None
  if sample is not None and sample.image[1]:
    yield sample


def _lines(file: Path) -> list[str] | None:
  if not file.is_file():
    return None
  try:
    text = regular_files.read_text(file)
    return [line.strip() for line in text.rstrip("\n").split("\n")]
  except (OSError, UnicodeDecodeError) as e:
    raise UserError(f"source webdataset: {file} cannot be read: {e}") from None


def label_space(reference: str) -> LabelSpace:
  """Of the shards' own files: the ids, or else the numbers of the lines, the names, and the templates."""
  folder = _find(parse(reference, reference.partition(":")[2]))[1]
  names, ids, templates = (_lines(folder / f) for f in (NAMES, IDS, TEMPLATES))
  if not names:
    raise UserError(
      f"config.labels {reference!r}: {folder} has no {NAMES}{nearest(NAMES, os.listdir(folder))}"
    )
  texts = tuple(t.replace("{c}", "{}") for t in templates or () if t)
  return LabelSpace(
    tuple(ids or map(str, range(len(names)))), tuple(names), texts[0] if texts else TEMPLATE, texts
  )


def open_webdataset(reference: str, rest: str, labels: LabelSpace | None) -> Source:
  return WebDataset(parse(reference, rest), labels)
