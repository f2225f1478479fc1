"""What each seed of a learner learns from: real images, synthetic ones, or both."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from synthjax.data.draws import draw
from synthjax.data.source import Source
from synthjax.data.sources import open_real
from synthjax.labels.spaces import LabelSpace
from synthjax.products.image_set import ImageSet
from synthjax.products.keep_list import KeepList
from synthjax.products.selection import Selection
from synthjax.runtime.errors import UserError
from synthjax.spec.study import StudySpec


class LearnerImages:
  def __init__(
    self,
    config: StudySpec,
    learner: str,
    labels: LabelSpace,
    image_set: ImageSet | None,
    keep: KeepList | None,
  ):
    self._config, self._learner, self._labels = config, learner, labels
    self._fields, self.image_set, self.selection = config.learners[learner], image_set, None
    if image_set:
      self.selection = Selection(f"learner {learner}", image_set, keep, self._drawn_from)

  def _drawn_from(self) -> int:
    """Images a class that all seeds together learn from."""
    return max(self._fields.drawn_from, self.per_class)

  @functools.cached_property
  def whole_real(self) -> Source | None:
    """As many as each seed learns from."""
    return self.real(0)

  def real(self, seed: int) -> Source | None:
    """Seed s learns from the draw that is s further on: few images differ more by which they are than by anything else."""
    if not self._fields.real:
      return None
    own = self._config.real[self._fields.real]
    return open_real(dataclasses.replace(own, draw=own.draw + seed), self._labels)

  @property
  def real_images(self) -> int:
    return len(self.whole_real) if self.whole_real else 0

  @property
  def per_class(self) -> int:
    """Synthetic images a class; 0 = all that were asked for, or kept."""
    if ratio := self._fields.ratio:
      n = round(ratio * self.real_images / len(self._labels))
      if not n:
        raise UserError(
          f"learner {self._learner}: ratio {ratio:g} of {self.real_images} real images is no image a class; raise it"
        )
      return n
    return self._fields.images_per_class

  @property
  def synthetic_images(self) -> int:
    if self.selection and self._fields.drawn_from:
      return self.per_class * len(self._labels)
    return len(self.selection.now().places) if self.selection else 0

  def sources(self, seed: int) -> dict[str, Source]:
    """By domain."""
    found: dict[str, Source] = {}
    if real := self.real(seed):
      found["real"] = real
    if self.selection:
      found["synthetic"] = self.selection.source(f"{self.synthetic_images} images")
      if self._fields.drawn_from:
        found["synthetic"] = draw(found["synthetic"], self._labels, shots=self.per_class, seed=seed)
    return found

  def check_shots(self, shots: int) -> None:
    """A learner takes all images of a class that has fewer; a point of a curve would be at another place than it says."""
    whole = self.whole_real
    assert whole is not None and whole.labels is not None
    counts = np.bincount(whole.labels, minlength=len(self._labels))
    if (least := int(counts.min())) < shots:
      where = f"config.scaling: point {self._learner}"
      raise UserError(
        f"{where}: class {self._labels.ids[int(counts.argmin())]} of real {self._fields.real} has {least} images, and shots is {shots}; lower it"
      )
