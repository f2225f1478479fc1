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
import dataclasses
import functools
import hashlib
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath
from PIL import Image as Picture

from synthjax.data.classes import parse
from synthjax.data.decoding import Unreadable, decode
from synthjax.data.feeding import check_faults, in_threads
from synthjax.data.source import Source
from synthjax.data.sources import open_source
from synthjax.disk import checksums, workdir
from synthjax.disk.documents import is_writable
from synthjax.labels.spaces import LabelSpace
from synthjax.products.image_set import ImageSet
from synthjax.products.product import owner_of, progress_of
from synthjax.runtime.errors import UserError
from synthjax.runtime.stopping import Stop
from synthjax.spec.fields import Import
from synthjax.spec.study import StudySpec
from synthjax.store import dataset, records, schema, shards
from synthjax.store.plan import Image, Plan, Segment, stable_hash

INDEX = "index.jsonl"
_OWN = "synthjax:"  # the scheme of images that another workdir holds
_LEFT_OUT = "left_out.json"
_ENTRY = {"key": str, "class_id": str, "image_id": str, "told": dict}
_ID = re.compile("[0-9a-f]{32}")
_LARGE = 3.4e38  # beyond it a number of 32 bits is inf
_TURN = 0x0112  # EXIF: which way up
# What a source may say about an image, and of which type; the rest is the plan's.
_TOLD = {
  "noise_id": str,
  "prompt": str,
  "prompt_id": str,
  "guidance": float,
  "parent_id": str,
  "strength": float,
}


@dataclasses.dataclass(frozen=True)
class Entry:
  key: str
  class_id: str
  image_id: str
  told: dict[str, Any]


class ImportedPlan(Plan):
  """The images of the index, sample i of every class before sample i + 1 of any."""

  def __init__(
    self,
    entries: Sequence[Entry],
    class_ids: Sequence[str],
    segments: Sequence[Segment],
    images_per_shard: int,
  ):
    super().__init__(
      class_ids, [], segments, images_per_shard=images_per_shard, drawing="", guidance=0.0, seed=0
    )
    of_class: dict[str, list[Entry]] = {c: [] for c in class_ids}
    for entry in entries:
      of_class[entry.class_id].append(entry)
    self._entries = [of_class[c] for c in class_ids]

  def entry(self, image: Image) -> Entry:
    return self._entries[image.label][image.sample_index]

  def _image(self, i: int, label: int, round_: int) -> Image:
    entry = self._entries[label][i]
    empty: dict[str, Any] = dict(noise_id="", prompt="", prompt_id="", guidance=0.0)
    return Image(**empty | entry.told, image_id=entry.image_id, label=label, sample_index=i, round=round_)


