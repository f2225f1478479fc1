"""The sampling loop: claim shards, sample their images in full batches, encode and write them meanwhile.

Three workers, joined by a short queue: this thread keeps two batches dispatched to the devices, so that they never
wait for the host; the writer thread turns finished batches into records and publishes shards; a pool encodes JPEGs.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import queue
import threading
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from etils import epath

from synthjax.runtime import devices
from synthjax.runtime.progress import Progress
from synthjax.runtime.stopping import Stop
from synthjax.sampling.program import Samples
from synthjax.store.claims import Owner
from synthjax.store.plan import Image, Plan, Shard
from synthjax.store.shards import ShardWriter, published, shard_name

Encode = Callable[[np.ndarray], bytes]
Serialize = Callable[[Image, bytes], bytes]
_QUEUED = 2  # batches between the devices and the writer


@dataclasses.dataclass(frozen=True)
class Sink:
  """How pixels become records, and where they go."""

  folder: epath.Path
  encode: Encode
  serialize: Serialize
  threads: int = 0  # 0 = one a core, at most 8


def encode_threads(sink: Sink) -> int:
  return sink.threads or devices.threads()


def sample(
  plan: Plan, needed: int, program: Samples, sink: Sink, owner: Owner, progress: Progress, stop: Stop
) -> bool:
  """Samples what nobody else has or holds of the plan's first `needed` shards. True: all are published, by whomever.

  A stop asked for ends it early; what is in hand is finished if the grace time allows, else dropped.
  """
  writer = _Writer(sink, owner, progress)
  in_flight: collections.deque[tuple[list[_Item], object]] = collections.deque()
  try:
    for batch in _batches(_items(plan, needed, owner, progress, stop), program.batch_size):
      in_flight.append((batch, program.sample([item.image for item in batch])))
      if len(in_flight) == 2:
        writer.put(*in_flight.popleft())
    while in_flight:
      writer.put(*in_flight.popleft())
    writer.finish()
  except BaseException:
    writer.abandon()
    raise
  return set(range(needed)) <= set(published(sink.folder))


@dataclasses.dataclass(frozen=True)
class _Item:
  shard: Shard
  image: Image


def _items(plan: Plan, needed: int, owner: Owner, progress: Progress, stop: Stop) -> Iterator[_Item]:
  """The images of one claimed shard after another. A shard is claimed when its first image is asked for."""
  wanted = {shard_name(shard.index): shard for shard in plan.shards[:needed]}

  def listed(there: Collection[str]) -> None:
    progress.seen(sum(len(shard) for name, shard in wanted.items() if name in there))

  for name in owner.share(list(wanted), listed):
    if stop.requested:
      return
    shard = wanted[name]
    for i, image in enumerate(plan.images(shard)):
      if stop.requested and not _fits(len(shard) - i, progress, stop):
        return
      yield _Item(shard, image)


def _fits(images: int, progress: Progress, stop: Stop) -> bool:
  """Whether so many images can be sampled before the grace time is over, at the speed seen so far."""
  return images <= 0.8 * progress.rate * max(stop.seconds_left, 0)


def _batches(items: Iterator[_Item], size: int) -> Iterator[list[_Item]]:
  """A batch may span shards, so only the very last one is short."""
  while batch := list(itertools.islice(items, size)):
    yield batch


class _Writer:
  """Finished batches to published shards, in a thread of its own. Its first error is raised where batches come from."""

  def __init__(self, sink: Sink, owner: Owner, progress: Progress):
    self._sink, self._owner, self._progress = sink, owner, progress
    self._open: dict[int, ShardWriter] = {}
    self._error: BaseException | None = None
    self._batches: queue.Queue = queue.Queue(maxsize=_QUEUED)
    self._pool = ThreadPoolExecutor(encode_threads(sink), thread_name_prefix="jpeg")
    self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
    self._thread.start()

  def put(self, items: list[_Item], pixels: object) -> None:
    ready = np.asarray(pixels)  # waits for the devices, which have the next batch already
    self._raise()
    with self._progress.waiting():  # only here may the devices run dry
      self._batches.put((items, ready))

  def finish(self) -> None:
    """Waits until all is written; shards that are not full are dropped."""
    self._batches.put(None)
    self._thread.join()
    self._pool.shutdown()
    self._drop()
    self._raise()

  def abandon(self) -> None:
    """Leaves at once: what is not published is dropped."""
    self._error = self._error or InterruptedError()
    self._batches.put(None)
    self._thread.join()
    self._pool.shutdown()
    self._drop()

  def _raise(self) -> None:
    if self._error:
      raise self._error

  def _drop(self) -> None:
    for index, writer in self._open.items():
      writer.drop()
      self._owner.release(shard_name(index))
    self._open.clear()

  def _run(self) -> None:
    while (work := self._batches.get()) is not None:
      if self._error:
        continue  # keep the queue moving until the other side has seen the error
      try:
        self._write(*work)
      except BaseException as e:  # noqa: BLE001  raised again by `put` or `finish`
        self._error = e

  def _write(self, items: list[_Item], pixels: np.ndarray) -> None:
    for item, jpeg in zip(items, self._pool.map(self._sink.encode, pixels[: len(items)]), strict=True):
      index = item.shard.index
      if index not in self._open:
        self._open[index] = ShardWriter(self._sink.folder, index, self._owner.scratch(shard_name(index)))
      shard = self._open[index]
      shard.write(self._sink.serialize(item.image, jpeg))
      if shard.count == len(item.shard):
        shard.publish()
        del self._open[index]
        self._owner.release(shard_name(index))
    self._progress.add(len(items))
