"""For filters of rule unlike: which image each one repeats, to the byte or nearly, and what says so.

That is the files' hashes; an encoder's features; where these are thumbnails, their mirror images, if asked for; and the
features of a second encoder, with a threshold of its own. One of them is enough.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from synthjax.data.decoding import Unreadable, decode
from synthjax.data.feeding import in_threads
from synthjax.encoders.encoder import Encoder
from synthjax.filters import unlike
from synthjax.pages import contact_sheet
from synthjax.products.features import RealEmbeddings, SetEmbeddings
from synthjax.products.image_set import ImageSet
from synthjax.store import csv_file, schema
from synthjax.store.export import Examples
from synthjax.store.features import Features

Array = np.ndarray
_SHOWN = 24
_SMALL = 64  # pixels: of larger images, copies differ by more than thumbnails forgive
_FILE = "file"


@dataclasses.dataclass(frozen=True)
class Second:
  """The second encoder of a filter, with what it makes of the set and of what the set is held against."""

  encoder: Encoder
  embeddings: SetEmbeddings
  against: RealEmbeddings | None

  @property
  def identity(self) -> dict[str, Any]:
    return {"second_encoder": self.encoder.identity}


@dataclasses.dataclass(frozen=True)
class Key:
  """What images are compared by; from the threshold on, one repeats another."""

  name: str  # of the encoder
  threshold: float
  features: Features  # of the set
  against: RealEmbeddings | None  # None: the earlier images of the set
  mirrored: bool = False

  @property
  def is_thumbnails(self) -> bool:
    return unlike.is_thumbnails(self.features.features)

  @property
  def passes(self) -> list[bool]:
    """As they are, and mirrored."""
    return [False, True] if self.mirrored and self.is_thumbnails else [False]

  def search(self, mirrored: bool) -> tuple[Array, Array]:
    """(similarity, place of the other one in the set or in the source)."""
    if self.against is None:
      return unlike.nearest_earlier(self.features.features, mirrored)
    real, source = self.against.load(), self.against.source
    similarity, which = unlike.nearest(self.features.features, real.features, mirrored)
    place_of = {key: i for i, key in enumerate(source.keys)}  # unreadable ones have no features
    return similarity, np.array([place_of[key] for key in real.ids.tolist()], int)[which]


@dataclasses.dataclass(frozen=True)
class Repeats:
  """Of each image: the most similar other one."""

  similarity: Array  # on the scale of the first key: one threshold for all
  seen: Array  # similarity as the key that speaks for it saw it
  by: Array  # that key: file, an encoder's name, or that and "mirrored"
  which: Array  # place of the other among the earlier ones, or in the test; -1 = none
  exact: Array  # bool: the same file
  names: Array  # of the others: image ids, or keys of the test
  own_file: Callable[[int], bytes]
  other_file: Callable[[int], bytes]
  note: str = ""  # for the user

  @property
  def scores(self) -> Array:
    """Unlikeness: the larger the better."""
    return 1 - self.similarity

  def _found(self, threshold: float) -> list[int]:
    """Those that do not stay, the most similar first."""
    found = np.flatnonzero(self.similarity >= threshold)
    return found[np.argsort(-self.similarity[found], kind="stable")].tolist()

  def count(self, threshold: float) -> dict[str, Any]:
    near = Counter(self.by[i] for i in self._found(threshold) if not self.exact[i])
    by = {str(key): n for key, n in sorted(near.items())}
    return {"exact": int(self.exact.sum()), "near": near.total(), "near_by": by}

  def to_csv(self, ids: Array, threshold: float) -> bytes:
    rows = (
      [ids[i], self.names[self.which[i]], f"{self.seen[i]:.4f}", int(self.exact[i]), self.by[i]]
      for i in self._found(threshold)
    )
    return csv_file.to_bytes(("image_id", "repeats", "similarity", "exact", "by"), rows)

  def sheet(self, threshold: float, title: str) -> bytes:
    """PNG of the first pairs, side by side."""
    found = self._found(threshold)[:_SHOWN]
    rows = [
      (
        "same file" if self.exact[i] else f"{self.seen[i]:.3f} {self.by[i].split()[-1]}",
        [self.own_file(i), self.other_file(int(self.which[i]))],
      )
      for i in found
    ]
    return contact_sheet.draw(rows, title)


def find(keys: Sequence[Key], image_set: ImageSet, places: Array) -> Repeats:
  """`places` are those of the features in the set. Of keys that see an image alike, the first one speaks."""
  first, examples = keys[0], Examples(image_set.folder)

  def own(i: int) -> bytes:
    return schema.parse_image(examples[int(places[i])])

  same = _same_file(own, len(places), first.against)
  seen, scaled, which, by = [], [], [], []
  for key in keys:
    for mirrored in key.passes:
      similarity, place = key.search(mirrored)
      seen.append(similarity)
      scaled.append(
        similarity if key is first else unlike.rescaled(similarity, key.threshold, first.threshold)
      )
      which.append(place)
      by.append(f"{key.name} mirrored" if mirrored else key.name)
  best, n = np.argmax(scaled, axis=0), np.arange(len(places))
  exact = same >= 0
  source = first.against.source if first.against else None
  return Repeats(
    similarity=np.where(exact, 1.0, np.stack(scaled)[best, n]),
    seen=np.where(exact, 1.0, np.stack(seen)[best, n]),
    by=np.where(exact, _FILE, np.array(by)[best]),
    which=np.where(exact, same, np.stack(which)[best, n]),
    exact=exact,
    names=np.array(source.keys) if source else first.features.ids,
    own_file=own,
    other_file=source.encoded if source else own,
    note=_note(first, own) if len(keys) == 1 and len(places) else "",
  )


def _same_file(own: Callable[[int], bytes], n: int, against: RealEmbeddings | None) -> Array:
  """Of each image, the place of the first that is the same to the byte; -1 = none is."""
  first: dict[str, int] = {}
  files = list(in_threads(lambda i: _hash(own(i)), range(n)))
  if against is None:
    same = np.array([first.setdefault(file, i) for i, file in enumerate(files)], int)
    return np.where(same < np.arange(n), same, -1)
  for i, file in enumerate(in_threads(lambda i: _file(against.source, i), range(len(against.source)))):
    first.setdefault(file, i)
  return np.array([first.get(file, -1) for file in files], int)


def _note(key: Key, own: Callable[[int], bytes]) -> str:
  """Photographs, searched as suits small drawings, are worth a word."""
  if not key.is_thumbnails or key.mirrored or key.threshold < unlike.SIMILAR:
    return ""
  try:
    if max(decode(own(0), "image 0").size) <= _SMALL:
      return ""
  except Unreadable:
    return ""
  missed = unlike.missed(key.threshold, key.mirrored)
  return f"{missed}; photograph_copies(...) in the place of image_filter('unlike', ...) finds more of them"


def _hash(data: bytes) -> str:
  return hashlib.sha256(data).hexdigest()


def _file(source: Any, i: int) -> str:
  try:
    return _hash(source.encoded(i))
  except Unreadable:
    return ""
