"""CF, CLIP's own judgement (He et al., Sec. 3.1): an image stays when its class is likely enough, not when it is likeliest."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from synthjax.filters.rule import Images, ScoreRule

Array = np.ndarray
_ROWS = 8192  # at once: all of 2 M images by 1,000 classes would be 16 GB


class ClipRule(ScoreRule):
  """Rule clip: the threshold is 1/N for N classes, where the config gives none."""

  at_once: ClassVar[int] = _ROWS
  score_means: ClassVar[str] = "the probability that it gives to the image’s own class"

  def identity(self) -> dict[str, Any]:
    found = super().identity()
    del found["against"]  # it compares with nothing
    return found

  @property
  def threshold(self) -> float:
    return self.fields.threshold or 1 / len(self.views[0].encoder.labels)

  def scores(self, images: Images) -> Array:
    (features,) = images.features
    return own_class_probability(features.features, features.labels, self.views[0].encoder.zero_shot)

  @property
  def how(self) -> str:
    return f"own class's probability above {self.threshold:.3g}"


def own_class_probability(features_NxD: Array, labels_N: Array, classifier_KxD: Array) -> Array:
  """softmax_k(W_k . f / |f|) at each image's own class; the classifier's rows carry CLIP's scale."""
  scores_N = np.empty(len(labels_N))
  for start in range(0, len(labels_N), _ROWS):
    rows = slice(start, start + _ROWS)
    unit = features_NxD[rows] / np.linalg.norm(features_NxD[rows], axis=1, keepdims=True)
    logits = (unit @ classifier_KxD.T).astype(np.float64)
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    scores_N[rows] = shares[np.arange(len(shares)), labels_N[rows]] / shares.sum(axis=1)
  return scores_N
