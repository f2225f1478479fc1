"""For filters of rule real: which synthetic images stray to another class's real images, and beside which ones they lie."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from synthjax.filters.real import Nearest, nearest
from synthjax.labels.spaces import LabelSpace
from synthjax.pages import contact_sheet
from synthjax.products.features import RealEmbeddings
from synthjax.products.image_set import ImageSet
from synthjax.store import csv_file, schema
from synthjax.store.export import Examples
from synthjax.store.features import Features

_SHOWN = 24


@dataclasses.dataclass(frozen=True)
class Strays:
  found: Nearest
  features: Features
  real: Features
  labels: LabelSpace
  places: np.ndarray  # of the features in the set
  image_set: ImageSet
  against: RealEmbeddings
  note: str = ""  # nothing that the user would not expect

  @property
  def scores(self) -> np.ndarray:
    return self.found.margin

  def _dropped(self, margin: float) -> list[int]:
    """The clearest cases first."""
    dropped = np.flatnonzero(self.scores < margin)
    return dropped[np.argsort(self.scores[dropped], kind="stable")].tolist()

  def count(self, margin: float) -> dict[str, Any]:
    return {"strayed": len(self._dropped(margin))}

  def to_csv(self, image_ids: np.ndarray, margin: float) -> bytes:
    rows, ids = [], self.labels.ids
    for i in self._dropped(margin):
      j = self.found.which_other[i]
      own = ids[self.features.labels[i]], self.real.ids[j], ids[self.real.labels[j]]
      rows.append([image_ids[i], *own, f"{self.found.other[i]:.4f}", f"{self.found.own[i]:.4f}"])
    columns = ("image_id", "class", "nearest", "nearest_class", "nearness", "own_class_nearness")
    return csv_file.to_bytes(columns, rows)

  def sheet(self, margin: float, title: str) -> bytes:
    """PNG of the first: the image, the real one that is nearest, and the nearest of its own class."""
    dropped = self._dropped(margin)[:_SHOWN]
    examples, source = Examples(self.image_set.folder), self.against.source
    place_of = {key: i for i, key in enumerate(source.keys)}

    def real_file(j: int) -> bytes:
      return source.encoded(place_of[self.real.ids[j]])

    rows = []
    for i in dropped:
      near, own = int(self.found.which_other[i]), int(self.found.which_own[i])
      cells = [schema.parse_image(examples[int(self.places[i])]), real_file(near)]
      cells += [real_file(own)] if own >= 0 else []
      label, other = self.labels.ids[self.features.labels[i]], self.labels.ids[self.real.labels[near]]
      rows.append((f"{label}, near a {other}", cells))
    return contact_sheet.draw(rows, title)


def find(
  features: Features,
  labels: LabelSpace,
  image_set: ImageSet,
  places: np.ndarray,
  against: RealEmbeddings,
  metric: str,
) -> Strays:
  real = against.load()
  found = nearest(features.features, features.labels, real.features, real.labels, metric)
  return Strays(found, features, real, labels, places, image_set, against)
