"""Each example counts once, however the batches were cut."""

import numpy as np
import pytest

from synthjax.evaluation.accuracy import Tally
from synthjax.runtime.errors import UserError


def test_a_case_by_hand():
  logits = np.log(np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.5, 0.4, 0.1], [0.8, 0.1, 0.1]]))
  tally = Tally.empty(3).update(logits, np.array([0, 1, 1, 0]))
  assert tally.confusion_KxK.tolist() == [[2, 0, 0], [1, 1, 0], [0, 0, 0]]
  metrics = tally.metrics()
  assert metrics["top1"] == 75.0
  assert metrics["mean_class"] == 75.0  # of 100 and 50; the third class was not seen
  assert metrics["loss"] == pytest.approx(-np.log([0.7, 0.6, 0.4, 0.8]).mean())
  assert np.isnan(tally.by_class[2])

  assert tally.right_N.tolist() == [True, True, False, True]


def test_ties_go_to_the_first_class_in_top5_as_in_top1():
  logits, labels = np.zeros((10, 10)), np.arange(10)
  metrics = Tally.empty(10).update(logits, labels).metrics(top5=True)
  assert (metrics["top1"], metrics["top5"]) == (10.0, 50.0)
  logits[:, 7] = 1.0
  assert Tally.empty(10).update(logits, labels).among_five == 5  # class 7, and the first four of the others


def test_an_answer_that_is_nan_is_an_error_and_not_right():
  logits = np.zeros((3, 10))
  logits[1, 4] = np.nan
  with pytest.raises(UserError, match="answers NaN for 1 of 3 images"):
    Tally.empty(10).update(logits, np.array([0, 4, 2]))


def test_batches_padding_and_merging_change_nothing():
  rng = np.random.default_rng(0)
  logits, labels = rng.normal(size=(103, 7)), rng.integers(0, 7, 103)
  whole = Tally.empty(7).update(logits, labels)
  left, right = Tally.empty(7), Tally.empty(7)
  for i in range(0, 103, 10):
    part, own = np.zeros((10, 7)), np.zeros(10, int)
    n = len(labels[i : i + 10])
    part[:n], own[:n] = logits[i : i + 10], labels[i : i + 10]
    mask = np.arange(10) < n
    if i % 20:
      left = left.update(part, own, mask)
    else:
      right = right.update(part, own, mask)
  merged = Tally.from_json(left.merge(right).to_json())
  assert (merged.confusion_KxK == whole.confusion_KxK).all() and merged.n == 103
  assert merged.metrics()["loss"] == pytest.approx(whole.metrics()["loss"], rel=1e-12)
  assert (left.merge(right).right_N.sum(), len(whole.right_N)) == (np.trace(whole.confusion_KxK), 103)
