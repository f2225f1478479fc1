"""For filters of rule unlike: which image each one repeats, to the byte or nearly; the files' hashes and their features."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np

from synthjax.data.decoding import Unreadable
from synthjax.data.feeding import in_threads
from synthjax.filters.unlike import nearest, nearest_earlier
from synthjax.pages import contact_sheet
from synthjax.stages.embed import Features, RealEmbeddings
from synthjax.stages.image_set import ImageSet
from synthjax.store import csv_file, schema
from synthjax.store.export import Examples

Array = np.ndarray
_SHOWN = 24


@dataclasses.dataclass(frozen=True)
class Repeats:
  """Of each image: the most similar other one."""

  similarity: Array
  which: Array  # place of the other among the earlier ones, or in the test; -1 = none
  exact: Array  # bool: the same file
  names: Array  # of the others: image ids, or keys of the test
  own_file: Callable[[int], bytes]
  other_file: Callable[[int], bytes]

  @property
  def scores(self) -> Array:
    """Unlikeness: the larger the better."""
    return 1 - self.similarity

  def _found(self, threshold: float) -> list[int]:
    """Those that do not stay, the most similar first."""
    found = np.flatnonzero(self.similarity >= threshold)
    return found[np.argsort(-self.similarity[found], kind="stable")].tolist()

  def count(self, threshold: float) -> dict[str, Any]:
    return {"exact": int(self.exact.sum()), "near": len(self._found(threshold)) - int(self.exact.sum())}

  def to_csv(self, ids: Array, threshold: float) -> bytes:
    rows = (
      [ids[i], self.names[self.which[i]], f"{self.similarity[i]:.4f}", int(self.exact[i])]
      for i in self._found(threshold)
    )
    return csv_file.to_bytes(("image_id", "repeats", "similarity", "exact"), rows)

  def sheet(self, threshold: float, title: str) -> bytes:
    """PNG of the first pairs, side by side."""
    found = self._found(threshold)[:_SHOWN]
    rows = [
      (
        "same file" if self.exact[i] else f"{self.similarity[i]:.3f}",
        [self.own_file(i), self.other_file(int(self.which[i]))],
      )
      for i in found
    ]
    return contact_sheet.draw(rows, title)


def find(features: Features, image_set: ImageSet, places: Array, against: RealEmbeddings | None) -> Repeats:
  """`places` are those of the features in the set; against None, images are held against the earlier ones."""
  examples = Examples(image_set.folder)

  def own(i: int) -> bytes:
    return schema.parse_image(examples[int(places[i])])

  files = list(in_threads(lambda i: _hash(own(i)), range(len(features))))
  first: dict[str, int] = {}
  if against is None:
    similarity, which = nearest_earlier(features.features)
    same = np.array([first.setdefault(file, i) for i, file in enumerate(files)], int)
    exact, names, other = same < np.arange(len(same)), features.ids, own
  else:
    real, source = against.load(), against.source
    place_of = {key: i for i, key in enumerate(source.keys)}
    similarity, which = nearest(features.features, real.features)
    which = np.array([place_of[key] for key in real.ids.tolist()], int)[
      which
    ]  # unreadable ones have no features
    for i, file in enumerate(in_threads(lambda i: _file(source, i), range(len(source)))):
      first.setdefault(file, i)
    same = np.array([first.get(file, -1) for file in files], int)
    exact, names, other = same >= 0, np.array(source.keys), source.encoded
  return Repeats(np.where(exact, 1.0, similarity), np.where(exact, same, which), exact, names, own, other)


def _hash(data: bytes) -> str:
  return hashlib.sha256(data).hexdigest()


def _file(source: Any, i: int) -> str:
  try:
    return _hash(source.encoded(i))
  except Unreadable:
    return ""
