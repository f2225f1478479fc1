"""What the bookkeeping of n images costs, part by part: each is measured at several n, so that what grows too fast is seen.

No image is made and no device is used: labels, scores and records are stand-ins of their size.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from etils import epath

from synthjax.benchmark.hosts import Load, cost_of
from synthjax.data.selection import rank, select
from synthjax.data.set_images import SetImages
from synthjax.filters.choose import choose
from synthjax.store import schema, shards
from synthjax.store.plan import Image, Plan, Segment
from synthjax.store.prompt import Prompt

MANY = 8_000_000  # images, as of 1,000 classes and 8,000 of each
_CLASSES, _PER_SHARD, _HOSTS = 100, 512, 64
_READ = 2_000  # images, of a set of any size
_BYTES = 1_000  # of a stand-in for a JPEG
_READ_OF = 10  # of a set of n / 10, so that it fits on the disk of a laptop


@dataclasses.dataclass(frozen=True)
class Part:
  name: str
  unit: str
  cost: Callable[[int, epath.Path], float]  # of n images; the folder is empty


def plan(n: int) -> Plan:
  ids = tuple(f"class-{k:03d}" for k in range(_CLASSES))
  prompts = [Prompt(class_id, f"a photo of {class_id}, {i}") for class_id in ids for i in range(20)]
  segment = Segment((n // _CLASSES,) * _CLASSES)
  return Plan(ids, prompts, [segment], images_per_shard=_PER_SHARD, drawing="d", guidance=2.0, seed=0)


def _cpu_seconds(work: Callable[[], object]) -> float:
  start = time.process_time()
  work()
  return time.process_time() - start


def _plan_and_ids(n: int, folder: epath.Path) -> float:
  del folder

  def work() -> None:
    planned = plan(n)
    assert len(planned.ids(len(planned.shards))) == n

  return _cpu_seconds(work)


def _labels_and_ids(n: int) -> tuple[np.ndarray, Sequence[str]]:
  planned = plan(n)
  return planned.labels(), planned.ids(len(planned.shards))


def _keep_list(n: int, folder: epath.Path) -> float:
  del folder
  labels, scores = np.arange(n) % _CLASSES, np.random.default_rng(0).random(n)
  quota = n // _CLASSES // 2
  return _cpu_seconds(lambda: choose(scores, labels, _CLASSES, 0.4, quota, fill=True))


def _chosen(n: int, folder: epath.Path) -> float:
  del folder
  labels, ids = _labels_and_ids(n)
  kept = [ids[int(i)] for i in np.flatnonzero(rank(labels) % 2)]
  return _cpu_seconds(lambda: select(labels, ids, kept, n // _CLASSES // 4))


def _claims(n: int, folder: epath.Path) -> float:
  del folder
  return float(cost_of(Load(_HOSTS, -(-n // _PER_SHARD), die=2, stand_still=2)).claims.total())


def _reads(n: int, folder: epath.Path) -> float:
  planned = plan(n // _READ_OF)
  serialize = schema.serializer([f"class-{k:03d}" for k in range(_CLASSES)])
  for shard in planned.shards:
    writer = shards.ShardWriter(folder, shard.index, folder / f".{shard.index}")
    for image in planned.images(shard):
      writer.write(serialize(image, _stand_in(image)))
    writer.publish()
  source = SetImages(
    "images/stand-ins",
    planned.labels(),
    planned.ids(len(planned.shards)),
    lambda i: shards.ShardReader(folder / shards.shard_name(i)),
    planned.ends,
  )
  places = np.random.default_rng(0).integers(len(source), size=_READ)
  return _cpu_seconds(lambda: [source.encoded(int(i)) for i in places])


def _stand_in(image: Image) -> bytes:
  return image.image_id.encode().ljust(_BYTES, b"\0")


PARTS = (
  Part("a set's plan and its ids", "CPU s", _plan_and_ids),
  Part("a filter chooses from scores", "CPU s", _keep_list),
  Part("what a run learns from", "CPU s", _chosen),
  Part(f"{_HOSTS} hosts claim all shards", "operations", _claims),
  Part(f"{_READ:,} images read, of n / {_READ_OF}", "CPU s", _reads),
)


def exponent(costs: Mapping[int, float]) -> float:
  """How the cost grows with n, by the two largest n: 1 = evenly, 0 = not at all."""
  (n, cost), (more, larger) = sorted(costs.items())[-2:]
  return math.log(max(larger, 1e-9) / max(cost, 1e-9)) / math.log(more / n)


def extrapolated(costs: Mapping[int, float], to: int = MANY) -> float:
  n = max(costs)
  return costs[n] * (to / n) ** exponent(costs)
