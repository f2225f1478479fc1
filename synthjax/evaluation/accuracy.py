"""How often a classifier is right. Each example counts once, however the batches and hosts were cut."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from synthjax.runtime.errors import UserError

Array = np.ndarray


@dataclasses.dataclass(frozen=True)
class Tally:
  """What has been seen so far; tallies of parts add up."""

  confusion_KxK: Array  # int: rows are the true classes, columns the predicted
  loss_sum: float  # of the negative log likelihood
  among_five: int = 0  # examples whose class is among the five likeliest
  right_N: Array | None = None  # bool, of each example in the order counted; None: an older release's

  @staticmethod
  def empty(n_classes: int) -> Tally:
    return Tally(np.zeros((n_classes, n_classes), np.int64), 0.0, right_N=np.zeros(0, bool))

  def update(self, logits_BxK: Array, labels_B: Array, mask_B: Array | None = None) -> Tally:
    """`mask` is False for what only fills a batch up. Of equal logits the first class is the likelier, as for argmax."""
    logits, labels = (
      a if mask_B is None else a[mask_B] for a in (np.asarray(logits_BxK), np.asarray(labels_B))
    )
    if lost := int(np.isnan(logits).any(axis=1).sum()):
      raise UserError(
        f"the classifier answers NaN for {lost} of {len(labels)} images; train it again, or check its weights"
      )
    confusion = np.zeros_like(self.confusion_KxK)
    answers, rows = logits.argmax(axis=1), np.arange(len(labels))
    np.add.at(confusion, (labels, answers), 1)
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    likelihood = shifted[rows, labels] - np.log(np.exp(shifted).sum(axis=1))
    own = logits[rows, labels][:, None]
    likelier = (logits > own) | ((logits == own) & (np.arange(logits.shape[1]) < labels[:, None]))
    among_five = int((likelier.sum(axis=1) < 5).sum())
    return self.merge(Tally(confusion, -float(likelihood.sum()), among_five, answers == labels))

  def merge(self, other: Tally) -> Tally:
    right_N = None
    if self.right_N is not None and other.right_N is not None:
      right_N = np.concatenate([self.right_N, other.right_N])
    return Tally(
      self.confusion_KxK + other.confusion_KxK,
      self.loss_sum + other.loss_sum,
      self.among_five + other.among_five,
      right_N,
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
