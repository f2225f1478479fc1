"""What a filter said of single images, from the arrays of its keep-list."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from synthjax.pages.inputs import Counts, Scored
from synthjax.store import image_ids


def of_images(
  arrays: Mapping[str, np.ndarray], classes: Sequence[Counts], ids: Collection[str]
) -> dict[str, Scored]:
  """Of those images that the filter has seen; `arrays` are ids, labels, scores and stays, in plan order."""
  passed, wanted = _passed(arrays, classes), list(ids)
  places = zip(wanted, image_ids.places_of(wanted, arrays["ids"].tolist()).tolist(), strict=True)
  return {
    image_id: Scored(float(arrays["scores"][i]), bool(arrays["stays"][i]), bool(passed[i]))
    for image_id, i in places
    if i >= 0
  }


def _passed(arrays: Mapping[str, np.ndarray], classes: Sequence[Counts]) -> np.ndarray:
  """[N] bool: what the rule lets through, whatever the quota: the best-scored of each class, as many as its counts say."""
  found = np.zeros(len(arrays["labels"]), bool)
  for label, counts in enumerate(classes):
    own, n = np.flatnonzero(arrays["labels"] == label), counts.passed
    if n:
      scores = arrays["scores"][own]
      least = np.partition(scores, len(own) - n)[-n]
      better, equal = (
        scores > least,
        np.flatnonzero(scores == least),
      )  # of equal scores the earlier goes first
      found[own[better]] = found[own[equal[: n - better.sum()]]] = True
  return found
