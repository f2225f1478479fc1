"""The mean distance of a class's prompts, against every pair."""

import itertools

import numpy as np
import pytest

from synthjax.prompts.spread import MOST, mean_distance
from synthjax.store.prompt import Prompt


def test_it_is_the_mean_over_pairs_of_each_class_then_over_classes():
  prompts = [Prompt(c, f"{c} {i}") for c, n in (("a", MOST + 5), ("b", 3), ("c", 1)) for i in range(n)]
  rng, features = np.random.default_rng(0), {}
  for p in prompts:
    x = rng.normal(size=8)
    features[p.text] = x / np.linalg.norm(x)
  asked = []

  def embed(texts):
    asked.extend(texts)
    return np.stack([features[t] for t in texts])

  pairs = {
    c: [1 - features[f"{c} {i}"] @ features[f"{c} {j}"] for i, j in itertools.combinations(range(n), 2)]
    for c, n in (("a", MOST), ("b", 3))
  }
  assert mean_distance(prompts, embed) == pytest.approx(np.mean([np.mean(own) for own in pairs.values()]))
  assert len(asked) == MOST + 4
  assert mean_distance([Prompt("a", "x"), Prompt("a", "x")], lambda t: np.ones((2, 1))) == pytest.approx(0)