class ImportedSet(ImageSet[Import]):
  stage = "import"

  def __init__(self, config: StudySpec, root: epath.Path, name: str, labels: LabelSpace):
    own = config.sets[name]
    assert isinstance(own, Import)
    super().__init__(config, root, name, labels, own)
    if not self._has_index:
      self._source  # noqa: B018  what it names is told before anything is made

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
    return (self.folder / INDEX).exists()

  def _is_ready(self) -> bool:
    return self._has_index

  @functools.cached_property
  def _entries(self) -> list[Entry]:
    data = checksums.read(self.folder / INDEX, self.name)
    with checksums.parsing(self.folder / INDEX, self.name):
      rows = [checksums.shaped(json.loads(line), _ENTRY) for line in data.decode().splitlines()]
      if unknown := {row["class_id"] for row in rows} - set(self.labels.ids):
        raise ValueError(f"no class {sorted(unknown)[0]!r}")
      return [Entry(**row) for row in rows]

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
    return [min(self.asked, n) for n in self._available]

  @property
  def imported_from(self) -> str:
    return self.fields.source

  @property
  def drawn_by(self) -> str:
    """As the record of the workdir that the images are of has it."""
    reference = self.fields.source
    if not reference.startswith(_OWN):
      return ""
    try:
      folder = epath.Path(parse(reference, reference.removeprefix(_OWN)).path)
      if folder.parent.parent.name == "keep":  # WORKDIR/keep/SET/FILTER-ENCODER
        folder = folder.parents[2] / "images" / folder.parent.name
      found = records.load(folder)
    except (UserError, OSError):
      return ""  # it may be gone: the set does not need it any more
    return str(found.runtime.get("generator", "")) if found else ""

  @property
  def note(self) -> str:
    path = self.folder / _LEFT_OUT
    lost = len(checksums.read_json(path, "images left out", list)) if path.exists() else 0
    return f"brought in from {self.fields.source}" + (f", {lost} could not be read" if lost else "")

  def plan(self, segments: list[Segment]) -> ImportedPlan:
    planned = [sum(s.counts[c] for s in segments) for c in range(len(self.labels))]
    with checksums.parsing(self.folder / INDEX, self.name):
      if any(have < want for have, want in zip(self._counts, planned, strict=True)):
        raise ValueError(f"{len(self._entries)} images of {sum(planned)} planned")
    return ImportedPlan(self._entries, self.labels.ids, segments, self.fields.images_per_shard)

  # --- making it ---------------------------------------------------------------------------------

  def make(self, stop: Stop) -> bool:
    records.settle(self.folder, self._record())
    if not self._has_index:
      with owner_of(self.folder, self._runtime) as owner, owner.making(stop):
        if not owner.take("index"):
          return False
        if not self._has_index:
          self._write_index(stop)
    plan = self.plan(dataset.grow(self.folder, self._wanted))
    needed = plan.needed(self.asked)
    have = self._landed(plan, needed)
    if len(have) < needed and not self._bring(plan, needed, have, stop):
      return False
    return self._finish(plan, needed, stop)

  def _write_index(self, stop: Stop) -> None:
    """Every image is decoded once: what cannot be read is known before it is counted on."""
    source, labels = self._source, self._source.labels
    assert labels is not None
    progress = progress_of(f"{self.name}, looking", len(source), 0, self._runtime)
    seen: set[str] = set()
    entries, faults = [], []
    for i, (content, told) in enumerate(progress.counting(in_threads(self._look, range(len(source))))):
      stop.check()
      if isinstance(content, Unreadable):
        faults.append(content)
        continue
      image_id, use = told.pop("image_id", content), 0
      while image_id in seen:  # the same file again is an image of its own, for filters to find
        use += 1
        image_id = _id_of_repeat(content, use)
      seen.add(image_id)
      entries.append(Entry(source.keys[i], self.labels.ids[labels[i]], image_id, told))
    progress.close()
    check_faults(self.name, self.fields.source, faults, len(source), self._runtime.unreadable)
    if not entries:
      raise UserError(f"{self.fields.source}: no image of it can be read")
    left_out = [{"where": str(f.where), "why": f.why} for f in faults]
    checksums.replace(self.folder / _LEFT_OUT, workdir.to_json(left_out))
    rows = [dataclasses.asdict(entry) for entry in entries]
    checksums.publish(self.folder / INDEX, records.to_lines(rows))

  def _look(self, i: int) -> tuple[str | Unreadable, dict[str, Any]]:
    try:
      data = self._source.encoded(i)
      decode(data, self._source.where(i))
    except Unreadable as e:
      return e, {}
    return hashlib.sha256(data).hexdigest()[:32], _told(self._source.about(i))

  def _bring(self, plan: ImportedPlan, needed: int, have: list[int], stop: Stop) -> bool:
    places = {key: i for i, key in enumerate(self._source.keys)}
    serialize = schema.serializer(self.labels.ids)
    done = sum(len(plan.shards[i]) for i in have)
    progress = progress_of(self.name, plan.size(needed), done, self._runtime)
    with owner_of(self.folder, self._runtime) as owner, owner.making(stop):
      for shard in plan.shards[:needed]:
        stop.check()
        name = shards.shard_name(shard.index)
        if shard.index in have or (self.folder / name).exists() or not owner.take(name):
          continue
        if not (self.folder / name).exists():
          images = plan.images(shard)
          entries = [plan.entry(image) for image in images]
          jpegs = in_threads(lambda entry: self._jpeg(places, entry), entries)
          writer = shards.ShardWriter(self.folder, shard.index, owner.scratch(name))
          try:
            for image, jpeg in zip(images, progress.counting(jpegs), strict=True):
              writer.write(serialize(image, jpeg))
          except BaseException:
            writer.drop()
            raise
          writer.publish()
        owner.release(name)
    progress.close()
    return set(range(needed)) <= set(shards.landed(self.folder))

  def _jpeg(self, places: Mapping[str, int], entry: Entry) -> bytes:
    i = places.get(entry.key, -1)
    where = self._source.where(i) if i >= 0 else entry.key
    try:
      data = self._source.encoded(i) if i >= 0 else b""
      if not self._is(entry, data, i):
        raise UserError(
          f"{self.name}: {where} is not the image {entry.image_id} that {self.folder / INDEX} says it is; put it back, "
          f"or remove {self.folder} and run again"
        )
      return as_jpeg(data, where, self.fields.stored_size, self.fields.jpeg_quality)
    except Unreadable as e:
      raise UserError(f"{self.name}: {e}; it could be read when the set was begun: put it back") from None

  def _is(self, entry: Entry, data: bytes, i: int) -> bool:
    """Whether a file has the content that the entry's id was made from; a repeat's counts the uses before it."""
    content = hashlib.sha256(data).hexdigest()[:32]
    if entry.image_id == content or (i >= 0 and entry.image_id == self._source.about(i).get("image_id")):
      return True
    return entry.image_id in (_id_of_repeat(content, use) for use in range(1, len(self._entries)))


