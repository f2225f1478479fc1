"""How often a classifier is right. Each example counts once, however the batches and hosts were cut."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

Array = np.ndarray


@dataclasses.dataclass(frozen=True)
class Tally:
  """What has been seen so far; tallies of parts add up."""

  confusion_KxK: Array  # int: rows are the true classes, columns the predicted
  loss_sum: float  # of the negative log likelihood

  @staticmethod
  def empty(n_classes: int) -> Tally:
    return Tally(np.zeros((n_classes, n_classes), np.int64), 0.0)

  def update(self, logits_BxK: Array, labels_B: Array, mask_B: Array | None = None) -> Tally:
    """`mask` is False for what only fills a batch up."""
    logits, labels = (
      a if mask_B is None else a[mask_B] for a in (np.asarray(logits_BxK), np.asarray(labels_B))
    )
    confusion = self.confusion_KxK.copy()
    np.add.at(confusion, (labels, logits.argmax(axis=1)), 1)
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    likelihood = shifted[np.arange(len(labels)), labels] - np.log(np.exp(shifted).sum(axis=1))
    return Tally(confusion, self.loss_sum - float(likelihood.sum()))

  def merge(self, other: Tally) -> Tally:
    return Tally(self.confusion_KxK + other.confusion_KxK, self.loss_sum + other.loss_sum)

  @property
  def n(self) -> int:
    return int(self.confusion_KxK.sum())

  @property
  def by_class(self) -> Array:
    """Percent right of each class; nan where the class was not seen."""
    seen = self.confusion_KxK.sum(axis=1)
    return 100 * np.divide(np.diag(self.confusion_KxK), seen, out=np.full(len(seen), np.nan), where=seen > 0)

  def metrics(self) -> dict[str, float]:
    """top1 and mean_class in percent, loss in nats. The mean is over the classes that were seen."""
    return {
      "top1": 100 * float(np.trace(self.confusion_KxK)) / self.n,
      "mean_class": float(np.nanmean(self.by_class)),
      "loss": self.loss_sum / self.n,
    }

  def to_json(self) -> dict[str, Any]:
    return {"confusion": self.confusion_KxK.tolist(), "loss_sum": self.loss_sum}

  @staticmethod
  def from_json(body: dict[str, Any]) -> Tally:
    return Tally(np.array(body["confusion"], np.int64), body["loss_sum"])
