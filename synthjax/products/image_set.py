"""An image set on disk, however its images come about: sampled (sampled_set.py) or imported (imported_set.py)."""

from __future__ import annotations

import abc
import dataclasses
import functools
import itertools
import sys
import weakref
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

from etils import epath

from synthjax.data.set_images import SetImages
from synthjax.disk import checksums, snapshot, workdir
from synthjax.disk.checksums import Fault
from synthjax.labels.spaces import LabelSpace
from synthjax.pages import contact_sheet
from synthjax.pages.inputs import About, Asked, Images, Picture
from synthjax.products.base import DONE, MISSING, STALE, Product, Status
from synthjax.runtime.errors import UserError
from synthjax.runtime.stopping import Stop
from synthjax.spec.fields import Import, Sampling
from synthjax.spec.study import StudySpec
from synthjax.store import dataset, records, shards
from synthjax.store.plan import Plan, Segment

SHEET = "contact_sheet.png"
# Of this process, by (folder, identity, segments), for as long as anything reads the set.
_PLANS: weakref.WeakValueDictionary[tuple[epath.Path, str, tuple[Segment, ...]], Plan] = (
  weakref.WeakValueDictionary()
)
_SHEET_COLUMNS = 8


Fields = TypeVar("Fields", bound=Sampling | Import, covariant=True)