def _id_of_repeat(content: str, use: int) -> str:
  return stable_hash("imported", content, use)


def _told(about: Mapping[str, Any]) -> dict[str, Any]:
  """What of it an example has room for."""
  found: dict[str, Any] = {}
  for name, kind in _TOLD.items():
    value = about.get(name)
    if kind is float and isinstance(value, int) and not isinstance(value, bool) and abs(value) < _LARGE:
      value = float(value)
    if isinstance(value, kind) and _is_storable(value):
      found[name] = value
  if isinstance(about.get("image_id"), str) and _ID.fullmatch(about["image_id"]):
    found["image_id"] = about["image_id"]
  return found


def _is_storable(value: Any) -> bool:
  """An example's texts are UTF-8, and its numbers have 32 bits."""
  if isinstance(value, str):
    return is_writable(value)
  return math.isnan(value) or abs(value) < _LARGE


def as_jpeg(data: bytes, where: str, short_side: int, quality: int) -> bytes:
  """The file itself where any JPEG reader sees in it what `decode` sees; raises Unreadable."""
  picture = decode(data, where)
  too_large = bool(short_side) and min(picture.size) > short_side
  if not too_large and data[:2] == b"\xff\xd8" and picture.mode == "RGB" and _orientation(data) == 1:
    return data
  picture = picture.convert("RGB")
  if too_large:
    scale = short_side / min(picture.size)
    width, height = (max(round(n * scale), short_side) for n in picture.size)
    picture = picture.resize((width, height), Picture.Resampling.LANCZOS)
  return schema.encode_jpeg(np.asarray(picture), quality, mark=False)


def _orientation(jpeg: bytes) -> int:
  try:
    with Picture.open(io.BytesIO(jpeg)) as stored:
      return stored.getexif().get(_TURN, 1)
  except Exception:  # noqa: BLE001  broken EXIF turns nothing
    return 1
