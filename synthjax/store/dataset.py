"""An image set as a whole: its segments, the files that make it a TFDS data set, and how it is read back."""

from __future__ import annotations

import dataclasses
import functools
import shutil
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import tensorflow_datasets as tfds
from etils import epath
from tensorflow_datasets.core import file_adapters, naming

from synthjax.disk import checksums, drafts, snapshot, workdir
from synthjax.disk.checksums import Fault
from synthjax.labels.spaces import LabelSpace
from synthjax.runtime.errors import UserError
from synthjax.store import schema, shards
from synthjax.store.plan import Plan, Segment, Shard

SEGMENTS = "segments"
VERSION = "1.0.0"
MANIFEST, INFO = "manifest.json", "dataset_info.json"
METADATA = (
  MANIFEST,
  INFO,
  "features.json",
  "label.labels.txt",
)  # derived from the plan and the shards' facts
_TEMPLATE = "{SPLIT}.{FILEFORMAT}-{SHARD_INDEX}"  # no total: a set grows without renaming


# --- segments: how the set has grown -------------------------------------------------------------


def segments(folder: epath.Path) -> list[Segment]:
  found, names = [], workdir.names(folder / SEGMENTS, "*.json")
  if names != [_segment_name(i) for i in range(len(names))]:
    raise UserError(
      f"{folder / SEGMENTS} has gaps in its numbers; put the missing file back, or remove {folder}"
    )
  for name in names:
    body = checksums.read_json(folder / SEGMENTS / name, "segment", {"counts": [int], "round": int})
    with checksums.parsing(folder / SEGMENTS / name, "segment"):
      asked_by = checksums.shaped(body.get("asked_by", ""), str)
    found.append(Segment(tuple(body["counts"]), body["round"], asked_by))
  return found


def grown(have: Sequence[Segment], wanted: Sequence[int]) -> list[Segment]:
  """The segments with one more where some class has fewer images than wanted of it. A set never shrinks."""
  more = tuple(max(n - sum(s.counts[c] for s in have), 0) for c, n in enumerate(wanted))
  return [*have, Segment(more)] if any(more) else list(have)


def grow(folder: epath.Path, wanted: Sequence[int]) -> list[Segment]:
  """Writes down the growth; of several processes one does, and the others take it over."""
  while True:
    have = segments(folder)
    new = grown(have, wanted)
    if len(new) == len(have):
      return new
    name = add_segment(folder, len(have), new[-1])
    if name not in workdir.names(folder / SEGMENTS) or len(segments(folder)) <= len(have):
      raise UserError(
        f"{folder / SEGMENTS} has gaps in its numbers; put the missing file back, or remove {folder}"
      )


def add_segment(folder: epath.Path, index: int, segment: Segment) -> str:
  """Writes a segment down under its number, unless another process has; the file's name."""
  (folder / SEGMENTS).mkdir(parents=True, exist_ok=True)
  name = _segment_name(index)
  checksums.publish(folder / SEGMENTS / name, workdir.to_json(segment.to_json()))
  return name


def _segment_name(index: int) -> str:
  return f"{index:05d}.json"


# --- the whole set -------------------------------------------------------------------------------


def write_metadata(folder: epath.Path, name: str, plan: Plan, n_shards: int, labels: LabelSpace) -> None:
  """features.json, dataset_info.json and manifest.json of the first so many shards.

  Every process may write them: they come out the same.
  """
  with snapshot.one_look():  # of a bucket, one listing for all
    facts = [shards.facts(folder, shard.index) for shard in plan.shards[:n_shards]]
  write_tfds_files(folder, name, facts, labels.ids)
  manifest = {
    "images": plan.size(n_shards),
    "segments": [s.to_json() for s in plan.segments],
    "classes": [
      {"id": i, "name": n, "images": count}
      for i, n, count in zip(labels.ids, labels.names, plan.counts(n_shards), strict=True)
    ],
    "shards": [{"name": shards.shard_name(i), **dataclasses.asdict(f)} for i, f in enumerate(facts)],
  }
  checksums.replace(folder / MANIFEST, workdir.to_json(manifest))


def listed(folder: epath.Path) -> int:
  """Images that the metadata list; 0 where they are damaged or do not agree, and must be written again."""
  return _listed(folder, *(workdir.stamp(folder / name) for name in (MANIFEST, INFO)))


@functools.lru_cache(maxsize=64)  # every status asks, and of thousands of shards they take long to parse
def _listed(folder: epath.Path, *stamps: workdir.Stamp | None) -> int:
  del stamps  # others are other files
  try:
    manifest = checksums.read_json(folder / MANIFEST, "manifest", {"images": int})
    splits = checksums.read_json(folder / INFO, "data set info", dict).get("splits", [])
    lengths = sum(int(n) for s in splits for n in s["shardLengths"])
    return manifest["images"] if manifest["images"] == lengths else 0
  except (UserError, KeyError, TypeError, ValueError, AttributeError):
    return 0


