"""What a classifier and CLIP say of images."""

import numpy as np
import pytest

from synthjax.evaluation.set_metrics import answers
from synthjax.runtime.errors import UserError

CLASSES = ("ant", "bee", "cat")


def test_a_case_by_hand():
  labels, said = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 7, 0])  # 7: only the classifier knows it
  found = answers.recognizability(labels, said, CLASSES)
  assert found.top1 == pytest.approx(50)
  assert found.f1_by_class == {"ant": pytest.approx(200 / 3), "bee": pytest.approx(50), "cat": 0}
  assert found.macro_f1 == pytest.approx((200 / 3 + 50) / 3)


def test_it_is_precision_and_recall_together():
  rng = np.random.default_rng(4)
  labels, said = rng.permutation(np.arange(300) % 3), rng.integers(0, 3, 300)
  found = answers.recognizability(labels, said, CLASSES)
  for k, name in enumerate(CLASSES):
    precision, recall = (labels[said == k] == k).mean(), (said[labels == k] == k).mean()
    assert found.f1_by_class[name] == pytest.approx(200 * precision * recall / (precision + recall))
  assert answers.recognizability(labels, labels, CLASSES).macro_f1 == 100


def test_sets_that_cannot_be_judged_are_refused():
  with pytest.raises(UserError, match="no image of class bee, cat; add images"):
    answers.recognizability(np.zeros(4, int), np.zeros(4, int), CLASSES)
  with pytest.raises(UserError, match="4 labels and 3 answers"):
    answers.recognizability(np.zeros(4, int), np.zeros(3, int), CLASSES)
  with pytest.raises(UserError, match="1 of 4 labels are none of the 3 classes"):
    answers.recognizability(np.array([0, 1, 2, 3]), np.zeros(4, int), CLASSES)


def test_clip_score_by_hand():
  images, texts = np.array([[3.0, 0], [0, 1], [1, 1]]), np.array([[3.0, 4], [0, -2], [5, 0]])
  assert answers.clip_score(images, texts) == pytest.approx(100 * (0.6 + 0 + np.sqrt(0.5)) / 3)
  with pytest.raises(UserError, match=r"features of images are \[3, 2\] and those of their texts \[2, 2\]"):
    answers.clip_score(images, texts[1:])
