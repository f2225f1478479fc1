"""LAR's choice among the meanings of a class name (Yu et al.): m* = argmax_m mean_x cos(E_img(x), E_txt(m))."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from synthjax.disk import checksums
from synthjax.prompts.class_prompts import ClassPrompts

REAL_IMAGES, GLOSS, FIRST, NOTHING = "real images", "gloss", "first meaning", "nothing"
_SHAPE = {"class_id": str, "meanings": [str], "scores": object, "chosen": str, "chosen_by": str}


@dataclasses.dataclass(frozen=True)
class ClassMeanings:
  class_id: str
  meanings: tuple[str, ...]
  scores: tuple[float, ...] | None  # mean cosine with the class's real images; None = it has none
  chosen: str
  chosen_by: str

  def to_json(self) -> dict[str, Any]:
    return dataclasses.asdict(self)

  @classmethod
  def from_line(cls, line: str) -> ClassMeanings:
    body = checksums.shaped(json.loads(line), _SHAPE)
    scores = None if body["scores"] is None else tuple(checksums.shaped(body["scores"], [float]))
    return cls(body["class_id"], tuple(body["meanings"]), scores, body["chosen"], body["chosen_by"])


def choose(one: ClassPrompts, gloss: str, scores: Sequence[float] | None) -> ClassMeanings:
  """The best-scored meaning, of equals the first; without real images the gloss, without one the first meaning."""
  meanings = tuple(one.meanings)
  if meanings and scores is not None:
    own = tuple(round(float(s), 6) for s in scores)
    return ClassMeanings(one.class_id, meanings, own, meanings[int(np.argmax(scores))], REAL_IMAGES)
  if gloss:
    return ClassMeanings(one.class_id, meanings, None, gloss, GLOSS)
  if meanings:
    return ClassMeanings(one.class_id, meanings, None, meanings[0], FIRST)
  return ClassMeanings(one.class_id, (), None, "", NOTHING)


def mean_features(features_NxD: np.ndarray, labels_N: np.ndarray, classes: int) -> list[np.ndarray | None]:
  """Mean of each class's normalised features, so that its product with a text's is the mean cosine; None without images."""
  x = features_NxD.astype(np.float64)
  x /= np.linalg.norm(x, axis=1, keepdims=True)
  return [x[labels_N == k].mean(axis=0) if (labels_N == k).any() else None for k in range(classes)]
