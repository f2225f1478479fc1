"""Rule unlike: which image each one repeats, to the byte or nearly, and what says so.

That is the files' hashes; an encoder's features; where these are thumbnails, their mirror images, if asked for; and the
features of a second encoder, with a threshold of its own. One of them is enough.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from synthjax.data.decoding import Unreadable, decode
from synthjax.data.feeding import in_threads
from synthjax.data.source import Source
from synthjax.encoders.encoder import Encoder, Thumbnails
from synthjax.filters import similarity
from synthjax.filters.rule import Images, Memory, Others, SheetRow, View
from synthjax.spec.fields import Filter
from synthjax.store import csv_file
from synthjax.store.features import Features

Array = np.ndarray
_SHOWN = 24  # on the sheet
_SMALL = 64  # pixels: of larger images, copies differ by more than thumbnails forgive
_FILE = "file"
_BESIDE = 350  # bytes an image beside its features: its id, the hash of its file, what was found


@dataclasses.dataclass(frozen=True)
class UnlikeRule:
  """What is too similar to another image never passes, and never fills a class up."""

  fields: Filter
  views: Sequence[View]  # the second one has a threshold of its own
  score_means: ClassVar[str] = "1 less the similarity to the image that is most like it"
  counted: ClassVar[tuple[str, ...]] = ("exact", "near")
  may_fill: ClassVar[bool] = False

  @staticmethod
  def encoders(fields: Filter) -> list[str]:
    return [name for name in (fields.encoder, fields.second_encoder) if name]

  def identity(self) -> dict[str, Any]:
    first, *second = self.views
    found = self.fields.identity() | first.identity
    return found | ({"second_encoder": second[0].encoder.identity} if second else {})

  @property
  def threshold(self) -> float:
    """Of similarity."""
    return self.fields.threshold or similarity.SIMILAR

  @property
  def must_exceed(self) -> float:
    return 1 - self.threshold

  @property
  def _thresholds(self) -> list[float]:
    """By each of the encoders."""
    return [self.threshold, self.fields.second_threshold or similarity.SIMILAR][: len(self.views)]

  def score(self, images: Images) -> tuple[Array, Duplicates]:
    keys = [
      Key(view.encoder.name, threshold, features, view.against, self.fields.mirrored)
      for view, threshold, features in zip(self.views, self._thresholds, images.features, strict=True)
    ]
    found = find(keys, images)
    return 1 - found.similarity, found

  def memory(self, images: int) -> Memory:
    """One copy of the features by each encoder, and of those that they are compared with; the devices pass by blocks."""
    host, device = images * _BESIDE, 0
    for view in self.views:
      shape, dtype = view.encoder.feature
      others = len(view.against.source) if view.against else 0
      host += (images + others) * math.prod(shape) * dtype.itemsize
      device = max(device, similarity.device_bytes(shape, dtype))
    return Memory(host, device)

  @property
  def _by(self) -> list[tuple[Encoder, float]]:
    return [(view.encoder, t) for view, t in zip(self.views, self._thresholds, strict=True)]

  @property
  def how(self) -> str:
    is_of_set = self.views[0].against is None
    others = "every earlier image of the set" if is_of_set else f"every image of {self.fields.against}"
    mirrored = {e.name: self.fields.mirrored and isinstance(e, Thumbnails) for e, _ in self._by}
    below = [f"below {t:.3g}, by {e.name}{', mirrored too' if mirrored[e.name] else ''}" for e, t in self._by]
    return f"similarity to {others} {' and '.join(below)}"

  def found(self, summary: Mapping[str, Any]) -> str:
    by = ", ".join(f"{n} by {key}" for key, n in summary.get("near_by", {}).items())
    shares = f" ({by})" if len(summary.get("near_by", {})) > 1 else ""
    return (
      f"{summary['exact']} images are repeats to the byte and {summary['near']} more are nearly so{shares}"
    )

  @property
  def limits(self) -> str:
    of_thumbnails = [t for e, t in self._by if isinstance(e, Thumbnails)]
    return "; ".join(similarity.missed(t, self.fields.mirrored) for t in of_thumbnails)


@dataclasses.dataclass(frozen=True)
class Key:
  """What images are compared by; from the threshold on, one repeats another."""

  name: str  # of the encoder
  threshold: float
  features: Features  # of the set
  against: Others | None  # None: the earlier images of the set
  mirrored: bool = False

  @property
  def is_thumbnails(self) -> bool:
    return similarity.is_thumbnails(self.features.features)

  @property
  def passes(self) -> list[bool]:
    """As they are, and mirrored."""
    return [False, True] if self.mirrored and self.is_thumbnails else [False]

  def search(self, mirrored: bool) -> tuple[Array, Array]:
    """(similarity, place of the other one in the set or in the source)."""
    if self.against is None:
      return similarity.nearest_earlier(self.features.features, mirrored)
    real, source = self.against.load(), self.against.source
    found, which = similarity.nearest(self.features.features, real.features, mirrored)
    place_of = {key: i for i, key in enumerate(source.keys)}  # unreadable ones have no features
    return found, np.array([place_of[key] for key in real.ids.tolist()], int)[which]


@dataclasses.dataclass(frozen=True)
class Duplicates:
  """Evidence: of each image, the most similar other one."""

  ids: Array  # of the images
  threshold: float  # of the first key: from there on, an image is left out
  similarity: Array  # on the scale of the first key: one threshold for all
  seen: Array  # similarity as the key that speaks for it saw it
  by: Array  # that key: file, an encoder's name, or that and "mirrored"
  which: Array  # place of the other among the earlier ones, or in the test; -1 = none
  exact: Array  # bool: the same file
  names: Array  # of the others: image ids, or keys of the test
  own_file: Callable[[int], bytes]
  other_file: Callable[[int], bytes]
  note: str = ""  # for the user

  def _found(self) -> list[int]:
    """Those that do not stay, the most similar first."""
    found = np.flatnonzero(self.similarity >= self.threshold)
    return found[np.argsort(-self.similarity[found], kind="stable")].tolist()

  def counts(self) -> dict[str, Any]:
    near = Counter(self.by[i] for i in self._found() if not self.exact[i])
    by = {str(key): n for key, n in sorted(near.items())}
    return {"exact": int(self.exact.sum()), "near": near.total(), "near_by": by}

  def to_csv(self) -> bytes:
    rows = (
      [self.ids[i], self.names[self.which[i]], f"{self.seen[i]:.4f}", int(self.exact[i]), self.by[i]]
      for i in self._found()
    )
    return csv_file.to_bytes(("image_id", "repeats", "similarity", "exact", "by"), rows)

  def sheet(self) -> list[SheetRow]:
    """Pairs, side by side."""
    return [
      (
        "same file" if self.exact[i] else f"{self.seen[i]:.3f} {self.by[i].split()[-1]}",
        [self.own_file(i), self.other_file(int(self.which[i]))],
      )
      for i in self._found()[:_SHOWN]
    ]


def find(keys: Sequence[Key], images: Images) -> Duplicates:
  """Of keys that see an image alike, the first one speaks."""
  first, n, own = keys[0], len(images.places), images.files()
  same = _same_file(own, n, first.against)
  seen, scaled, which, by = [], [], [], []
  for key in keys:
    for mirrored in key.passes:
      found, place = key.search(mirrored)
      seen.append(found)
      scaled.append(found if key is first else similarity.rescaled(found, key.threshold, first.threshold))
      which.append(place)
      by.append(f"{key.name} mirrored" if mirrored else key.name)
  best, each = np.argmax(scaled, axis=0), np.arange(n)
  exact = same >= 0
  source = first.against.source if first.against else None
  return Duplicates(
    ids=first.features.ids,
    threshold=first.threshold,
    similarity=np.where(exact, 1.0, np.stack(scaled)[best, each]),
    seen=np.where(exact, 1.0, np.stack(seen)[best, each]),
    by=np.where(exact, _FILE, np.array(by)[best]),
    which=np.where(exact, same, np.stack(which)[best, each]),
    exact=exact,
    names=np.array(source.keys) if source else first.features.ids,
    own_file=own,
    other_file=source.encoded if source else own,
    note=_note(first, own) if len(keys) == 1 and n else "",
  )


def _same_file(own: Callable[[int], bytes], n: int, against: Others | None) -> Array:
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
  if not key.is_thumbnails or key.mirrored or key.threshold < similarity.SIMILAR:
    return ""
  try:
    if max(decode(own(0), "image 0").size) <= _SMALL:
      return ""
  except Unreadable:
    return ""
  missed = similarity.missed(key.threshold, key.mirrored)
  return f"{missed}; photograph_copies(...) instead of image_filter('unlike', ...) finds more of them"


def _hash(data: bytes) -> str:
  return hashlib.sha256(data).hexdigest()


def _file(source: Source, i: int) -> str:
  try:
    return _hash(source.encoded(i))
  except Unreadable:
    return ""
