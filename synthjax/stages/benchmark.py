"""Stage benchmark: images/s of the sampling loop beside what the devices alone, and the host alone, could do.

Two questions, each as a ratio of interleaved measurements in one process, because machines are noisy and shared:
  device   the whole loop (JPEG, records, shards, syncs) against the bare loop of the same program;
  host     the whole loop against the pace of a stand-in that hands over 512 px batches at 60 % of the rate at which
           this host encodes them: is the overlap perfect where the host is busy, but not the bottleneck?
"""

from __future__ import annotations

import collections
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from synthjax import devices, records, workdir
from synthjax.progress import Progress
from synthjax.sampling import sampler
from synthjax.sampling.drawer import Draws
from synthjax.sampling.plan import Image, Plan, Segment
from synthjax.stages.product import MISSING, Status
from synthjax.stages.sample import ImageSet
from synthjax.stopping import Stop
from synthjax.store.claims import Owner

_SIZE = 512  # of the stand-in's images
_SHARE = 0.6  # of the host's encoding rate


class Benchmark:
  """Measured anew each time it is asked for: there is nothing to resume."""

  name, stage = "benchmark", "benchmark"

  def __init__(self, config: ConfigDict, root: epath.Path, sets: Sequence[ImageSet], n_classes: int):
    self._folder, self._sets, self._n_classes = root / "benchmark", sets, n_classes
    self._rounds, self._batches = config.benchmark.rounds, config.benchmark.batches

  def status(self) -> Status:
    return Status(MISSING, want=self._rounds, unit="rounds")

  def make(self, stop: Stop) -> bool:
    self._folder.mkdir(parents=True, exist_ok=True)
    rows = [self._against_device(image_set, stop) for image_set in self._sets]
    rows.append(self._against_host(self._sets[0], stop))
    body = {"rows": rows, "where": devices.describe(), "software": records.software(), "rounds": self._rounds}
    workdir.replace_bytes(self._folder / "benchmark.json", workdir.to_json(body))
    print(table(rows))
    return True

  def _against_device(self, image_set: ImageSet, stop: Stop) -> dict:
    drawer = image_set.drawer()
    plan = image_set.plan([Segment(self._counts(drawer.batch_size))])
    images = [image for shard in plan.shards for image in plan.images(shard)]
    batches = [images[i : i + drawer.batch_size] for i in range(0, len(images), drawer.batch_size)]
    np.asarray(drawer.draw(batches[0]))  # compiles
    bare, whole = self._interleaved(
      lambda: len(images) / _seconds(lambda: _bare_loop(drawer, batches)),
      lambda: self._whole_loop(image_set, plan, drawer, stop),
    )
    return _row(image_set.name, "device alone", bare, whole)

  def _against_host(self, image_set: ImageSet, stop: Stop) -> dict:
    pixels = _pictures(16)
    sink = image_set.sink(self._folder)
    with ThreadPoolExecutor(sampler.encode_threads(sink)) as pool:
      _rate_of_encoding(pool, sink, pixels)  # warm
      rate = statistics.median(_rate_of_encoding(pool, sink, pixels) for _ in range(3))
    batches = max(self._batches, round(3 * _SHARE * rate / len(pixels)))  # three seconds a round
    plan = image_set.plan([Segment(self._counts(batches * len(pixels) // self._batches))])
    pace, whole = self._interleaved(
      lambda: _SHARE * rate,
      lambda: self._whole_loop(image_set, plan, StandIn(pixels, _SHARE * rate), stop),
    )
    row = _row(f"stand-in, {_SIZE} px", f"{_SHARE:.0%} of the host's {rate:.0f}/s", pace, whole)
    return row | {"host_images_per_second": rate}

  def _counts(self, batch: int) -> tuple[int, ...]:
    """Images of each class, so that about `batches` batches are full."""
    return (-(-self._batches * batch // self._n_classes),) * self._n_classes

  def _interleaved(self, *measure: Callable[[], float]) -> list[list[float]]:
    """Each measurement once a round, in turn, so that a slow minute is slow for all."""
    return [
      list(column) for column in zip(*([m() for m in measure] for _ in range(self._rounds)), strict=True)
    ]

  def _whole_loop(self, image_set: ImageSet, plan: Plan, drawer: Draws, stop: Stop) -> float:
    folder = self._folder / f"round-{time.monotonic_ns()}"
    folder.mkdir()
    progress = Progress("", len(plan), speak=False)
    try:
      with Owner(folder) as owner:
        seconds = _seconds(
          lambda: sampler.sample(
            plan, len(plan.shards), drawer, image_set.sink(folder), owner, progress, stop
          )
        )
    finally:
      folder.rmtree()
    stop.check()
    return len(plan) / seconds


class StandIn:
  """Draws nothing: hands over ready pictures at a steady pace, as devices would, each batch after the one before."""

  def __init__(self, pixels: np.ndarray, images_per_second: float):
    self.batch_size = len(pixels)
    self._pixels, self._seconds = pixels, len(pixels) / images_per_second
    self._free_at = 0.0

  def draw(self, images: Sequence[Image]) -> np.ndarray:
    del images
    self._free_at = max(self._free_at, time.monotonic()) + self._seconds
    return _Later(self._pixels, self._free_at)  # type: ignore[return-value]


class _Later:
  """An array that is ready at a certain time, like one that a device computes."""

  def __init__(self, pixels: np.ndarray, ready_at: float):
    self._pixels, self._ready_at = pixels, ready_at

  def __array__(self, dtype=None, copy=None) -> np.ndarray:
    time.sleep(max(self._ready_at - time.monotonic(), 0))
    return self._pixels


def _pictures(n: int) -> np.ndarray:
  """Smooth pictures with some grain: JPEG works as hard on them as on photographs (about 2 bits a pixel)."""
  rng = np.random.default_rng(0)
  coarse = rng.uniform(0, 255, (n, _SIZE // 32, _SIZE // 32, 3))
  smooth = coarse.repeat(32, axis=1).repeat(32, axis=2)
  return np.clip(smooth + rng.normal(0, 8, smooth.shape), 0, 255).astype(np.uint8)


def _rate_of_encoding(pool: ThreadPoolExecutor, sink: sampler.Sink, pixels: np.ndarray) -> float:
  repeated = list(pixels) * 8
  return len(repeated) / _seconds(lambda: list(pool.map(sink.encode, repeated)))


def _bare_loop(drawer: Draws, batches: Sequence[Sequence[Image]]) -> None:
  """The devices' work alone, with two batches in flight, pixels fetched and forgotten."""
  in_flight: collections.deque = collections.deque()
  for batch in batches:
    in_flight.append(drawer.draw(batch))
    if len(in_flight) == 2:
      np.asarray(in_flight.popleft())
  for pixels in in_flight:
    np.asarray(pixels)


def _seconds(work: Callable[[], object]) -> float:
  start = time.perf_counter()
  work()
  return time.perf_counter() - start


def _row(what: str, against: str, ceiling: Sequence[float], whole: Sequence[float]) -> dict:
  ratios = [w / c for w, c in zip(whole, ceiling, strict=True)]
  return {
    "what": what,
    "against": against,
    "ceiling_images_per_second": statistics.median(ceiling),
    "images_per_second": statistics.median(whole),
    "ratio": statistics.median(ratios),
    "ratio_min": min(ratios),
    "ratio_max": max(ratios),
  }


def table(rows: Sequence[dict]) -> str:
  lines = [f"{'what':<20} {'against':<28} {'ceiling/s':>10} {'whole/s':>10} {'ratio':>7}  (min - max)"]
  lines += _lines(rows)
  return "\n".join(lines)


def _lines(rows: Sequence[dict]) -> Iterator[str]:
  for r in rows:
    yield (
      f"{r['what']:<20} {r['against']:<28} {r['ceiling_images_per_second']:>10.1f} {r['images_per_second']:>10.1f} "
      f"{r['ratio']:>7.3f}  ({r['ratio_min']:.3f} - {r['ratio_max']:.3f})"
    )
