"""What a filter said of single images, from the arrays of its keep-list."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from synthjax.pages.inputs import Counts, Scored

# What the number beside a generated image is, by the rule of the filter that looked at it.
_MEANING = {
  "clip": "the probability that it gives to the image’s own class",
  "real": "by how much the nearest real image of its own class is nearer than that of any other",
  "unlike": "1 less the similarity to the image that is most like it",
}


def meaning(rule: str) -> str:
  return _MEANING.get(rule, "its score")


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
