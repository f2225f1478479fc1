"""Data sets of tensorflow_datasets as sources, read without TensorFlow and never fetched.

tfds:NAME[/CONFIG][:VERSION][:SPLIT], as tfds:cifar10:test or tfds:eurosat/rgb:train[80%:]. Without a split it is the
official test. The data lie where TFDS_DATA_DIR says, or where tfds keeps them, as ArrayRecord (random access).
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from etils import epath
from tensorflow_datasets.core import constants, read_only_builder, registered
from tensorflow_datasets.core.data_sources import array_record
from tensorflow_datasets.core.utils import error_utils

from synthjax.data import tfds_features, tfds_shards
from synthjax.data.decoding import Unreadable
from synthjax.data.source import Source
from synthjax.disk import documents, workdir
from synthjax.labels.matching import PASSED_OVER, match
from synthjax.labels.spaces import LabelSpace
from synthjax.runtime.errors import NotHere, UserError, nearest, of_library

_OFFICIAL = ("test", "validation")
_TEST_WITHOUT_LABELS = ("imagenet2012",)  # its `test` split is the challenge's: every label is -1
_CACHE = "~/.cache/synthjax/labels"  # reading the labels of ImageNet means reading its images


class TfdsSource(Source):
  """A key is the split and the place in it. The images of labels that the space passes over are left out."""

  def __init__(self, reference: str, builder: Any, split: str, labels: LabelSpace | None):
    self.name, self.split, self._reference = builder.info.full_name, split, reference
    self._info, self._spans = builder.info, _spans(reference, builder.info, split)
    if not any(first < last for _, first, last in self._spans):
      raise UserError(f"source {reference}: split {split} is empty")
    self._image, self._label = _features(reference, builder.info)
    pictures = [k for k, f in self._info.features.items() if isinstance(f, tfds.features.Image)]
    try:  # masks and the like are not decoded either
      self._rows = builder.as_data_source(split, decoders={k: tfds.decode.SkipDecoding() for k in pictures})
    except (NotImplementedError, ValueError) as e:  # another file format
      raise UserError(
        f"source {reference}: its files cannot be read at random ({_one_line(e)}); build it again, "
        f"tfds build {_of_command(builder.info)} --file_format=array_record --overwrite"
      ) from None
    if isinstance(
      self._rows, array_record.ArrayRecordDataSource
    ):  # and no mock of TFDS's, which reads no file
      tfds_shards.check(f"source {reference}", builder.info, {name for name, _, _ in self._spans})
    self._labels = labels
    self._of_place = self._match(labels) if labels else None

  def _match(self, labels: LabelSpace) -> np.ndarray | None:
    """Places in the space by tfds' label; None where the names stand in the examples themselves."""
    names = self._info.features[self._label].names
    if _is_numbered(names) and self._text_label:
      return None
    try:
      return match(names, labels, f"source {self._reference}")
    except UserError:
      if not _is_numbered(names):
        raise
      raise UserError(
        f"source {self._reference}: it stores no class names, only the numbers 0 to {len(names) - 1}, and labels are "
        f"never matched by place; the space has {len(labels)} classes; build it again with its class names"
      ) from None

  @property
  def _text_label(self) -> str:
    """Caltech's birds write the name beside the number."""
    name = f"{self._label}_name"
    features = self._info.features
    return name if name in features and isinstance(features[name], tfds.features.Text) else ""

  @functools.cached_property
  def _classes(self) -> np.ndarray:
    """[all rows] places in the space, or PASSED_OVER."""
    if self._of_place is None:
      assert self._labels is not None
      written = self._column(self._text_label)
      names, places = np.unique(written, return_inverse=True)
      return match(names.tolist(), self._labels, f"source {self._reference}")[places]
    numbers = self._column(self._label).astype(np.int64)
    if (numbers >= len(self._of_place)).any():
      key = self._keys[int(np.argmax(numbers >= len(self._of_place)))]
      raise UserError(
        f"source {self._reference}: image {key} has a label beyond the {len(self._of_place)} names; build it again"
      )
    if (numbers < 0).any():
      key = self._keys[int(np.argmax(numbers < 0))]
      raise UserError(f"source {self._reference}: image {key} has no label; name another split")
    return self._of_place[numbers]

  def _column(self, feature: str) -> np.ndarray:
    """One feature of all rows, kept for the next process."""
    file = epath.Path(os.path.expanduser(_CACHE)) / f"{_stamp(self._info, self._spans)}-{feature}.json"
    if (kept := _kept_column(file, len(self._rows))) is not None:
      return np.array(kept)
    try:
      values = [self._row(i, feature) for i in range(len(self._rows))]
    except Unreadable as e:
      raise UserError(f"source {self._reference}: {e}; build or fetch it again") from None
    values = [v.decode() if isinstance(v, bytes) else v if isinstance(v, str) else int(v) for v in values]
    with contextlib.suppress(OSError):  # a home that cannot be written costs time, not the study
      file.parent.mkdir(parents=True, exist_ok=True)
      workdir.replace_bytes(file, json.dumps(values).encode())
    return np.array(values)

  def _row(self, row: int, feature: str) -> Any:
    try:
      if (value := self._rows[row][feature]) is not None:
        return value
    except Exception as e:  # TFDS raises whatever a record that does not fit its description leads it to
      why = f"{type(e).__name__}: {_one_line(e)}"
      raise Unreadable(self._where(row), f"its {feature} cannot be read ({why})") from e
    raise Unreadable(self._where(row), f"it has no {feature}")

  @functools.cached_property
  def _kept(self) -> np.ndarray:
    """Rows that are images of this source."""
    if self._labels and self._labels.passed_over and (self._of_place is None or (self._of_place < 0).any()):
      return np.flatnonzero(self._classes != PASSED_OVER)
    return np.arange(len(self._rows))

  @functools.cached_property
  def labels(self) -> np.ndarray | None:
    return self._classes[self._kept].astype(np.int32) if self._labels else None

  @functools.cached_property
  def _keys(self) -> list[str]:
    keys = [f"{split}/{i}" for split, first, last in self._spans for i in range(first, last)]
    assert len(keys) == len(self._rows), (len(keys), len(self._rows))
    return keys

  @functools.cached_property
  def keys(self) -> Sequence[str]:
    return [self._keys[i] for i in self._kept]

  def encoded(self, i: int) -> bytes:
    row = int(self._kept[i])
    data = self._row(row, self._image)
    if not isinstance(data, bytes):
      raise Unreadable(self._where(row), f"its {self._image} is no image file")
    return data

  def where(self, i: int) -> str:
    return self._where(int(self._kept[i]))

  def _where(self, row: int) -> str:
    return f"tfds:{self.name} image {self._keys[row]}"

  @functools.cached_property
  def digest(self) -> str:
    """Of the data set's own description, its files' sizes, the split, and which label is which class.

    Not of the images' bytes: a version of a data set does not change, and to hash ImageNet takes longer than to embed it.
    """
    files = [(p.name, p.stat().st_size) for p in _files(self._info)]
    names = self._info.features[self._label].names
    matched = [] if self._of_place is None else self._of_place.tolist()
    passed_over = self._labels.passed_over if self._labels else ()
    return _hash([self.name, self._spans, self._label, names, files, matched, passed_over])