def listed_facts(folder: epath.Path) -> dict[str, shards.Facts]:
  """Of each shard by its name, as the manifest has them; what is part of another set has no manifest."""
  if not workdir.is_file(folder / MANIFEST):
    return {}
  each = {"name": str, "count": int, "bytes": int, "sha256": str}
  rows = checksums.read_json(folder / MANIFEST, "manifest", {"shards": [each]})["shards"]
  return {row["name"]: shards.Facts(row["count"], row["bytes"], row["sha256"]) for row in rows}


def write_tfds_files(
  folder: epath.Path, name: str, facts: Sequence[shards.Facts], class_ids: Sequence[str]
) -> None:
  """What makes the shards of a folder a TFDS data set."""
  split = tfds.core.SplitInfo(
    name=shards.SPLIT,
    shard_lengths=[f.count for f in facts],
    num_bytes=sum(f.bytes for f in facts),
    filename_template=naming.ShardedFileTemplate(
      data_dir=folder,
      dataset_name=_dataset_name(name),
      filetype_suffix="array_record",
      split=shards.SPLIT,
      template=_TEMPLATE,
    ),
  )
  info = tfds.core.DatasetInfo(
    builder=tfds.core.DatasetIdentity(
      name=_dataset_name(name),
      version=tfds.core.Version(VERSION),
      data_dir=str(folder),
      module_name="synthjax",
    ),
    features=schema.features(class_ids),
    description=f"Image set {name}; where its images come from stands in record.json.",
  )
  info.set_file_format(file_adapters.FileFormat.ARRAY_RECORD)
  info.set_splits(tfds.core.SplitDict([split]))
  # TFDS writes its files in place; ours appear whole.
  draft = drafts.draft_of(workdir.making(folder) / "metadata")
  draft.mkdir()
  try:
    info.write_to_directory(draft)
    for file in sorted(draft.iterdir()):
      checksums.replace(folder / file.name, file.read_bytes())
  finally:
    shutil.rmtree(draft, ignore_errors=True)


def _dataset_name(name: str) -> str:
  """TFDS wants an identifier; the set's own name is the folder's."""
  return "set_" + "".join(c if c.isalnum() else "_" for c in name).lower()


def read_shard(folder: epath.Path, index: int, labels: LabelSpace) -> Iterator[dict[str, Any]]:
  """The examples of one shard, the image as its JPEG bytes: also of a set that is still being drawn."""
  features = schema.features(labels.ids)
  skip = {"image": tfds.decode.SkipDecoding()}
  for record in shards.ShardReader(folder / shards.shard_name(index)):
    example = features.deserialize_example_np(record, decoders=skip)
    assert isinstance(example, dict)
    yield example


# --- verification --------------------------------------------------------------------------------


def check_ids(folder: epath.Path, index: int, found: Sequence[str], planned: Sequence[str]) -> None:
  """A shard that lies where another belongs is whole in itself: what is read of it must be what was planned."""
  if list(found) != list(planned):
    raise UserError(
      f"shard {folder / shards.shard_name(index)} does not hold the images that were planned for it; remove it and "
      f"{shards.FACTS}/{shards.shard_name(index)}.json and run again: its images will be the same"
    )


def faults(folder: epath.Path, plan: Plan, planned: Iterable[Shard], needed: int) -> Iterator[Fault]:
  """What is wrong with each shard, from reading every byte: hashes, counts, ids and labels against the plan.

  Shards beyond the first `needed` may be there or not; what is there must be right.
  """
  try:
    manifest = listed_facts(folder)
  except (UserError, KeyError, TypeError, ValueError):
    manifest = {}  # it is damaged, which is said of the file itself
  for shard in planned:
    name, index = shards.shard_name(shard.index), shard.index
    if not workdir.is_file(folder / name):
      if index < needed:
        yield shards.fault_of(folder, index, "missing")
    elif why := shards.fault(folder, index) or _fault(folder, plan, index, manifest.get(name)):
      yield shards.fault_of(folder, index, why)
    elif not workdir.is_file(shards.facts_file(folder, index)):
      yield Fault(f"{shards.facts_file(folder, index)} is missing", shards.facts_file(folder, index))


def _fault(folder: epath.Path, plan: Plan, index: int, listed: shards.Facts | None) -> str:
  expected = plan.images(plan.shards[index])
  try:
    reader = shards.ShardReader(folder / shards.shard_name(index))
    if len(reader) != len(expected):
      return f"holds {len(reader)} images, {len(expected)} planned"
    for i, (record, image) in enumerate(zip(reader, expected, strict=True)):
      row = schema.parse(record)
      for field, value in dataclasses.asdict(image).items():
        have = row[field]
        if have != value and not (isinstance(value, float) and abs(have - value) <= 1e-6 * abs(value)):
          return f"image {i} has {field} {have!r}, planned {value!r}"
  except UserError as e:
    return str(e)
  has_facts = workdir.is_file(shards.facts_file(folder, index))  # which are right
  found = shards.facts(folder, index) if has_facts else shards.derive_facts(folder, index)
  return f"is {found}, and the manifest says {listed}" if listed and listed != found else ""
