"""What a page says of an arm beside its accuracy: an interval over test images, and a paired test against its reference.

An arm's reference is the zero-shot classifier of its encoder. A learner has none; it is held against the learner that
has the same recipe and the same real images, and nothing else, where the study has one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from synthjax.evaluation import intervals
from synthjax.evaluation.accuracy import Tally
from synthjax.pages.page import Difference
from synthjax.products.image_set import ImageSet
from synthjax.products.learn import Learner
from synthjax.products.tune import Arm

# What a learner may have beside real images, from random weights; it changes nothing where there is no synthetic image.
_BESIDE = ("images_per_class", "ratio", "share", "norm", "test_norm", "init", "probe", "neighbours")


def interval(tallies: Sequence[Tally]) -> tuple[float, float] | None:
  """Of the mean over seeds, in percent; None before anything is measured."""
  if not tallies:
    return None
  share = float(np.mean([t.metrics()["top1"] for t in tallies])) / 100
  low, high = intervals.wilson(share, tallies[0].n)
  return 100 * low, 100 * high


def difference(
  arm: Arm | Learner, tallies: Sequence[Tally], reference: Arm | Learner, test: str
) -> Difference | None:
  """None where the two did not answer for the same images, or it is not known for which each was right."""
  theirs = reference.tallies(test)
  if not _on_same_images(arm, tallies, reference, theirs, test):
    return None
  found = intervals.paired(_right(tallies), _right(theirs))
  return Difference(reference.arm, 100 * found.mean, 100 * found.low, 100 * found.high, found.p)


def zero_shot(arms: Sequence[Arm | Learner], encoder: str) -> Arm | None:
  """The first that learns from nothing."""
  own = (a for a in arms if isinstance(a, Arm) and a.encoder_name == encoder)
  return next((a for a in own if not a.real_images and not uses_a_set(a)), None)


def uses_a_set(arm: Arm | Learner) -> bool:
  return any(isinstance(product, ImageSet) for product in arm.inputs)


def reference_of(arm: Arm | Learner, arms: Sequence[Arm | Learner]) -> Arm | Learner | None:
  if isinstance(arm, Learner):
    return _real_alone(arm, [a for a in arms if isinstance(a, Learner)])
  found = zero_shot(arms, arm.encoder_name)
  return None if found is arm else found


def _real_alone(learner: Learner, learners: Sequence[Learner]) -> Learner | None:
  if not learner.fields.real:
    return None
  alone = (x for x in learners if not uses_a_set(x) and not x.fields.init)
  found = next((x for x in alone if _recipe(x) == _recipe(learner)), None)
  return None if found is learner else found


def _recipe(learner: Learner) -> dict[str, Any]:
  kept = learner.fields.identity()
  return {name: value for name, value in kept.items() if name not in _BESIDE}


def _on_same_images(
  arm: Arm | Learner, ours: Sequence[Tally], other: Arm | Learner, theirs: Sequence[Tally], test: str
) -> bool:
  """The same source, read in its order, and as many images left out of each class."""
  rights = [t.right_N for t in (*ours, *theirs) if t.right_N is not None]
  if not ours or not theirs or len(rights) < len(ours) + len(theirs):
    return False
  seen_K = ours[0].confusion_KxK.sum(axis=1)
  same = all(np.array_equal(t.confusion_KxK.sum(axis=1), seen_K) for t in (*ours, *theirs))
  same = same and {len(right) for right in rights} == {int(seen_K.sum())}
  return same and arm.source(test).digest == other.source(test).digest


def _right(tallies: Sequence[Tally]) -> np.ndarray:
  return np.stack([np.asarray(t.right_N, bool) for t in tallies])
