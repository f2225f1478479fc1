"""Image sets, arms and learners as a study resolves them: with the fields that they leave to common groups, references parsed."""

from __future__ import annotations

import functools
from typing import TypeAlias

from synthjax.spec import fields
from synthjax.spec.references import ImagesRef, named

Value: TypeAlias = str | int | float
Axes: TypeAlias = tuple[tuple[str, Value], ...]


class SampledSet(fields.Sampling):
  """An image set that is sampled."""

  prompts: str = ""  # of the study's prompt lists
  axes: Axes = ()  # of a set that a grid makes

  @property
  def network(self) -> str:
    """The network of the study that samples; "" where the generator is another."""
    return named("network", self.generator)

  @property
  def real_parents(self) -> str:
    """The real images of the study to begin as; "" where there are none, or others."""
    return named("real", self.parents)


class Arm(fields.Tuning):
  """A classifier that is tuned; without images the zero-shot one."""

  images: ImagesRef = ImagesRef()


class Learner(fields.Learning):
  """A network that is trained. Its own class has its task's fields too."""

  images: ImagesRef = ImagesRef()
  axes: Axes = ()  # of a point of a grid: a column each of its rows
  curve: Axes = ()  # of these, what tells its curve from others; its points differ in numbers of images alone

  @property
  def begins_with(self) -> str:
    """The learner whose weights it begins with; "" = none."""
    return named("learner", self.init)


@functools.cache
def learner_of_task(of: type[fields.Learning]) -> type[Learner]:
  return type(of.__name__, (Learner, of), {})
