"""CF, CLIP's own judgement (He et al., Sec. 3.1): an image stays when its class is likely enough, not when it is likeliest."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from synthjax.filters.rule import Images, View
from synthjax.spec.fields import Filter

Array = np.ndarray
_ROWS = 8192  # at once: all of 2 M images by 1,000 classes would be 16 GB


@dataclasses.dataclass(frozen=True)
class ClipRule:
  """Rule clip: the threshold is 1/N for N classes, where the config gives none."""

  fields: Filter
  views: Sequence[View]
  score_means: ClassVar[str] = "the probability that it gives to the image’s own class"
  counted: ClassVar[tuple[str, ...]] = ()
  may_fill: ClassVar[bool] = True

  @staticmethod
  def encoders(fields: Filter) -> list[str]:
    return [fields.encoder]

  def identity(self) -> dict[str, Any]:
    own = self.fields.identity()
    del own["against"]  # it compares with nothing
    return own | self.views[0].encoder.classifier_identity

  @property
  def threshold(self) -> float:
    return self.fields.threshold or 1 / len(self.views[0].encoder.labels)

  @property
  def must_exceed(self) -> float:
    return self.threshold

  def score(self, images: Images) -> tuple[Array, None]:
    (features,) = images.features
    classifier = self.views[0].encoder.zero_shot
    return own_class_probability(features.features, features.labels, classifier), None

  @property
  def how(self) -> str:
    return f"own class's probability above {self.threshold:.3g}"

  @property
  def limits(self) -> str:
    return ""

  def found(self, summary: Mapping[str, Any]) -> str:
    del summary
    return ""


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
