"""The order of a segment's images against the definition: sorted by (index within the class, label)."""

import numpy as np
import pytest

from synthjax.store.sample_order import SampleOrder


def sorted_rows(before, counts) -> list[tuple[int, int]]:
  return sorted((b + k, c) for c, (b, n) in enumerate(zip(before, counts, strict=True)) for k in range(n))


CASES = [
  ((0, 0, 0), (3, 3, 3)),
  ((0, 0), (0, 0)),
  ((), ()),
  ((0, 0, 0), (4, 0, 1)),
  ((5, 2, 9), (2, 8, 1)),
  ((0, 100, 0), (2, 3, 2)),  # a gap: of 2 to 99 there is none
  ((7,), (5,)),
]
rng = np.random.default_rng(0)
CASES += [(rng.integers(0, 9, 6).tolist(), rng.integers(0, 9, 6).tolist()) for _ in range(40)]


@pytest.mark.parametrize("before, counts", CASES)
def test_every_part_of_it_is_that_part_of_the_sorted_images(before, counts):
  order, wanted = SampleOrder(before, counts), sorted_rows(before, counts)
  assert len(order) == len(wanted)
  assert [order.sample(place) for place in range(len(wanted))] == [i for i, _ in wanted]
  for start in range(len(wanted) + 1):
    for stop in range(start, len(wanted) + 1):
      samples, labels = order.rows(start, stop)
      assert list(zip(samples.tolist(), labels.tolist(), strict=True)) == wanted[start:stop]


def test_what_it_holds_does_not_grow_with_the_images():
  few, many = SampleOrder([0] * 100, [10] * 100), SampleOrder([0] * 100, [10**7] * 100)
  sizes = [sum(a.nbytes for a in vars(o).values() if isinstance(a, np.ndarray)) for o in (few, many)]
  assert sizes[0] == sizes[1]
  assert many.rows(10**9 - 2, 10**9)[0].tolist() == [10**7 - 1] * 2
