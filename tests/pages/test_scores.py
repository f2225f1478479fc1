"""Which images a rule let through follows from the counts by class: the best-scored, of equal ones the earlier."""

import numpy as np
import pytest

from synthjax.pages.inputs import Counts
from synthjax.pages.scores import of_images


@pytest.mark.parametrize("seed", range(3))
def test_those_that_passed_are_the_best_of_their_class(seed):
  rng = np.random.default_rng(seed)
  n, classes = 200, 4
  ids, labels = np.array([f"{i:032x}" for i in range(n)]), rng.integers(0, classes - 1, n)
  scores = rng.integers(0, 9, n) / 8  # many are equal
  arrays = dict(ids=ids, labels=labels, scores=scores, stays=rng.random(n) < 0.5)
  passed = [int(rng.integers(0, (labels == c).sum() + 1)) for c in range(classes - 1)] + [0]
  counts = [Counts(str(c), 0, p, 0, 0) for c, p in enumerate(passed)]
  asked = [ids[i] for i in rng.permutation(n)[:150]] + ["f" * 32]
  found = of_images(arrays, counts, asked)
  assert set(found) == set(asked[:-1])
  for image_id, one in found.items():
    i = int(image_id, 16)
    better = (labels == labels[i]) & ((scores > scores[i]) | ((scores == scores[i]) & (np.arange(n) < i)))
    assert one.passed == (better.sum() < passed[labels[i]])
    assert (one.score, one.stays) == (scores[i], arrays["stays"][i])
