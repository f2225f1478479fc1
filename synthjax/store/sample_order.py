"""The order of a segment's images, sample i of every class before sample i + 1 of any, without a number an image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Array = np.ndarray


class SampleOrder:
  """Of so many images of each class, after so many that it has `before`.

  It is made of stretches. Within one, every sample index has the same classes, so that arithmetic says what is at a place.
  """

  def __init__(self, before: Sequence[int] | Array, counts: Sequence[int] | Array):
    self._before = np.asarray(before, np.int64)
    self._ends = self._before + np.asarray(counts, np.int64)
    has_any = self._ends > self._before
    begins, ends = np.sort(self._before[has_any]), np.sort(self._ends[has_any])
    edges = np.unique(np.concatenate([begins, ends]))
    # Of each stretch: its first sample index, of how many classes it has images, and its first place.
    self._samples = edges[:-1]
    started, ended = (np.searchsorted(known, self._samples, "right") for known in (begins, ends))
    self._classes = started - ended
    self._places = np.concatenate([[0], np.cumsum(np.diff(edges) * self._classes)])

  def __len__(self) -> int:
    return int(self._places[-1])

  def sample(self, place: int) -> int:
    """The index within its class of the image at one place."""
    at = int(np.searchsorted(self._places, place, "right")) - 1
    return int(self._samples[at] + (place - self._places[at]) // self._classes[at])

  def rows(self, start: int, stop: int) -> tuple[Array, Array]:
    """(index within its class, label) of each image there."""
    samples, labels = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    first = int(np.searchsorted(self._places, start, "right")) - 1
    for at in range(first, len(self._samples)):
      if self._places[at] >= stop:
        break
      sample = self._samples[at]
      there = np.flatnonzero((self._before <= sample) & (sample < self._ends))
      if len(there):
        since = np.arange(max(start, self._places[at]), min(stop, self._places[at + 1])) - self._places[at]
        samples.append(sample + since // len(there))
        labels.append(there[since % len(there)])
    return np.concatenate(samples), np.concatenate(labels)