def _kept_column(file: epath.Path, rows: int) -> list[Any] | None:
  """What an earlier process kept; None where it is not there, or is not whole."""
  try:
    found = documents.read_json(Path(file), "labels", most=documents.MOST_OF_LINES)
  except UserError:
    return None
  return found if isinstance(found, list) and len(found) == rows else None


def _files(info: Any) -> list[Path]:
  return sorted(Path(info.data_dir).iterdir())


def _stamp(info: Any, spans: list[tuple[str, int, int]]) -> str:
  """Of these very files: built anew, they are others."""
  return _hash([str(info.data_dir), spans, [(p.name, p.stat().st_mtime_ns) for p in _files(info)]])[:32]


def _hash(about: Any) -> str:
  return hashlib.sha256(json.dumps(about).encode()).hexdigest()


def _features(reference: str, info: Any) -> tuple[str, str]:
  """Names of the image and of the label."""
  features = dict(info.features.items())
  image, label = info.supervised_keys or ("image", "label")
  if not isinstance(features.get(image), tfds.features.Image):
    raise UserError(
      f"source {reference}: its feature {image!r} is no image; take a data set of labelled images"
    )
  if not isinstance(features.get(label), tfds.features.ClassLabel):
    raise UserError(
      f"source {reference}: its feature {label!r} is no class label; take a data set with one label an image"
    )
  return image, label


