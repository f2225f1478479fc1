"""Stage import: images of elsewhere as the image set `images/<set>`, to be filtered, tuned on and compared like our own.

    index.jsonl      every image that can be read: key in the source, class id, image id, what the source says about it
    left_out.json    the others: where, why

The index comes first, by one process; then shards are shared by claims. JPEGs are copied as stored, unless they are
turned by EXIF, hold no RGB (which is what an image set promises its readers), or are larger than asked for; all else is
encoded.

An image id is the hash of the file's content, so that it is the same wherever the file lies; one of our own exports keeps
its ids. `noise_id` is empty, `guidance` 0.
"""

from __future__ import annotations

import collections
import functools
import json
from collections.abc import Mapping
from typing import Self

import numpy as np
from etils import epath

from synthjax.data import generated, importing
from synthjax.data.decoding import Unreadable
from synthjax.data.feeding import check_faults, in_threads
from synthjax.data.importing import Entry, ImportedPlan
from synthjax.data.source import Source
from synthjax.data.sources import open_source
from synthjax.disk import checksums, workdir
from synthjax.labels.spaces import LabelSpace
from synthjax.products.base import Study
from synthjax.products.image_set import ImageSet
from synthjax.runtime import absence
from synthjax.runtime.errors import NotHere, UserError
from synthjax.runtime.stopping import Stop
from synthjax.spec.fields import Import
from synthjax.spec.references import named
from synthjax.spec.study import StudySpec
from synthjax.store import records, schema, shards
from synthjax.store.plan import Plan, Segment

INDEX = "index.jsonl"
_SKIPPED = "left_out.json"
_ENTRY = {"key": str, "class_id": str, "image_id": str, "told": dict}