class ImageSet(Product, Generic[Fields]):
  """What filters, arms and pages see of a set. Its plan says which images it holds; its segments, how it has grown."""

  draws_more = False  # whether a filter may ask for more images than there are

  def __init__(self, config: StudySpec, root: epath.Path, name: str, labels: LabelSpace, fields: Fields):
    self.name, self._folder = f"images/{name}", root / "images" / name
    self.set_name, self.fields, self.labels = name, fields, labels
    self._root, self._runtime = root, config.runtime
    # A status looks at it.
    self._requested_plan: tuple[Plan, int, int] | None = None
    self._last_source: tuple[tuple[Plan, int], SetImages] | None = None
    self._filters_need = 0
    self._bytes: dict[int, int] = {}  # of the shards that were found unchanged, which is looked at once

  @classmethod
  def wanted(cls, spec: StudySpec) -> Iterable[tuple[str, ...]]:
    return ((name,) for name in spec.sets if cls.describes(spec, name))

  @abc.abstractmethod
  def _record(self) -> records.Record: ...

  @abc.abstractmethod
  def plan(self, segments: list[Segment]) -> Plan: ...

  @property
  @abc.abstractmethod
  def asked(self) -> int:
    """Images a class that the config asks for; top-ups come on top."""

  @property
  def target(self) -> int:
    """Images a class that must be there: a filter may need more of those that were once asked for than the config does."""
    return max(self.asked, self._filters_need)

  def need(self, per_class: int) -> bool:
    """Of samples that are planned already; True: that is more than was needed until now."""
    more = per_class > self.target
    self._filters_need = max(self._filters_need, per_class)
    return more

  @property
  @abc.abstractmethod
  def _wanted(self) -> list[int]:
    """How many of each class that makes: a class may have fewer to give."""

  @abc.abstractmethod
  def _is_ready(self) -> bool:
    """Whether it is known which images these are."""

  @property
  def kind(self) -> str:
    """What its images are, whatever the set is called."""
    return f"set {self.set_name}"

  @property
  def seconds_each(self) -> float:
    """Of a device, to make an image, over all that were; 0 = not known."""
    return 0.0

  @property
  @abc.abstractmethod
  def note(self) -> str:
    """For the page, beside the number of images."""

  @abc.abstractmethod
  def _begin(self, stop: Stop) -> bool:
    """Its record, and all that its plan is made from. False: another process is at it."""

  @abc.abstractmethod
  def _fill(self, plan: Plan, needed: int, have: list[int], stop: Stop) -> bool:
    """The first so many shards, of which some are there. True: they all are."""

  def make(self, stop: Stop) -> bool:
    if not self._begin(stop):
      return False
    plan = self.plan(dataset.grow(self.folder, self._wanted))
    needed = plan.needed(self.target)
    have = self._published(plan, needed)
    missing = [shards.shard_name(i) for i in sorted(set(range(needed)).difference(have))]
    if missing and not (self.is_any_free(missing) and self._fill(plan, needed, have, stop)):
      return False
    return self._finish(plan, needed, stop)

  def flops_each(self) -> float:
    """To make an image; 0 = not known, as where the generator is not here."""
    return 0.0

  def _images_a_second(self) -> float:
    """As measured on devices like these; 0 = not known."""
    return 0.0

  def _bytes_each(self) -> float:
    """A guess, where none is there yet."""
    return 20_000.0

  # --- what is there -----------------------------------------------------------------------------

  def requested(self) -> tuple[Plan, int]:
    """(the plan of the images requested so far, how many of its shards are needed). Only once the set exists."""
    have = snapshot.once((self, "segments"), functools.partial(dataset.segments, self.folder))
    segments, target = tuple(dataset.grown(have, self._wanted)), self.target
    last = self._requested_plan
    if last is None or last[0].segments != segments:
      last = self._shared_plan(segments, last[0] if last else None), 0, -1
    if last[2] != target:
      last = last[0], last[0].needed(target), target
    self._requested_plan = last
    return last[:2]

  def _shared_plan(self, segments: tuple[Segment, ...], earlier: Plan | None) -> Plan:
    """That of another study of this process which has the same set, if one does; else `earlier`, grown."""
    key = self.folder, self.identity_hash(), segments
    if (found := _PLANS.get(key)) is None:
      found = self.plan(list(segments))
      if earlier:
        found.share_ids(earlier)
      found = _PLANS.setdefault(key, found)
    return found

  def sizes(self) -> list[int]:
    """How many images were needed after each growth, up to now."""
    plan = self.requested()[0]
    return [plan.size(plan.needed(self.asked, n)) for n in range(1, len(plan.segments) + 1)]

  def identity_hash(self) -> str:
    """What depends on the set records this: growth does not change it."""
    return self._record().hash

  def read_shard(self, index: int) -> Iterator[dict[str, Any]]:
    return dataset.read_shard(self.folder, index, self.labels)

  def as_source(self) -> SetImages:
    """All that was asked for, in plan order. What learns from the set shares it, and the shards that it holds."""
    plan, needed = self.requested()
    if self._last_source is None or self._last_source[0] != (plan, needed):
      self._last_source = (plan, needed), self._source_of(plan, needed)
    return self._last_source[1]

  def _source_of(self, plan: Plan, needed: int) -> SetImages:
    return SetImages(self.name, plan.labels(needed), plan.ids(needed), self._open_shard, plan.ends[:needed])

  def _open_shard(self, index: int) -> Sequence[bytes]:
    return shards.ShardReader(self.folder / shards.shard_name(index))

  def top_up(self, counts: Sequence[int], have: int, asked_by: str) -> None:
    """A further round: so many more of each class, as segment number `have`, unless another process was first."""
    dataset.add_segment(self.folder, have, Segment(tuple(counts), have, asked_by))

  def _state(self) -> int:
    return self.target

  def _status(self) -> Status:
    if not self._is_ready() or records.compare(self.folder, self._record()) is None:
      return self._status_of_none()
    plan, needed = self.requested()
    total, have = plan.size(needed), self._published(plan, needed)
    images = sum(len(plan.shards[i]) for i in have)
    complete, listed = self._has_metadata(), dataset.listed(self.folder)
    whole = complete and len(have) == needed and listed >= total
    state = DONE if whole else STALE if listed or (images and not complete) else MISSING
    return self._status_of(state, have, images, total, total - images, needed)

  def _status_of_none(self) -> Status:
    total = sum(self._wanted)
    return self._status_of(MISSING, [], 0, total, total)

  def _published(self, plan: Plan, needed: int) -> list[int]:
    """The needed shards that are there, each unchanged since it was published."""
    have = [i for i in shards.published(self.folder) if i < needed]
    if unknown := [i for i in have if i not in self._bytes]:
      facts = self._listed_facts()
      for i in unknown:
        known = facts.get(shards.shard_name(i))
        self._bytes[i] = shards.check_published(self.folder, i, len(plan.shards[i]), known)
    return have

  def _listed_facts(self) -> dict[str, shards.Facts]:
    """Of the shards whose own facts are there too: where these are missing they are derived."""
    try:
      listed = dataset.listed_facts(self.folder)
    except UserError:
      return {}  # it is damaged, and is written again
    there = set(workdir.names(self.folder / shards.FACTS))
    return {name: facts for name, facts in listed.items() if f"{name}.json" in there}

  def _status_of(
    self, state: str, have: list[int], images: int, total: int, left: int, planned: int = 0
  ) -> Status:
    planned = planned or -(-total // self.fields.images_per_shard)
    on_disk = sum(self._bytes[i] for i in have)
    each = on_disk / images if images else self._bytes_each()
    flops = self.flops_each
    return Status(
      state,
      images,
      total,
      "images",
      f"{len(have)}/{planned}",
      on_disk + each * left,
      lambda: left * flops() if left else 0.0,
      lambda: left / rate if left and (rate := self._images_a_second()) else 0.0,
      lambda: self._images_a_second() * flops() if images else 0.0,
    )

  @property
  def _derived(self) -> list[epath.Path]:
    """What is written again from the shards where it is missing or damaged."""
    return [self.folder / name for name in (*dataset.METADATA, SHEET)]

  def _has_metadata(self) -> bool:
    return all(path.exists() for path in self._derived)

  def faults(self) -> list[Fault]:
    found = [
      Fault(why, path)
      for path in checksums.files(self.folder)
      if not shards.is_shard(path.name) and path.parent.name != shards.FACTS
      if (why := checksums.fault(path))
    ]
    records.compare(self.folder, self._record())
    if not dataset.segments(self.folder):
      return found  # begun, and not a shard of it planned
    plan, needed = self.requested()
    progress = self.progress(len(plan.shards), doing=", reading", unit="shards")
    return [*found, *dataset.faults(self.folder, plan, progress.counting(plan.shards), needed)]

  def _finish(self, plan: Plan, needed: int, stop: Stop) -> bool:
    """What is derived from the shards, by one process at a time: another may have asked for more, or for less."""
    with self.claimed("metadata", stop) as owner:
      if owner is None:
        return False
      damaged = [path for path in self._derived if path.exists() and checksums.fault(path)]
      for path in damaged:
        print(f"{self.name}: {path.name} is damaged, and is written again", file=sys.stderr)
      if damaged or not self._has_metadata() or dataset.listed(self.folder) < plan.size(needed):
        self._write_sheet()
        stop.look()
        dataset.write_metadata(self.folder, self.set_name, plan, needed, self.labels)
      records.update(self.folder, self._record())
    return True

  def first(self, n: int) -> list[dict[str, Any]]:
    """The first n images of each class among those that are there, in plan order; fewer where there are fewer."""
    rows, left = [], [n] * len(self.labels)
    places = itertools.islice(
      (row for i in shards.published(self.folder) for row in self.read_shard(i)), n * len(self.labels)
    )
    for row in places:  # sample by sample of all classes: further back there are none of the first n
      if left[row["label"]]:
        left[row["label"]] -= 1
        rows.append(row)
    return rows

  def _write_sheet(self) -> None:
    columns = min(_SHEET_COLUMNS, max(self._wanted))
    rows: list[list[bytes]] = [[] for _ in self.labels.ids]
    for row in self.first(columns):
      rows[row["label"]].append(row["image"])
    named = [(f"{i}  {n}", r) for i, n, r in zip(self.labels.ids, self.labels.names, rows, strict=True)]
    title = f"{self.set_name}: the first {columns} images of each class, {self.note}"
    checksums.replace(self.folder / SHEET, contact_sheet.render(named, title))

  # --- for pages and cards -------------------------------------------------------------------------

  @property
  def drawn_by(self) -> str:
    """The generator, as the config has it; "" = not known."""
    return ""

  @property
  def imported_from(self) -> str:
    """The source, as the config has it; "" = drawn here."""
    return ""

  @property
  def written_by(self) -> str:
    """Who wrote its prompts, where a page must say so: `LE: words`."""
    return ""

  @property
  def has_parents(self) -> bool:
    """Whether its images began as real ones. Known once some are there."""
    return False

  def _parents_as_png(self, ids: Collection[str]) -> Mapping[str, bytes]:
    del ids
    return {}

  def record_of_prompts(self) -> dict[str, Any] | None:
    """What is recorded of the prompt list; None: there is none."""
    return None

  def about(self, asked: Asked | None = None) -> About:
    unread = Images(
      self.set_name, self.labels.ids, self.drawn_by, self.imported_from, written_by=self.written_by
    )
    have = self.status().have if asked else 0
    if not asked or not have:
      return About(images=unread)
    read = dataclasses.replace(
      unread,
      have=have,
      note=self.note,
      seconds_each=self.seconds_each,
      has_parents=self.has_parents,
      first=tuple(map(_picture, self.first(asked.images))) if asked.images else (),
      parents=self._parents_as_png(asked.parents) if asked.parents else {},
    )
    return About(images=read)


def _picture(row: Mapping[str, Any]) -> Picture:
  return Picture(
    label=int(row["label"]),
    image_id=row["image_id"].decode(),
    prompt=row["prompt"].decode(),
    jpeg=row["image"],
    parent_id=row["parent_id"].decode(),
    strength=float(row["strength"]),
  )
