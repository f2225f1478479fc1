"""Rows of results: their keys, in order, and what a probe says."""

import numpy as np

from synthjax.evaluation.accuracy import Tally
from synthjax.evaluation.rows import rows

TALLY = Tally.empty(10).update(np.eye(10)[[0, 1, 2, 4]], np.arange(4))


def test_one_row_a_metric_between_what_comes_before_and_after():
  found = rows(TALLY, {"arm": "LE", "split": "test"}, {"n": 4, "seed": 0}, top5=True)
  assert [row["metric"] for row in found] == ["top1", "top5", "mean_class", "loss"]
  assert [*found[0].items()] == [
    ("arm", "LE"), ("split", "test"), ("metric", "top1"), ("value", 75.0), ("n", 4), ("seed", 0)
  ]  # fmt: skip
  assert len(rows(TALLY, {})) == 3


def test_a_probe_has_its_accuracy_alone():
  assert rows(TALLY, {"arm": "few"}, measure="knn") == [{"arm": "few", "metric": "knn", "value": 75.0}]
