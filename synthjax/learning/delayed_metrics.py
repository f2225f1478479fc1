"""Metrics of training steps, fetched one step late so that the devices never wait, and evaluations in between."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from synthjax.learning.checkpoint import Checkpoints
from synthjax.learning.metrics import Metrics


@dataclasses.dataclass(frozen=True)
class Watch:
  """Evaluations while training goes on; each is a row of metrics."""

  evaluate: Callable[[Any], dict[str, float]]
  every: int = 0  # steps; 0 = only at the end
  best: str = ""  # the metric, the higher the better, whose best variables are kept apart


class NotFinite(Exception):
  def __init__(self, step: int, loss: float):
    super().__init__(step, loss)
    self.step, self.loss = step, loss


class DelayedMetrics:
  """Metrics of the pending step: fetched when the next one runs, written every `log_steps`.

  Of runs side by side, one a seed, the mean and each run's own.
  """

  def __init__(
    self,
    metrics: Metrics,
    checkpoints: Checkpoints,
    watch: Watch | None,
    log_steps: int,
    seeds: Sequence[int] = (),
  ):
    self._metrics, self._checkpoints, self._watch, self._log_steps = metrics, checkpoints, watch, log_steps
    self._seeds = seeds
    self.pending: tuple[int, dict[str, jax.Array]] | None = None

  def flush(self, learnt: Any = None, last: bool = False) -> None:
    """Waits for the pending step and writes its metrics. With `learnt` given, these are evaluated, and the result joins the row."""
    if self.pending is None:
      return
    (step, values), self.pending = self.pending, None
    numbers = {k: float(np.asarray(v).mean()) for k, v in values.items()}
    for name, of_runs in values.items() if self._seeds else ():
      numbers |= {f"{name}/seed-{s}": float(v) for s, v in zip(self._seeds, np.asarray(of_runs), strict=True)}
    if not math.isfinite(numbers["loss"]):
      raise NotFinite(step, numbers["loss"])
    if self._watch and learnt is not None:
      found = self._watch.evaluate(learnt)
      if self._watch.best:
        self._checkpoints.save_best(step, learnt, self._watch.best, found[self._watch.best])
      numbers |= found
      last = True
    if last or step % self._log_steps == 0:
      self._metrics.write(step, numbers)