def _spans(reference: str, info: Any, split: str) -> list[tuple[str, int, int]]:
  """(split, first row, one after the last), one after the other."""
  try:
    parts = tfds.core.ReadInstruction.from_spec(split).to_absolute(info.splits)
    sizes = {p.splitname: info.splits[p.splitname].num_examples for p in parts}
  except (KeyError, ValueError, AssertionError) as e:
    known = list(info.splits)
    bare = re.split(r"[\[+]", split)[0]
    why = nearest(bare, known) if bare not in known else f" ({_one_line(e)})"
    raise UserError(f"source {reference}: no split {split!r}{why}") from None
  return [(p.splitname, p.from_ or 0, sizes[p.splitname] if p.to is None else p.to) for p in parts]


def _is_numbered(names: Sequence[str]) -> bool:
  return list(names) == [str(i) for i in range(len(names))]


def _of_command(info: Any) -> str:
  return f"{info.name}/{info.config_name}" if info.config_name else info.name


def _one_line(error: Exception) -> str:
  return " ".join(str(error).split())[:160]


def open_tfds(reference: str, rest: str, labels: LabelSpace | None) -> Source:
  name, _, rest = rest.partition(":")
  version, _, split = rest.partition(":") if re.match(r"\d+\.\d+\.\d+(:|$)", rest) else ("", "", rest)
  if not name:
    raise UserError(f"source {reference!r} names no data set; expected tfds:NAME[/CONFIG][:SPLIT]")
  folder = os.environ.get("TFDS_DATA_DIR")
  wanted = f"{name}:{version}" if version else name
  try:
    with error_utils.record_error_context():
      found = read_only_builder._find_builder_dir(wanted, data_dir=folder)
    if found:
      tfds_features.check(Path(found), f"source {reference!r}")
      with _described(reference, found):
        builder = read_only_builder.builder_from_files(wanted, data_dir=folder)
        return TfdsSource(
          reference, builder, split or _official(reference, name, builder.info.splits), labels
        )
    builder = read_only_builder.builder_from_files(wanted, data_dir=folder)
  except (registered.DatasetNotFoundError, ValueError) as e:
    known = tfds.list_builders(with_community_datasets=False)
    base = name.partition("/")[0]
    if base not in known and (near := nearest(base, known)):
      raise UserError(f"source {reference!r}: no data set {base!r}{near}") from None
    fix = f"set TFDS_DATA_DIR, or run: tfds build {name} --file_format=array_record"
    where = folder or constants.DATA_DIR
    line = f"source {reference!r}: {name}{f':{version}' if version else ''} is not in {where}; {fix}"
    if not isinstance(e, registered.DatasetNotFoundError):  # no name of a data set, or two of one name
      raise UserError(line) from e
    raise NotHere(line, reference, fix) from e
  return TfdsSource(reference, builder, split or _official(reference, name, builder.info.splits), labels)


def _described(reference: str, folder: Any) -> contextlib.AbstractContextManager[None]:
  """Of a data set that is known to be there."""
  return of_library(
    lambda why: (
      f"source {reference!r}: {folder} is not described as TFDS describes a data set ({why}); build or fetch it again"
    )
  )


def _official(reference: str, name: str, splits: Collection[str]) -> str:
  for split in _OFFICIAL[1:] if name.partition("/")[0] in _TEST_WITHOUT_LABELS else _OFFICIAL:
    if split in splits:
      return split
  raise UserError(
    f"source {reference!r}: it has no test split, only {', '.join(splits)}; name a part, as {reference}:train[80%:]"
  )
