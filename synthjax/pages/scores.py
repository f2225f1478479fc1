"""What a filter said of single images, from the arrays of its keep-list."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from synthjax.pages.inputs import Counts, Scored


def of_images(
  arrays: Mapping[str, np.ndarray], classes: Sequence[Counts], ids: Collection[str]
) -> dict[str, Scored]:
  """Of those images that the filter has seen; `arrays` are ids, labels, scores and stays, in plan order."""
  passed = _passed(arrays, classes)
  return {
    (image_id := str(arrays["ids"][i])): Scored(
      float(arrays["scores"][i]), bool(arrays["stays"][i]), image_id in passed
    )
    for i in np.flatnonzero(np.isin(arrays["ids"], list(ids)))
  }


def _passed(arrays: Mapping[str, np.ndarray], classes: Sequence[Counts]) -> frozenset[str]:
  """Images that the rule lets through, whatever the quota: the best-scored of each class, as many as its counts say."""
  found: list[str] = []
  for label, counts in enumerate(classes):
    own = np.flatnonzero(arrays["labels"] == label)
    best = own[np.argsort(-arrays["scores"][own], kind="stable")]
    found += arrays["ids"][best[: counts.passed]].tolist()
  return frozenset(found)
