"""For filters of rule unlike: which image each one repeats, to the byte or nearly; the files' hashes and their features."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
from typing import Any

import numpy as np

from synthjax.data.decoding import Unreadable
from synthjax.data.feeding import in_threads
from synthjax.filters.unlike import nearest, nearest_earlier
from synthjax.stages.embed import Features, RealEmbeddings
from synthjax.stages.image_set import ImageSet
from synthjax.store import schema
from synthjax.store.export import Examples

Array = np.ndarray


@dataclasses.dataclass(frozen=True)
class Repeats:
  """Of each image: the most similar other one."""

  similarity: Array
  others: Array  # ids, or keys of the test; "" = none
  exact: Array  # bool: the same file

  @property
  def unlikeness(self) -> Array:
    """Its score: the larger the better."""
    return 1 - self.similarity

  def count(self, threshold: float) -> dict[str, Any]:
    near = (self.similarity >= threshold) & ~self.exact
    return {"exact": int(self.exact.sum()), "near": int(near.sum())}

  def to_csv(self, ids: Array, threshold: float) -> bytes:
    """Of those that do not stay, the most similar first."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["image_id", "repeats", "similarity", "exact"])
    found = np.flatnonzero(self.similarity >= threshold)
    for i in found[np.argsort(-self.similarity[found], kind="stable")].tolist():
      writer.writerow([ids[i], self.others[i], f"{self.similarity[i]:.4f}", int(self.exact[i])])
    return buffer.getvalue().encode(errors="surrogateescape")


def find(features: Features, image_set: ImageSet, places: Array, against: RealEmbeddings | None) -> Repeats:
  """`places` are those of the features in the set; against None, images are held against the earlier ones."""
  examples = Examples(image_set.folder)
  files = list(in_threads(lambda i: _hash(schema.parse_image(examples[i])), places.tolist()))
  if against is None:
    similarity, which = nearest_earlier(features.features)
    others = np.append(features.ids, "")[which]
    known: dict[str, Any] = {}
    same = [known.setdefault(file, image_id) for file, image_id in zip(files, features.ids, strict=True)]
    exact = np.array([a != b for a, b in zip(same, features.ids, strict=True)], bool)
  else:
    real = against.load()
    similarity, which = nearest(features.features, real.features)
    others, source = real.ids[which], against.source
    keys = dict(zip(in_threads(lambda i: _file(source, i), range(len(source))), source.keys, strict=True))
    same = [keys.get(file, "") for file in files]
    exact = np.array([bool(key) for key in same], bool)
  similarity = np.where(exact, 1.0, similarity)
  return Repeats(similarity, np.where(exact, np.array(same, dtype=str), others), exact)


def _hash(data: bytes) -> str:
  return hashlib.sha256(data).hexdigest()


def _file(source: Any, i: int) -> str:
  try:
    return _hash(source.encoded(i))
  except Unreadable:
    return ""
