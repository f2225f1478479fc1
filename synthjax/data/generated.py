"""Image sets of any workdir as a source: `images/<set>`, what a filter kept of one, or the data set written of that.

Labels go by class id, which is what the sets themselves hold. Ids and labels stand in the examples: the first look at
them reads the set once.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from synthjax.data import tfds_features
from synthjax.data.classes import mapping_of, parse, places
from synthjax.data.draws import Part
from synthjax.data.source import Source
from synthjax.disk import checksums
from synthjax.labels.spaces import LabelSpace
from synthjax.runtime import devices
from synthjax.runtime.errors import NotHere, UserError
from synthjax.store import dataset, records, schema, shards
from synthjax.store import kept as lists
from synthjax.store.export import Examples

_BLOCK = 512  # examples a thread looks at


class Generated(Source):
  """A key is an image id."""

  split = shards.SPLIT

  def __init__(self, folder: Path, labels: LabelSpace | None, where: str, mapping: Mapping[str, str] | None):
    self.name, self._folder = folder.resolve().name, epath.Path(folder)
    tfds_features.check(folder, f"source {where!r}")
    _check_files(self._folder, where)
    class_ids = _class_ids(folder)
    self._examples = Examples(self._folder)
    blocks = range(0, len(self._examples), _BLOCK)
    with ThreadPoolExecutor(devices.threads(), thread_name_prefix="index") as pool:
      rows = [row for block in pool.map(self._index, blocks) for row in block]
    self.keys = [image_id for image_id, _ in rows]
    self.labels = None
    if labels:
      theirs = np.array([label for _, label in rows], np.int32)
      used = np.unique(theirs).tolist()
      known = np.full(len(class_ids), -1, np.int32)
      known[used] = places(labels, [class_ids[k] for k in used], mapping, where)
      self.labels = known[theirs]

  def _index(self, start: int) -> list[tuple[str, int]]:
    stop = min(start + _BLOCK, len(self._examples))
    rows = (schema.parse(self._examples[i]) for i in range(start, stop))
    return [(row["image_id"], row["label"]) for row in rows]

  def encoded(self, i: int) -> bytes:
    return schema.parse_image(self._examples[i], self.keys[i])

  def where(self, i: int) -> str:
    return f"{self._folder}:{self.keys[i]}"

  def about(self, i: int) -> Mapping[str, Any]:
    row = schema.parse(self._examples[i])
    return {name: value for name, value in row.items() if name not in ("image", "label")}

  @functools.cached_property
  def digest(self) -> str:
    hashes = [shards.facts(self._folder, i).sha256 for i in shards.published(self._folder)]
    return hashlib.sha256("".join(hashes).encode()).hexdigest()


def _class_ids(folder: Path) -> list[str]:
  features = tfds.builder_from_directory(folder).info.features
  assert isinstance(features, tfds.features.FeaturesDict)
  label = features["label"]
  assert isinstance(label, tfds.features.ClassLabel)
  return label.names


def _check_files(folder: epath.Path, where: str) -> None:
  """The small files against their checksums, and the shards against the manifest by their size."""
  for name in dataset.METADATA:
    if (folder / name).exists():
      checksums.read(folder / name, f"source {where!r}")
  listed = dataset.listed_facts(folder)
  for index in shards.published(folder):
    facts, name = shards.facts(folder, index), shards.shard_name(index)
    shards.check_published(folder, index, facts.count)
    if listed.get(name, facts) != facts:
      raise UserError(
        f"source {where!r}: {folder / name} is not the shard that the manifest lists; --stages verify says what to "
        "remove"
      )


def open_generated(reference: str, rest: str, labels: LabelSpace | None) -> Source:
  found = parse(reference, rest)
  folder = here = found.path
  keep = lists.find(epath.Path(here), records.load(epath.Path(here)))
  if keep:  # keep/<set>/<filter>-<encoder>: of the set that it chose from
    folder = folder.parents[2] / "images" / folder.parent.name
  if not folder.is_dir():
    line = f"source {reference!r}: there is no folder {folder}; fix its path"
    raise UserError(line) if folder.exists() else NotHere(line, reference, f"there is no {folder}")
  if not (folder / "dataset_info.json").is_file():
    raise UserError(
      f"source {reference!r}: {folder} is no whole image set; expected WORKDIR/images/SET or WORKDIR/keep/SET/FILTER-ENCODER"
    )
  source: Source = Generated(folder, labels, reference, mapping_of(found))
  if keep:
    places_of = {key: i for i, key in enumerate(source.keys)}
    kept = keep.ids()
    if lost := [i for i in kept if i not in places_of]:
      raise UserError(
        f"source {reference!r}: {folder} lacks {len(lost)} images of the keep-list, first {lost[0]}"
      )
    source = Part(source, [places_of[i] for i in kept], f"kept by {here.name}")
  if source.labels is not None and (source.labels < 0).any():
    source = Part(source, np.flatnonzero(source.labels >= 0), "mapped")
  return source


def generator_of(rest: str) -> str:
  """The generator that sampled the images of another workdir, as its record has it; "" = not known.

  `rest` is what follows `synthjax:`. The workdir may be gone: an imported set does not need it any more.
  """
  try:
    folder = epath.Path(parse(f"synthjax:{rest}", rest).path)
    if folder.parent.parent.name == "keep":  # WORKDIR/keep/SET/FILTER-ENCODER
      folder = folder.parents[2] / "images" / folder.parent.name
    found = records.load(folder)
  except (UserError, OSError):
    return ""
  return str(found.runtime.get("generator", "")) if found else ""
