"""From scores to a keep-list: a threshold, a quota a class, and what to do about classes that miss it."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

Array = np.ndarray


@dataclasses.dataclass(frozen=True)
class Choice:
  """Which images stay, and how it went by class: [K] each."""

  stays_N: Array  # bool
  drawn: Array
  passed: Array  # above the threshold
  kept: Array  # at most the quota
  filled: Array  # of the kept: below the threshold, the best-scored of a class that missed the quota


def choose(
  scores_N: Array, labels_N: Array, n_classes: int, threshold: float, quota: int, fill: bool
) -> Choice:
  """The first `quota` of each class that score above the threshold, in the order given; quota 0: all of them.

  With `fill`, a class with fewer is filled up by its best-scored other images. Of equal scores the earlier goes first.
  So a larger set, or a larger quota, keeps what a smaller one kept by passing.
  """
  passes = scores_N > threshold
  stays, filled = np.zeros(len(scores_N), bool), np.zeros(n_classes, int)
  for c in range(n_classes):
    own = np.flatnonzero(labels_N == c)
    passing = own[passes[own]]
    stays[passing[:quota] if quota else passing] = True
    if fill and len(passing) < quota:
      others = own[~passes[own]]
      best = others[np.argsort(-scores_N[others], kind="stable")][: quota - len(passing)]
      stays[best], filled[c] = True, len(best)

  def count(which: Array) -> Array:
    return np.bincount(labels_N[which], minlength=n_classes)

  return Choice(stays, count(np.ones(len(labels_N), bool)), count(passes), count(stays), filled)


def further(choice: Choice, quota: int, most: int) -> tuple[int, ...]:
  """How many more images of each class to draw, so that the quota is likely to be met; at most `most` of it in all.

  A tenth more than the acceptance seen asks for, since it is an estimate; a class that had nothing kept is doubled.
  """
  more = []
  for drawn, passed in zip(choice.drawn.tolist(), choice.passed.tolist(), strict=True):
    short = quota - passed
    wish = math.ceil(1.1 * short * drawn / passed) if passed else max(drawn, quota)
    more.append(max(min(wish, most - drawn), 0) if short > 0 else 0)
  return tuple(more)
