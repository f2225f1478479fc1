"""RF, real filtering (He et al. 2023, few-shot): a synthetic image goes when the real image nearest to it is of another class.

The paper names no distance and no threshold. The margin is how much nearer its own class must be: 0 = as near suffices,
so a tie stays; more than that is stricter, less is laxer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from synthjax.filters.rule import Images, Others, SheetRow, View
from synthjax.spec.fields import COSINE, Filter
from synthjax.store import csv_file
from synthjax.store.features import Features

Array = np.ndarray
_ROWS = 4096  # at once
_SHOWN = 24  # on the sheet


@dataclasses.dataclass(frozen=True)
class Nearest:
  """Of each synthetic image: the nearest real image of its own class, and of any other."""

  own: Array  # nearness: a cosine, or a distance's negative
  other: Array
  which_own: Array  # places among the real images; -1 = there is none
  which_other: Array

  @property
  def margin(self) -> Array:
    """Its score: by how much its own class is nearer."""
    return self.own - self.other


def nearest(features_N: Array, labels_N: Array, real_M: Array, labels_M: Array, metric: str) -> Nearest:
  n = len(features_N)
  own, other = np.full(n, -np.inf), np.full(n, -np.inf)
  which_own, which_other = np.full(n, -1), np.full(n, -1)
  reals = _ready(real_M, metric)
  for start in range(0, n, _ROWS):
    rows = slice(start, start + _ROWS)
    near = _nearness(_ready(features_N[rows], metric), reals, metric)
    is_own = labels_N[rows, None] == labels_M[None]
    for mask, best, which in ((is_own, own, which_own), (~is_own, other, which_other)):
      masked = np.where(mask, near, -np.inf)
      best[rows] = masked.max(axis=1, initial=-np.inf)
      which[rows] = np.where(mask.any(axis=1), masked.argmax(axis=1), -1)
  return Nearest(own, other, which_own, which_other)


def passing(margin: float) -> float:
  """What a score must exceed to be as large as the margin: a tie stays."""
  return float(np.nextafter(margin, -np.inf))


def _ready(features: Array, metric: str) -> Array:
  features = features.astype(np.float64)
  return features / np.linalg.norm(features, axis=1, keepdims=True) if metric == COSINE else features


def _nearness(one: Array, others: Array, metric: str) -> Array:
  if metric == COSINE:
    return np.round(one @ others.T, 12)  # equal features are equally near, however the product is blocked
  squares = (one**2).sum(1)[:, None] - 2 * one @ others.T + (others**2).sum(1)
  return -np.round(np.sqrt(np.maximum(squares, 0)), 9)


@dataclasses.dataclass(frozen=True)
class NearerToAnotherClass:
  """Evidence: the images that are nearer to another class by more than the margin allows, and the real ones they are near to."""

  found: Nearest
  images: Images
  real: Features
  against: Others
  class_ids: Sequence[str]
  margin: float
  note: str = ""

  def _misplaced(self) -> list[int]:
    """The clearest cases first."""
    scores = self.found.margin
    strayed = np.flatnonzero(scores < self.margin)
    return strayed[np.argsort(scores[strayed], kind="stable")].tolist()

  def counts(self) -> dict[str, Any]:
    return {"strayed": len(self._misplaced())}

  def to_csv(self) -> bytes:
    rows, ids, (features,) = [], self.class_ids, self.images.features
    for i in self._misplaced():
      j = int(self.found.which_other[i])
      own = ids[int(features.labels[i])], self.real.ids[j], ids[int(self.real.labels[j])]
      rows.append([features.ids[i], *own, f"{self.found.other[i]:.4f}", f"{self.found.own[i]:.4f}"])
    columns = ("image_id", "class", "nearest", "nearest_class", "nearness", "own_class_nearness")
    return csv_file.to_bytes(columns, rows)

  def sheet(self) -> list[SheetRow]:
    """The image, the real one that is nearest, and the nearest of its own class."""
    own_file, source, (features,) = self.images.files(), self.against.source, self.images.features
    place_of = {key: i for i, key in enumerate(source.keys)}

    def real_file(j: int) -> bytes:
      return source.encoded(place_of[self.real.ids[j]])

    rows: list[SheetRow] = []
    for i in self._misplaced()[:_SHOWN]:
      near, own = int(self.found.which_other[i]), int(self.found.which_own[i])
      cells = [own_file(i), real_file(near)]
      cells += [real_file(own)] if own >= 0 else []
      label, other = (self.class_ids[int(k)] for k in (features.labels[i], self.real.labels[near]))
      rows.append((f"{label}, near a {other}", cells))
    return rows


@dataclasses.dataclass(frozen=True)
class RealRule:
  """Rule real: the threshold is the margin."""

  fields: Filter
  views: Sequence[View]
  score_means: ClassVar[str] = (
    "by how much the nearest real image of its own class is nearer than that of any other"
  )
  counted: ClassVar[tuple[str, ...]] = ("strayed",)
  may_fill: ClassVar[bool] = True

  @staticmethod
  def encoders(fields: Filter) -> list[str]:
    return [fields.encoder]

  def identity(self) -> dict[str, Any]:
    return self.fields.identity() | self.views[0].identity

  @property
  def threshold(self) -> float:
    return self.fields.margin

  @property
  def must_exceed(self) -> float:
    return passing(self.threshold)

  def score(self, images: Images) -> tuple[Array, NearerToAnotherClass]:
    view, (features,) = self.views[0], images.features
    assert view.against
    real = view.against.load()
    found = nearest(features.features, features.labels, real.features, real.labels, self.fields.metric)
    return found.margin, NearerToAnotherClass(
      found, images, real, view.against, view.encoder.labels.ids, self.threshold
    )

  @property
  def how(self) -> str:
    margin = f", by a margin of {self.threshold:g}" if self.threshold else ""
    near = f"those to which the nearest image of {self.fields.against} is of their own class{margin}"
    return f"{near}, by {self.fields.metric} features of {self.views[0].encoder.name}"

  @property
  def limits(self) -> str:
    return ""

  def found(self, summary: Mapping[str, Any]) -> str:
    return f"{summary['strayed']} images are nearer to a real image of another class"
