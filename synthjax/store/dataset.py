"""An image set as a whole: its segments, the files that make it a TFDS data set, and how it is read back."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from etils import epath
from tensorflow_datasets.core import file_adapters, naming

from synthjax import workdir
from synthjax.errors import UserError
from synthjax.labels.spaces import LabelSpace
from synthjax.sampling.plan import Plan, Segment
from synthjax.store import schema, shards

SEGMENTS = "segments"
VERSION = "1.0.0"
_TEMPLATE = "{SPLIT}.{FILEFORMAT}-{SHARD_INDEX}"  # no total: a set grows without renaming


# --- segments: how the set has grown -------------------------------------------------------------


def segments(folder: epath.Path) -> list[Segment]:
  found = []
  for name in workdir.names(folder / SEGMENTS, "*.json"):
    body = workdir.read_json(folder / SEGMENTS / name, "segment")
    found.append(Segment(tuple(body["counts"]), body["round"], body.get("asked_by", "")))
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
  name = f"{index:05d}.json"
  workdir.publish_bytes(folder / SEGMENTS / name, workdir.to_json(segment.to_json()))
  return name


# --- the whole set -------------------------------------------------------------------------------


def write_metadata(folder: epath.Path, name: str, plan: Plan, n_shards: int, labels: LabelSpace) -> None:
  """features.json, dataset_info.json and manifest.json of the first so many shards.

  Every process may write them: they come out the same.
  """
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
  workdir.replace_bytes(folder / "manifest.json", workdir.to_json(manifest))


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
  with tempfile.TemporaryDirectory() as draft:  # TFDS writes its files in place; ours appear whole
    info.write_to_directory(draft)
    for file in sorted(Path(draft).iterdir()):
      workdir.replace_bytes(folder / file.name, file.read_bytes())


def _dataset_name(name: str) -> str:
  """TFDS wants an identifier; the set's own name is the folder's."""
  return "set_" + "".join(c if c.isalnum() else "_" for c in name).lower()


def read_shard(folder: epath.Path, index: int, labels: LabelSpace) -> Iterator[dict[str, Any]]:
  """The examples of one shard, the image as its JPEG bytes: also of a set that is still being drawn."""
  features = schema.features(labels.ids)
  skip = {"image": tfds.decode.SkipDecoding()}
  for record in shards.ShardReader(folder / shards.shard_name(index)):
    yield features.deserialize_example_np(record, decoders=skip)


# --- verification --------------------------------------------------------------------------------


def faults(folder: epath.Path, plan: Plan, needed: int, labels: LabelSpace) -> Iterator[tuple[int, str]]:
  """(shard, what is wrong with it), from reading every byte: hashes, counts, ids and labels against the plan.

  Shards beyond the first `needed` may be there or not; what is there must be right.
  """
  for shard in plan.shards:
    if not (folder / shards.shard_name(shard.index)).exists():
      if shard.index < needed:
        yield shard.index, "missing"
      continue
    try:
      why = _fault(folder, plan, labels, shard.index)
    except UserError as e:
      why = str(e)
    if why:
      yield shard.index, why


def _fault(folder: epath.Path, plan: Plan, labels: LabelSpace, index: int) -> str:
  known, found = shards.facts(folder, index), shards.derive_facts(folder, index)
  if known != found:
    return f"was {known}, is {found}"
  expected = plan.images(plan.shards[index])
  if found.count != len(expected):
    return f"holds {found.count} images, {len(expected)} planned"
  for i, (row, image) in enumerate(zip(read_shard(folder, index, labels), expected, strict=True)):
    for field, value in dataclasses.asdict(image).items():
      have = row[field].decode() if isinstance(row[field], bytes) else row[field]
      if have != value and not (isinstance(value, float) and abs(have - value) <= 1e-6 * abs(value)):
        return f"image {i} has {field} {have!r}, planned {value!r}"
  return ""
