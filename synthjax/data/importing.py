"""What an import takes over of a source: which images, what it says about them, and their files as JPEG.

An image id is the hash of the file's content, so that it is the same wherever the file lies; one of our own exports keeps
its ids. `noise_id` is empty, `guidance` 0.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image as Picture

from synthjax.data.decoding import Unreadable, decode
from synthjax.data.source import Source
from synthjax.disk.documents import is_writable
from synthjax.store import image_ids, schema
from synthjax.store.image_ids import PackedIds
from synthjax.store.plan import Image, Plan, Segment, Shard, stable_hash

_ID = re.compile("[0-9a-f]{32}")
_LARGE = 3.4e38  # beyond it a number of 32 bits is inf
_TURN = 0x0112  # EXIF: which way up
# What a source may say about an image, and of which type; the rest is the plan's.
_METADATA = {
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
  metadata: dict[str, Any]  # of the source; called "told" in the index

  @classmethod
  def from_row(cls, row: Mapping[str, Any]) -> Entry:
    return cls(row["key"], row["class_id"], row["image_id"], row["told"])

  def to_row(self) -> dict[str, Any]:
    return dict(key=self.key, class_id=self.class_id, image_id=self.image_id, told=self.metadata)


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

  def ids(self, n_shards: int) -> PackedIds:
    """The entries' own, which a source may have chosen."""
    return self._ids[: self.size(n_shards)]

  def shard_ids(self, shard: Shard) -> PackedIds:
    stop = self.ends[shard.index]
    return self._ids[stop - len(shard) : stop]

  @functools.cached_property
  def _ids(self) -> PackedIds:
    rows = zip(self.samples().tolist(), self.labels().tolist(), strict=True)
    return image_ids.packed(self._entries[label][i].image_id for i, label in rows)

  def entry(self, image: Image) -> Entry:
    return self._entries[image.label][image.sample_index]

  def _image(self, i: int, label: int, round_: int) -> Image:
    entry = self._entries[label][i]
    empty: dict[str, Any] = dict(noise_id="", prompt="", prompt_id="", guidance=0.0)
    return Image(**empty | entry.metadata, image_id=entry.image_id, label=label, sample_index=i, round=round_)


def look(source: Source, i: int) -> tuple[str | Unreadable, dict[str, Any]]:
  """(the hash of its content, what the source says about it) of an image that can be decoded; else why it cannot."""
  try:
    data = source.encoded(i)
    decode(data, source.where(i))
  except Unreadable as e:
    return e, {}
  return content_hash(data), metadata(source.about(i))


def content_hash(data: bytes) -> str:
  return hashlib.sha256(data).hexdigest()[:32]


def is_entry(entry: Entry, data: bytes, about: Mapping[str, Any], entries: int) -> bool:
  """Whether a file has the content that the entry's id was made from; a repeat's counts the uses before it."""
  content = content_hash(data)
  if entry.image_id == content or (about and entry.image_id == about.get("image_id")):
    return True
  return entry.image_id in (id_of_repeat(content, use) for use in range(1, entries))


def id_of_repeat(content: str, use: int) -> str:
  return stable_hash("imported", content, use)


def metadata(about: Mapping[str, Any]) -> dict[str, Any]:
  """What of it an example has room for."""
  found: dict[str, Any] = {}
  for name, kind in _METADATA.items():
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
