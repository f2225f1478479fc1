"""Features of many shards are one array, made once."""

import tracemalloc

import numpy as np

from synthjax.store.features import Features, joined


def part(n: int, width: int, start: int) -> Features:
  rng = np.random.default_rng(start)
  ids = np.array([f"{start + i:0{width}d}" for i in range(n)])
  return Features(rng.normal(size=(n, 256)).astype(np.float32), np.arange(n, dtype=np.int32), ids)


def test_parts_one_after_another():
  parts = [part(3, 4, 0), part(5, 9, 100), part(1, 4, 200)]  # ids of several lengths
  whole = joined(iter(parts), 9)
  for name in ("features", "labels", "ids"):
    want = np.concatenate([getattr(p, name) for p in parts])
    np.testing.assert_array_equal(getattr(whole, name), want)


def test_no_second_copy_is_held():
  n, shards = 500, 20
  tracemalloc.start()
  try:
    whole = joined((part(n, 32, i * n) for i in range(shards)), n * shards)
    _, peak = tracemalloc.get_traced_memory()
  finally:
    tracemalloc.stop()
  assert peak < whole.features.nbytes + 2.5 * whole.ids.nbytes + 3 * whole.features.nbytes / shards
