"""A stand-in for devices that draw at a set pace: is the loop's overlap perfect where the host is busy, but not the
bottleneck?"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from synthjax.benchmark.rounds import seconds
from synthjax.runtime import devices
from synthjax.store.plan import Image


class StandIn:
  """Samples nothing: hands over ready pictures at a steady pace, as devices would, each batch after the one before."""

  def __init__(self, pixels: np.ndarray, images_per_second: float):
    self.batch_size = len(pixels)
    self._pixels, self._seconds = pixels, len(pixels) / images_per_second
    self._free_at = 0.0

  def sample(self, images: Sequence[Image]) -> np.ndarray:
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


def pictures(n: int, size: int) -> np.ndarray:
  """Smooth pictures with some grain: JPEG works as hard on them as on photographs (about 2 bits a pixel)."""
  rng = np.random.default_rng(0)
  coarse = rng.uniform(0, 255, (n, -(-size // 32), -(-size // 32), 3))
  smooth = coarse.repeat(32, axis=1).repeat(32, axis=2)[:, :size, :size]
  return np.clip(smooth + rng.normal(0, 8, smooth.shape), 0, 255).astype(np.uint8)


def encoding_rate(encode: Callable[[np.ndarray], bytes], pixels: np.ndarray, threads: int) -> float:
  """Pictures that this host encodes a second."""
  repeated = list(pixels) * 8
  with ThreadPoolExecutor(threads or devices.threads()) as pool:
    first, *rest = (seconds(lambda: list(pool.map(encode, repeated))) for _ in range(4))
  del first  # warms up
  return len(repeated) / statistics.median(rest)
