"""Features of many shards are read shard by shard into one array, made once."""

import hashlib
import itertools
import tracemalloc

import numpy as np
import pytest

from synthjax.store.features import EmbeddedImages, Features
from synthjax.store.image_ids import packed


def part(n: int, start: int) -> Features:
  rng = np.random.default_rng(start)
  ids = np.array([hashlib.sha256(str(start + i).encode()).hexdigest()[:32] for i in range(n)])
  return Features(rng.normal(size=(n, 256)).astype(np.float32), rng.integers(0, 9, n).astype(np.int32), ids)


def of(sizes: list[int], read: list[int]) -> EmbeddedImages:
  ends = list(itertools.accumulate(sizes))
  parts = [part(n, end) for n, end in zip(sizes, ends, strict=True)]
  labels, ids = np.concatenate([p.labels for p in parts]), packed(i for p in parts for i in p.ids.tolist())
  return EmbeddedImages(labels, ids, ends, lambda i: read.append(i) or part(sizes[i], ends[i]))


@pytest.mark.parametrize("places", [range(9), [8, 0, 3, 3, 7], [4], []])
def test_they_are_those_of_the_places_in_that_order(places):
  read: list[int] = []
  images = of([3, 5, 1], read)
  whole = [
    np.concatenate(column)
    for column in zip(*(vars(part(n, e)).values() for n, e in ((3, 3), (5, 8), (1, 9))), strict=True)
  ]
  found = images.at(np.array(places, int))
  assert len(read) == len({np.searchsorted([3, 8, 9], p, "right") for p in places})  # each shard once
  for name, want in zip(("features", "labels", "ids"), whole, strict=True):
    assert getattr(found, name).tolist() == want[list(places)].tolist()


def test_no_second_copy_is_held():
  n, shards = 500, 20
  images = of([n] * shards, [])
  tracemalloc.start()
  try:
    found = images.at(np.arange(n * shards)[::-1])
    _, peak = tracemalloc.get_traced_memory()
  finally:
    tracemalloc.stop()
  assert peak < found.features.nbytes + 2.5 * found.ids.nbytes + 3 * found.features.nbytes / shards
