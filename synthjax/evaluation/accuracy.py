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
  among_five: int = 0  # examples whose class is among the five likeliest

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
    own = logits[np.arange(len(labels)), labels][:, None]
    among_five = int(((logits > own).sum(axis=1) < 5).sum())
    return Tally(confusion, self.loss_sum - float(likelihood.sum()), self.among_five + among_five)

  def merge(self, other: Tally) -> Tally:
    return Tally(
      self.confusion_KxK + other.confusion_KxK,
      self.loss_sum + other.loss_sum,
      self.among_five + other.among_five,
    )

  @property
  def n(self) -> int:
    return int(self.confusion_KxK.sum())

  @property
  def by_class(self) -> Array:
    """Percent right of each class; nan where the class was not seen."""
    seen = self.confusion_KxK.sum(axis=1)
    return 100 * np.divide(np.diag(self.confusion_KxK), seen, out=np.full(len(seen), np.nan), where=seen > 0)

  def metrics(self, top5: bool = False) -> dict[str, float]:
    """top1 and mean_class in percent, loss in nats. The mean is over the classes that were seen."""
    return {
      "top1": 100 * float(np.trace(self.confusion_KxK)) / self.n,
      **({"top5": 100 * self.among_five / self.n} if top5 else {}),
      "mean_class": float(np.nanmean(self.by_class)),
      "loss": self.loss_sum / self.n,
    }

  def to_json(self) -> dict[str, Any]:
    body = {"confusion": self.confusion_KxK.tolist(), "loss_sum": self.loss_sum}
    return body | {"among_five": self.among_five}

  @staticmethod
  def from_json(body: dict[str, Any]) -> Tally:
    return Tally(np.array(body["confusion"], np.int64), body["loss_sum"], body.get("among_five", 0))
