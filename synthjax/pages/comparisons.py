"""What a page says of a run beside its accuracy: an interval over test images, and a paired test against its reference.

An arm's reference is the zero-shot classifier of its encoder. A learner has none; it is held against the learner that
has the same recipe and the same real images, and nothing else, where the study has one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from synthjax.evaluation import intervals
from synthjax.evaluation.accuracy import Tally
from synthjax.pages.inputs import Run
from synthjax.pages.page import Difference

# What a learner may have beside real images, from random weights; it changes nothing where there is no synthetic image.
_BESIDE = ("images_per_class", "ratio", "share", "norm", "test_norm", "init", "probe", "neighbours")


def interval(tallies: Sequence[Tally]) -> tuple[float, float] | None:
  """Of the mean over seeds, in percent; None before anything is measured."""
  if not tallies:
    return None
  share = float(np.mean([t.metrics()["top1"] for t in tallies])) / 100
  low, high = intervals.wilson(share, tallies[0].n)
  return 100 * low, 100 * high


def difference(run: Run, tallies: Sequence[Tally], reference: Run, test: str) -> Difference | None:
  """None where the two did not answer for the same images, or it is not known for which each was right."""
  theirs = reference.tallies(test)
  is_same = run.tests[test].digest == reference.tests[test].digest
  if not (is_same and _on_same_images(tallies, theirs)):
    return None
  found = intervals.paired(_right(tallies), _right(theirs))
  return Difference(reference.name, 100 * found.mean, 100 * found.low, 100 * found.high, found.p)


def reference_of(run: Run, runs: Sequence[Run]) -> Run | None:
  found = _zero_shot(run.encoder, runs) if run.encoder else _real_alone(run, runs)
  return None if found is run else found


def _zero_shot(encoder: str, runs: Sequence[Run]) -> Run | None:
  """The first that learns from nothing."""
  own = (r for r in runs if r.encoder == encoder)
  return next((r for r in own if not r.real_images and not r.has_set), None)


def _real_alone(learner: Run, runs: Sequence[Run]) -> Run | None:
  if not learner.real:
    return None
  alone = (r for r in runs if not r.encoder and not r.has_set and not r.has_init)
  return next((r for r in alone if _recipe(r) == _recipe(learner)), None)


def _recipe(learner: Run) -> dict[str, Any]:
  return {name: value for name, value in learner.recipe.items() if name not in _BESIDE}


def _on_same_images(ours: Sequence[Tally], theirs: Sequence[Tally]) -> bool:
  """Of one source, read in its order: as many images left out of each class."""
  rights = [t.right_N for t in (*ours, *theirs) if t.right_N is not None]
  if not ours or not theirs or len(rights) < len(ours) + len(theirs):
    return False
  seen_K = ours[0].confusion_KxK.sum(axis=1)
  same = all(np.array_equal(t.confusion_KxK.sum(axis=1), seen_K) for t in (*ours, *theirs))
  return same and {len(right) for right in rights} == {int(seen_K.sum())}


def _right(tallies: Sequence[Tally]) -> np.ndarray:
  return np.stack([np.asarray(t.right_N, bool) for t in tallies])
