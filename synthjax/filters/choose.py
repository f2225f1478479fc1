"""From scores to a keep-list: a threshold, a quota a class, and what to do about classes that miss it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping

import numpy as np

from synthjax.data.selection import rank

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
  passing = np.flatnonzero(passes)
  of_quota = rank(labels_N[passing]) < quota if quota else np.ones(len(passing), bool)
  passed = np.bincount(labels_N[passing], minlength=n_classes)
  stays, filling = np.zeros(len(scores_N), bool), np.zeros(0, int)
  stays[passing[of_quota]] = True
  if fill:
    others = np.flatnonzero(~passes)
    others = others[np.lexsort((-scores_N[others], labels_N[others]))]
    filling = others[rank(labels_N[others]) < quota - passed[labels_N[others]]]
    stays[filling] = True

  def count(which: Array) -> Array:
    return np.bincount(labels_N[which], minlength=n_classes)

  return Choice(stays, np.bincount(labels_N, minlength=n_classes), passed, count(stays), count(filling))


def further(choice: Choice, quota: int, most: int) -> tuple[int, ...]:
  """How many more images of each class to draw, so that the quota is likely to be met; at most `most` of it in all.

  A tenth more than the acceptance seen asks for, since it is an estimate; a class that had nothing kept is doubled.
  """
  more = []
  for drawn, passed in zip(choice.drawn.tolist(), choice.passed.tolist(), strict=True):
    short = quota - passed
    wanted = math.ceil(1.1 * short * drawn / passed) if passed else max(drawn, quota)
    more.append(max(min(wanted, most - drawn), 0) if short > 0 else 0)
  return tuple(more)


def prefix(
  begin: Array, look: Callable[[list[Array]], Choice | None], quota: int, most: int, max_rounds: int
) -> tuple[list[Array], Choice | None]:
  """How many samples of each class a filter sees, [K] in each round, and what it chooses of the last.

  `look` scores the samples up to those of the last round; None: not all of them are drawn. Each round follows from the
  scores of the samples before it alone, so it does not matter who had what drawn, or when.
  """
  reach = [begin]
  while (choice := look(reach)) is not None and quota and len(reach) <= max_rounds:
    more = np.array(further(choice, quota, most))
    if not more.any():
      break
    reach.append(reach[-1] + more)
  return reach, choice


def visible(samples_N: Array, labels_N: Array, reach: list[Array]) -> Array:
  """Places of the samples that a filter sees, round by round, as if it had drawn them itself."""
  places = np.flatnonzero(samples_N < reach[-1][labels_N])
  samples, labels = samples_N[places], labels_N[places]
  rounds = np.zeros(len(places), int)
  for most in reach[:-1]:
    rounds += samples >= most[labels]
  return places[np.lexsort((labels, samples, rounds))]


def is_by_prefix(
  scored: Mapping[str, Array],
  labels_N: Array,
  may_be_scored_N: Array,
  rounds_of: Callable[[Callable[[list[Array]], Choice | None]], tuple[list[Array], Choice | None]],
  choose_of: Callable[[Array, Array], Choice],
) -> bool:
  """Whether a list of an older release, which scored other images too, scored those that `prefix` reaches, and kept the same.

  `scored`: labels, scores and stays of its images. `labels_N`: of all images of the set, of which it had scored the first
  so many among those that it may have scored.
  """
  samples_N = rank(labels_N)
  places = np.flatnonzero(may_be_scored_N)[: len(scored["labels"])]
  samples, labels, scores = samples_N[places], labels_N[places], scored["scores"]
  if not np.array_equal(labels, scored["labels"]):
    return False

  def look(reach: list[Array]) -> Choice | None:
    seen = samples < reach[-1][labels]
    there = np.bincount(labels[seen], minlength=len(reach[-1]))
    if len(reach) > 1 and (there < reach[-1]).any():
      return None
    return choose_of(scores[seen], labels[seen])

  reach, choice = rounds_of(look)
  if choice is None or not (samples < reach[-1][labels]).all():
    return False
  return np.array_equal(choice.stays_N, scored["stays"])
