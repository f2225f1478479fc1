"""For stage verify: every byte of a keep-list is read, and held against its own scores and the set's plan."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from etils import epath

from synthjax.data.selection import rank
from synthjax.disk import checksums, workdir
from synthjax.filters.choose import Choice
from synthjax.products import keep_files
from synthjax.store import kept as lists
from synthjax.store import schema, shards
from synthjax.store.export import Examples
from synthjax.store.kept import Kept
from synthjax.store.plan import Plan

Array = np.ndarray


Fault = tuple[str, epath.Path]  # what is wrong, and what must be removed so that it is made again


def faults(
  kept: Kept, plan: Plan, class_ids: Sequence[str], choose: Callable[[Array, Array], Choice] | None
) -> list[Fault]:
  """What is wrong with the files of a list. `choose`: what must stay by its scores, where the config is that of the list."""
  found = [(why, path) for path in kept.files() if (why := checksums.fault(path))]
  missing = [path for name in lists.NEEDED if not (path := kept.folder / name).exists()]
  found += [(f"{path} is missing", path) for path in missing if not checksums.is_covered(path)]
  if found:
    return found
  return [(f"{kept.folder}: {why}", kept.folder) for why in _disagreements(kept, plan, class_ids, choose)]


def _disagreements(
  kept: Kept, plan: Plan, class_ids: Sequence[str], choose: Callable[[Array, Array], Choice] | None
) -> Iterator[str]:
  if kept.name and kept.name != lists.name_of(_hashes(kept.folder)):
    yield "its files are not those that it was named for"
  arrays, ids = kept.arrays(), kept.ids()
  judged, labels, stays = arrays["ids"].tolist(), arrays["labels"], arrays["stays"]
  if ids != arrays["ids"][stays].tolist():
    yield "ids.txt does not name the images that scores.npz says stay"
  rows = kept.summary()["classes"]
  if [row["kept"] for row in rows] != np.bincount(labels[stays], minlength=len(class_ids)).tolist():
    yield "summary.json does not count what stays in scores.npz"
  if choose:
    choice = choose(arrays["scores"], labels)
    if not np.array_equal(choice.stays_N, stays):
      yield "other images stay in scores.npz than its scores say"
    elif rows != keep_files.rows(class_ids, choice):
      yield "summary.json does not count what scores.npz holds"
  planned = [image for shard in plan.shards for image in plan.images(shard)]
  place_of = {image.image_id: place for place, image in enumerate(planned)}
  places = np.array([place_of.get(image_id, -1) for image_id in judged], int)
  if (places < 0).any():
    yield f"scores.npz holds {(places < 0).sum()} images that are none of the set's"
  elif (np.diff(places) <= 0).any() or [planned[i].label for i in places] != labels.tolist():
    yield "scores.npz holds the set's images in another order, or under other classes"
  elif kept.name and not np.array_equal([planned[i].sample_index for i in places], rank(labels)):
    yield "scores.npz leaves out some of the first images of a class"


def of_links(folder: epath.Path, kept: Kept) -> Iterator[Fault]:
  link = folder / lists.CURRENT
  if kept.name and os.path.islink(link) and os.readlink(link) != f"{lists.LISTS}/{kept.name}":
    yield f"{link} points at another list than the one that holds, {kept.name}", link


def of_dataset(folder: epath.Path, ids: Callable[[], list[str] | bool]) -> Iterator[Fault]:
  """Of what was kept, written out; `ids`: of the images that it must hold, or that this is not known."""
  damaged = [(why, folder) for path in checksums.files(folder) if (why := checksums.fault(path))]
  damaged += [
    (f"{folder / shards.shard_name(index)} is damaged", folder)
    for index in shards.landed(folder)
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
