"""What a page shows of arms that are one method at several shots and draws, and of parents beside their children."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from synthjax.pages import page
from synthjax.products.drawn_set import DrawnSet
from synthjax.products.image_set import ImageSet
from synthjax.products.tune import Arm

_PARENTS, _CHILDREN = 10, 2


@dataclasses.dataclass(frozen=True)
class Method:
  """Arms that differ in shots, draws and seeds alone."""

  name: str
  arms: tuple[Arm, ...]

  def at(self, shots: int) -> tuple[Arm, ...]:
    return tuple(arm for arm in self.arms if arm.shots == shots)

  @property
  def shots(self) -> list[int]:
    return sorted({arm.shots for arm in self.arms})

  def line(self, test: str, against: Method | None) -> page.Method:
    """Accuracy by shots; gains are held against the same draw of the method that knows no synthetic image."""
    points, gains = [], []
    for shots in self.shots:
      levels = {arm.draw: _level(arm, test) for arm in self.at(shots) if arm.tallies(test)}
      base = (
        {arm.draw: _level(arm, test) for arm in against.at(shots) if arm.tallies(test)} if against else {}
      )
      if levels:
        points.append((shots, tuple(levels.values())))
      if pairs := tuple(levels[d] - base[d] for d in levels if d in base):
        gains.append((shots, pairs))
    return page.Method(self.name, self.arms[0].how_in_general, tuple(points), tuple(gains))


def methods(arms: Sequence[Arm]) -> list[Method]:
  by_name: dict[str, list[Arm]] = {}
  for arm in arms:
    if arm.method:
      by_name.setdefault(arm.method, []).append(arm)
  return [Method(name, tuple(own)) for name, own in by_name.items()]


def table(arms: Sequence[Arm], test: str) -> tuple[page.Method, ...]:
  """The first method that learns from real images alone, without an adapter, is what the others are held against."""
  found = methods(arms)
  plain = next((m for m in found if len(m.shots) > 1 and m.arms[0].is_plainly_real), None)
  return tuple(m.line(test, None if m is plain else plain) for m in found)


def families(sets: Sequence[ImageSet], classes: Sequence[str]) -> tuple[page.Family, ...]:
  """The parents that most sets share, the first of each class, with their first children by falling strength."""
  drawn = [s for s in sets if isinstance(s, DrawnSet) and s.has_parents and s.status().have]
  children: dict[str, dict[float, list[bytes]]] = {}
  about: dict[str, tuple[int, DrawnSet]] = {}
  for image_set in drawn:
    for row in image_set.first(_CHILDREN * 16):
      parent, strength = row["parent_id"].decode(), round(float(row["strength"]), 3)
      own = children.setdefault(parent, {}).setdefault(strength, [])
      if len(own) < _CHILDREN:
        own.append(row["image"])
      about.setdefault(parent, (row["label"], image_set))
  shown: list[page.Family] = []
  for label, class_id in enumerate(classes):
    of_class = [p for p in children if about[p][0] == label]
    if not of_class or len(shown) == _PARENTS:
      continue
    parent = max(of_class, key=lambda p: len(children[p]))
    buffer = io.BytesIO()
    Image.fromarray(about[parent][1].parent_pixels(parent)).save(buffer, "PNG")
    by_strength = tuple((s, tuple(jpegs)) for s, jpegs in sorted(children[parent].items(), reverse=True))
    shown.append(page.Family(class_id, parent, buffer.getvalue(), by_strength))
  return tuple(shown)


def _level(arm: Arm, test: str) -> float:
  return float(np.mean([t.metrics()["top1"] for t in arm.tallies(test)]))
