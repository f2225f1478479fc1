"""Whether images show what they were asked to show: a classifier's answers, and CLIP's score of image and text.

recognizability  What a named classifier, trained on real images, makes of the synthetic ones, in percent (Fan et al. 2024).
                 top1: the share of images whose class is its answer. macro_f1: the mean over classes, each alike, of
                 F1 = 2 TP / (2 TP + FP + FN), with TP the images of a class that are answered with it, FN those that are
                 answered otherwise, and FP the images of other classes that are answered with it. Every class has images.
                 A classifier may know further classes: such an answer is wrong, and those have no F1.
clip_score       100 max(cosine, 0) of the features of an image and of the text it was made from, the mean over images.
                 Hessel et al. (2021), who introduced it, have 2.5 instead of 100.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from synthjax.evaluation.set_metrics import features as checks
from synthjax.runtime.errors import UserError

Array = np.ndarray


@dataclasses.dataclass(frozen=True)
class Recognizability:
  """In percent."""

  top1: float
  macro_f1: float
  f1_by_class: Mapping[str, float]


def recognizability(labels_N: Array, answers_N: Array, class_ids: Sequence[str]) -> Recognizability:
  """Labels and answers are places in `class_ids`; an answer beyond them is of a class that only the classifier knows."""
  labels, answers, classes = np.asarray(labels_N), np.asarray(answers_N), len(class_ids)
  if labels.shape != answers.shape:
    raise UserError(
      f"{len(labels)} labels and {len(answers)} answers; let the classifier answer for every image"
    )
  checks.check_labels(labels, classes)
  images = np.bincount(labels, minlength=classes)
  if empty := [name for name, n in zip(class_ids, images, strict=True) if not n]:
    more = f" and {len(empty) - 3} more" if len(empty) > 3 else ""
    raise UserError(f"no image of class {', '.join(empty[:3])}{more}; add images, or leave the class out")
  is_known = (answers >= 0) & (answers < classes)
  answered = np.bincount(answers[is_known], minlength=classes)
  right = np.bincount(labels[labels == answers], minlength=classes)
  f1 = 200 * right / (images + answered)  # images = TP + FN, answered = TP + FP
  return Recognizability(
    top1=100 * float(right.sum() / len(labels)),
    macro_f1=float(f1.mean()),
    f1_by_class=dict(zip(class_ids, map(float, f1), strict=True)),
  )


def clip_score(images_NxD: Array, texts_NxD: Array) -> float:
  """Row i of the texts' features is of the text of image i."""
  images, texts = checks.checked(images_NxD, checks.SYNTHETIC), checks.checked(texts_NxD, "texts")
  if images.shape != texts.shape:
    raise UserError(
      f"features of images are {list(images.shape)} and those of their texts {list(texts.shape)}; give the text of every image, by the same CLIP"
    )
  cosines = (checks.unit(images, checks.SYNTHETIC) * checks.unit(texts, "texts")).sum(axis=1)
  return float(100 * np.maximum(cosines, 0).mean())