class ImportedSet(ImageSet[Import]):
  stage = "import"

  def __init__(self, config: StudySpec, root: epath.Path, name: str, labels: LabelSpace):
    own = config.sets[name]
    assert isinstance(own, Import)
    super().__init__(config, root, name, labels, own)
    self._index_seen = False

  @classmethod
  def describes(cls, spec: StudySpec, *key: str) -> bool:
    return isinstance(spec.sets[key[0]], Import)

  @classmethod
  def declare(cls, study: Study, *key: str) -> Self:
    return cls(study.spec, study.root, key[0], study.labels)

  def check(self) -> None:
    """Once it has its index, the source may be gone."""
    if not self._has_index:
      self._source  # noqa: B018

  # --- what is wanted ----------------------------------------------------------------------------

  @functools.cached_property
  def _source(self) -> Source:
    return open_source(self.fields.source, self.labels)

  @functools.cached_property
  def _content(self) -> str:
    """Of the source: once the set is begun the source may be gone, until more of it is asked for."""
    try:
      return self._source.digest
    except UserError:
      if not self._has_index:
        raise
      begun = records.load(self.folder)
      return begun.identity["images"] if begun else ""

  def _record(self) -> records.Record:
    kept = self.fields.identity()
    del kept["source"]
    return records.Record(
      self.name,
      kept | {"images": self._content, "class_ids": self.labels.ids},
      growth={"images_per_class": self.fields.images_per_class},
      runtime={"source": self.fields.source, **self._runtime.to_dict()},
    )

  @property
  def _has_index(self) -> bool:
    self._index_seen = self._index_seen or workdir.is_file(self.folder / INDEX)  # each status asks many times
    return self._index_seen

  def _state(self) -> int:
    try:
      return super()._state()
    except NotHere as e:
      absence.note(e)
      return 0

  def _is_ready(self) -> bool:
    return self._has_index

  @functools.cached_property
  def _entries(self) -> list[Entry]:
    data = checksums.read(self.folder / INDEX, self.name)
    with checksums.parsing(self.folder / INDEX, self.name):
      rows = [checksums.shaped(json.loads(line), _ENTRY) for line in data.decode().splitlines()]
      if unknown := {row["class_id"] for row in rows} - set(self.labels.ids):
        raise ValueError(f"no class {sorted(unknown)[0]!r}")
      return [Entry.from_row(row) for row in rows]

  @functools.cached_property
  def _counts(self) -> list[int]:
    counts = collections.Counter(entry.class_id for entry in self._entries)
    return [counts[c] for c in self.labels.ids]

  @property
  def _available(self) -> list[int]:
    """Of each class; before the index is there, as the source has them."""
    if self._has_index:
      return self._counts
    return np.bincount(np.asarray(self._source.labels), minlength=len(self.labels)).tolist()

  @property
  def asked(self) -> int:
    return self.fields.images_per_class or max(self._available)

  @property
  def _wanted(self) -> list[int]:
    asked, available = self.asked, self._available  # each looks at the disk
    return [min(asked, n) for n in available]

  @property
  def imported_from(self) -> str:
    return self.fields.source

  @property
  def drawn_by(self) -> str:
    """As the record of the workdir that the images are of has it."""
    path = named("synthjax", self.fields.source)
    return generated.generator_of(path) if path else ""

  @property
  def note(self) -> str:
    path = self.folder / _SKIPPED
    lost = len(checksums.read_json(path, "skipped images", list)) if path.exists() else 0
    return f"imported from {self.fields.source}" + (f", {lost} could not be read" if lost else "")

  def plan(self, segments: list[Segment]) -> ImportedPlan:
    planned = [sum(s.counts[c] for s in segments) for c in range(len(self.labels))]
    with checksums.parsing(self.folder / INDEX, self.name):
      if any(have < want for have, want in zip(self._counts, planned, strict=True)):
        raise ValueError(f"{len(self._entries)} images of {sum(planned)} planned")
    return ImportedPlan(self._entries, self.labels.ids, segments, self.fields.images_per_shard)

  # --- making it ---------------------------------------------------------------------------------

  def _begin(self, stop: Stop) -> bool:
    records.settle(self.folder, self._record())
    if not self._has_index:
      with self.claimed("index", stop) as owner:
        if owner is None:
          return False
        if not self._has_index:
          self._write_index(stop)
    return True

  def _write_index(self, stop: Stop) -> None:
    """Every image is decoded once: what cannot be read is known before it is counted on."""
    source, labels = self._source, self._source.labels
    assert labels is not None
    progress = self.progress(len(source), doing=", looking")
    seen: set[str] = set()
    entries, faults = [], []
    for i, (content, metadata) in enumerate(
      progress.counting(in_threads(functools.partial(importing.look, source), range(len(source))))
    ):
      stop.check()
      if isinstance(content, Unreadable):
        faults.append(content)
        continue
      image_id, use = metadata.pop("image_id", content), 0
      while image_id in seen:  # the same file again is an image of its own, for filters to find
        use += 1
        image_id = importing.id_of_repeat(content, use)
      seen.add(image_id)
      entries.append(Entry(source.keys[i], self.labels.ids[labels[i]], image_id, metadata))
    progress.close()
    check_faults(self.name, self.fields.source, faults, len(source), self._runtime.unreadable)
    if not entries:
      raise UserError(f"{self.fields.source}: no image of it can be read")
    skipped = [{"where": str(f.where), "why": f.why} for f in faults]
    checksums.replace(self.folder / _SKIPPED, workdir.to_json(skipped))
    rows = [entry.to_row() for entry in entries]
    checksums.publish(self.folder / INDEX, records.to_lines(rows))

  def _fill(self, plan: Plan, needed: int, have: list[int], stop: Stop) -> bool:
    assert isinstance(plan, ImportedPlan)
    places = {key: i for i, key in enumerate(self._source.keys)}
    serialize = schema.serializer(self.labels.ids)
    done = sum(len(plan.shards[i]) for i in have)
    progress = self.progress(plan.size(needed), done)
    missing = (self.folder / shards.shard_name(i) for i in range(needed) if i not in have)
    with self.owner() as owner, owner.making(stop):
      for file in self.unclaimed(missing, owner, stop):
        index = shards.index_of(file.name)
        images = plan.images(plan.shards[index])
        entries = [plan.entry(image) for image in images]
        jpegs = in_threads(lambda entry: self._jpeg(places, entry), entries)
        writer = shards.ShardWriter(self.folder, index, owner.scratch(file.name))
        try:
          for image, jpeg in zip(images, progress.counting(jpegs), strict=True):
            writer.write(serialize(image, jpeg))
        except BaseException:
          writer.drop()
          raise
        writer.publish()
    progress.close()
    return set(range(needed)) <= set(shards.published(self.folder))

  def _jpeg(self, places: Mapping[str, int], entry: Entry) -> bytes:
    i = places.get(entry.key, -1)
    where = self._source.where(i) if i >= 0 else entry.key
    try:
      data = self._source.encoded(i) if i >= 0 else b""
      if not importing.is_entry(entry, data, self._source.about(i) if i >= 0 else {}, len(self._entries)):
        raise UserError(
          f"{self.name}: {where} is not the image {entry.image_id} that {self.folder / INDEX} says it is; put it back, "
          f"or remove {self.folder} and run again"
        )
      return importing.as_jpeg(data, where, self.fields.stored_size, self.fields.jpeg_quality)
    except Unreadable as e:
      raise UserError(f"{self.name}: {e}; it was readable when the import started: put it back") from None
