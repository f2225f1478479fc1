"""What a page shows of arms that are one method at several shots and draws, and of parents beside their children."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from synthjax.pages import page
from synthjax.pages.inputs import Images, Run

_PARENTS, _CHILDREN = 10, 2
SEEN = _CHILDREN * 16  # images a class in which children are looked for


@dataclasses.dataclass(frozen=True)
class Method:
  """Arms that differ in shots, draws and seeds alone."""

  name: str
  arms: tuple[Run, ...]

  def at(self, shots: int) -> tuple[Run, ...]:
    return tuple(arm for arm in self.arms if arm.shots == shots)

  @property
  def shots(self) -> list[int]:
    return sorted({arm.shots for arm in self.arms})

  def line(self, test: str, against: Method | None) -> page.Method:
    """Accuracy by shots; gains are held against the same draw of the method that knows no synthetic image."""
    points, gains = [], []
    for shots in self.shots:
      levels = _levels(self.at(shots), test)
      base = _levels(against.at(shots), test) if against else {}
      if levels:
        points.append((shots, tuple(levels.values())))
      if pairs := tuple(levels[d] - base[d] for d in levels if d in base):
        gains.append((shots, pairs))
    return page.Method(self.name, self.arms[0].how_in_general, tuple(points), tuple(gains))


def methods(runs: Sequence[Run]) -> list[Method]:
  by_name: dict[str, list[Run]] = {}
  for run in runs:
    if run.method:
      by_name.setdefault(run.method, []).append(run)
  return [Method(name, tuple(own)) for name, own in by_name.items()]


def table(runs: Sequence[Run], test: str) -> tuple[page.Method, ...]:
  """The first method that learns from real images alone, without an adapter, is what the others are held against."""
  found = methods(runs)
  plain = next((m for m in found if len(m.shots) > 1 and m.arms[0].is_plainly_real), None)
  return tuple(m.line(test, None if m is plain else plain) for m in found)


@dataclasses.dataclass(frozen=True)
class Family:
  """A parent and its children, of whom the set's name says where the parent can be seen."""

  class_id: str
  parent_id: str
  images: str
  children: tuple[tuple[float, tuple[bytes, ...]], ...]  # strength, JPEGs


def families(sets: Sequence[Images], classes: Sequence[str]) -> list[Family]:
  """The parents that most sets share, the first of each class, with their first children by falling strength."""
  children: dict[str, dict[float, list[bytes]]] = {}
  about: dict[str, tuple[int, str]] = {}
  for images in sets:
    for picture in images.first:
      strength = round(picture.strength, 3)
      own = children.setdefault(picture.parent_id, {}).setdefault(strength, [])
      if len(own) < _CHILDREN:
        own.append(picture.jpeg)
      about.setdefault(picture.parent_id, (picture.label, images.name))
  shown: list[Family] = []
  for label, class_id in enumerate(classes):
    of_class = [p for p in children if about[p][0] == label]
    if not of_class or len(shown) == _PARENTS:
      continue
    parent = max(of_class, key=lambda p: len(children[p]))
    by_strength = tuple((s, tuple(jpegs)) for s, jpegs in sorted(children[parent].items(), reverse=True))
    shown.append(Family(class_id, parent, about[parent][1], by_strength))
  return shown


def _levels(arms: Sequence[Run], test: str) -> dict[int, float]:
  """Mean top-1 by draw, of those arms that have results."""
  return {
    arm.draw: float(np.mean([t.metrics()["top1"] for t in tallies]))
    for arm in arms
    if (tallies := arm.tallies(test))
  }
