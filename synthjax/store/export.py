"""An image set as a source for grain, and a part of it written out as a data set of its own."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Mapping, Sequence

import grain
from etils import epath

from synthjax.disk import checksums, drafts, workdir
from synthjax.store import dataset, shards
from synthjax.store.open_shards import OpenShards

_PER_SHARD = 4096
_BATCH = 64  # examples handed over at once: one by one, grain's threads manage a few thousand a second


class Examples:
  """A set's examples as they lie on disk, serialised; random access by place in plan order, or among `places`."""

  def __init__(self, folder: epath.Path, places: Sequence[int] | None = None):
    indices = shards.published(folder)
    self._starts = [0, *itertools.accumulate(shards.facts(folder, i).count for i in indices)]
    self._shards = OpenShards(lambda i: shards.ShardReader(folder / shards.shard_name(indices[i])))
    self._places = range(self._starts[-1]) if places is None else places

  def __len__(self) -> int:
    return len(self._places)

  def __getitem__(self, index: int) -> bytes:
    place = self._places[index]
    shard = bisect.bisect_right(self._starts, place) - 1
    return self._shards[shard][place - self._starts[shard]]


def write_part(
  folder: epath.Path,
  places: Sequence[int],
  final: epath.Path,
  name: str,
  class_ids: Sequence[str],
  beside: Mapping[str, bytes],
) -> None:
  """The examples at `places`, byte for byte, as a TFDS data set in `final`, in the place of an older one.

  `beside`: further files that appear with it.
  """
  draft = drafts.draft_of(workdir.making(final.parent) / final.name)
  draft.mkdir(parents=True)
  try:
    batches = (
      grain.MapDataset.source(Examples(folder, places))
      .batch(_BATCH, batch_fn=list)
      .to_iter_dataset(grain.ReadOptions(num_threads=4, prefetch_buffer_size=8))
    )
    examples = itertools.chain.from_iterable(batches)
    for index in range(-(-len(places) // _PER_SHARD)):
      writer = shards.ShardWriter(draft, index, draft / f".{shards.shard_name(index)}")
      for example in itertools.islice(examples, _PER_SHARD):
        writer.write(example)
      writer.publish()
    facts = [shards.facts(draft, i) for i in shards.published(draft)]
    dataset.write_tfds_files(draft, name, facts, class_ids)
    for file, data in beside.items():
      checksums.publish(draft / file, data)
    workdir.replace_folder(draft, final)
  finally:
    if draft.exists():
      draft.rmtree()
