"""For stage verify: every byte of a keep-list is read, and held against its own scores and the set's plan."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from etils import epath

from synthjax.data.selection import rank
from synthjax.disk import checksums, workdir
from synthjax.disk.bucket import BucketPath
from synthjax.disk.checksums import Fault
from synthjax.filters.choose import Choice
from synthjax.filters.scored_images import rows
from synthjax.runtime.errors import UserError
from synthjax.store import image_ids, records, schema, shards
from synthjax.store import kept as lists
from synthjax.store.export import Examples
from synthjax.store.kept import Kept
from synthjax.store.kept_dataset import DATASET
from synthjax.store.plan import Plan

Array = np.ndarray
_Choose = Callable[[Array, Array], Choice]  # scores, labels
_Found = tuple[str, epath.Path]  # what is wrong, and what must be removed so that it is made again


@dataclasses.dataclass(frozen=True)
class Expected:
  """What a keep-list must agree with. The functions are called only for a list that is there."""

  class_ids: Sequence[str]
  plan: Callable[[], Plan]  # of the set
  choose: Callable[
    [dict[str, Any]], _Choose | None
  ]  # by a list's summary; None: it was made for another config
  written: Callable[[Kept], Sequence[str] | None]  # ids that its data set must hold; None: not known


def faults(name: str, folder: epath.Path, expected: Expected) -> list[Fault]:
  """What is wrong with the keep-list `name` in `folder`."""
  try:
    return [Fault(why.partition(";")[0], path) for why, path in _faults(name, folder, expected)]
  except UserError as e:
    return [Fault(str(e))]


def _faults(name: str, folder: epath.Path, expected: Expected) -> Iterator[_Found]:
  record = folder / "record.json"
  if why := checksums.fault(record):
    yield why, record
    return
  kept = lists.find(folder, records.load(folder))
  if kept is None:
    raise UserError(f"{name} is missing: there is nothing to verify; run stage keep first")
  found = _of_files(kept)
  choose, plan = None if found else expected.choose(kept.summary()), expected.plan()
  if not found:
    disagreements = _disagreements(kept, plan, expected.class_ids, choose)
    found = [(f"{kept.folder}: {why}", kept.folder) for why in disagreements]
  yield from found
  yield from _of_links(folder, kept)
  if not found and (folder / DATASET).exists():
    yield from _of_dataset(folder / DATASET, lambda: expected.written(kept))


def _of_files(kept: Kept) -> list[_Found]:
  found = [(why, path) for path in kept.files() if (why := checksums.fault(path))]
  missing = [path for name in lists.NEEDED if not (path := kept.folder / name).exists()]
  return found + [(f"{path} is missing", path) for path in missing if not checksums.is_covered(path)]


def _disagreements(kept: Kept, plan: Plan, class_ids: Sequence[str], choose: _Choose | None) -> Iterator[str]:
  if kept.name and kept.name != lists.name_of(_hashes(kept.folder)):
    yield "its files are not those that it was named for"
  arrays, ids = kept.arrays(), kept.ids()
  scored, labels, stays = arrays["ids"].tolist(), arrays["labels"], arrays["stays"]
  if ids != arrays["ids"][stays].tolist():
    yield "ids.txt does not name the images that scores.npz says stay"
  counted = kept.summary()["classes"]
  if [row["kept"] for row in counted] != np.bincount(labels[stays], minlength=len(class_ids)).tolist():
    yield "summary.json does not count what stays in scores.npz"
  if choose:
    choice = choose(arrays["scores"], labels)
    if not np.array_equal(choice.stays_N, stays):
      yield "other images stay in scores.npz than its scores say"
    elif counted != rows(class_ids, choice):
      yield "summary.json does not count what scores.npz holds"
  places = image_ids.places_of(scored, plan.ids(len(plan.shards)))
  if (places < 0).any():
    yield f"scores.npz holds {(places < 0).sum()} images that are none of the set's"
  elif (np.diff(places) <= 0).any() or not np.array_equal(plan.labels()[places], labels):
    yield "scores.npz holds the set's images in another order, or under other classes"
  elif kept.name and not np.array_equal(plan.samples()[places], rank(labels)):
    yield "scores.npz leaves out some of the first images of a class"


def _of_links(folder: epath.Path, kept: Kept) -> Iterator[_Found]:
  link = folder / lists.CURRENT
  if (
    kept.name
    and not isinstance(link, BucketPath)
    and os.path.islink(link)
    and os.readlink(link) != f"{lists.LISTS}/{kept.name}"
  ):
    yield f"{link} points at another list than the one that holds, {kept.name}", link


def _of_dataset(folder: epath.Path, ids: Callable[[], Sequence[str] | None]) -> Iterator[_Found]:
  """Of what was kept, written out; `ids`: of the images that it must hold, or that this is not known."""
  damaged = [(why, folder) for path in checksums.files(folder) if (why := checksums.fault(path))]
  damaged += [
    (f"{folder / shards.shard_name(index)} is damaged", folder)
    for index in shards.published(folder)
    if shards.facts(folder, index) != shards.derive_facts(folder, index)
  ]
  yield from damaged
  if not damaged and (wanted := ids()):
    examples = Examples(folder)
    if [schema.parse(examples[i])["image_id"] for i in range(len(examples))] != wanted:
      yield f"{folder} holds other images than the list names", folder


def _hashes(folder: epath.Path) -> dict[str, str]:
  names = [name for name in workdir.names(folder) if name != checksums.FOLDER and not name.startswith(".")]
  return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
