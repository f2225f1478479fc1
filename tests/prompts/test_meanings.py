"""LAR's choice on cosines that are known."""

import json

import numpy as np
import pytest

from synthjax.prompts.class_prompts import ClassPrompts
from synthjax.prompts.meanings import ClassMeanings, choose, mean_features


def test_the_mean_of_cosines_and_not_the_cosine_of_the_mean_decides():
  """Two images: one is long and near the first meaning, which a mean of unnormalised features would follow."""
  images = np.array([[10.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
  (mean,) = mean_features(images[:2], np.array([0, 0]), 1)
  assert mean == pytest.approx([0.5, 0.5])
  texts = np.array([[1.0, 0.0], [0.6, 0.8]])  # mean cosines 0.5 and 0.7
  scores = texts @ mean
  assert scores == pytest.approx([np.mean([1.0, 0.0]), np.mean([0.6, 0.8])])
  found = choose(ClassPrompts("x", meanings=["the first", "the second"]), "a gloss", scores)
  assert (found.chosen, found.chosen_by, found.scores) == ("the second", "real images", (0.5, 0.7))


def test_classes_without_images_have_no_mean():
  found = mean_features(np.eye(2), np.array([2, 2]), 3)
  assert found[0] is None and found[1] is None and found[2] == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize(
  ("meanings", "gloss", "scores", "chosen"),
  [
    (["a", "b"], "g", None, ("g", "gloss")),
    (["a", "b"], "", None, ("a", "first meaning")),
    ([], "g", None, ("g", "gloss")),
    ([], "", None, ("", "nothing")),
    (["a", "b"], "g", [0.5, 0.5], ("a", "real images")),  # of equals the first
  ],
)
def test_without_real_images_the_gloss_then_the_first(meanings, gloss, scores, chosen):
  found = choose(ClassPrompts("x", meanings=meanings), gloss, scores)
  assert (found.chosen, found.chosen_by) == chosen

  assert ClassMeanings.from_line(json.dumps(found.to_json())) == found
