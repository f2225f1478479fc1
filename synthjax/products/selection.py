"""The images of a set that a run learns from, found again whenever the set has grown or its keep-list is another one."""

from __future__ import annotations

import contextlib
import dataclasses
import weakref
from collections.abc import Callable, Hashable, Iterator, Sequence

import numpy as np

from synthjax.data.draws import Part
from synthjax.data.selection import digest, list_digest, part_digest, select
from synthjax.data.source import Source
from synthjax.products.features import SetEmbeddings
from synthjax.products.image_set import ImageSet
from synthjax.products.keep_list import KeepList
from synthjax.runtime.errors import UserError
from synthjax.store import image_ids

Array = np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Chosen:
  places: Array  # in the set, in plan order
  digests: tuple[str, ...]  # of their ids; then those that older releases gave to the same images


_Found = dict[
  tuple[str, int], tuple[Hashable, Chosen]
]  # (keep-list, images a class) -> what it is of, and the choice
# Runs that learn from the same images share the choice: each file of ids is read once, and not by each run.
_FOUND: weakref.WeakKeyDictionary[SetEmbeddings, _Found] = weakref.WeakKeyDictionary()


class Selection:
  """Of one run. Ids are let go of: of two million they take 200 MB a run."""

  def __init__(self, run: str, image_set: ImageSet, keep: KeepList | None, per_class: Callable[[], int]):
    self._run, self._set, self._keep, self._per_class = run, image_set, keep, per_class
    self._found: _Found = {}
    self._held: Chosen | None = None

  def _state(self) -> Hashable:
    """What of the set is there."""
    return self._set.requested()

  def _names(self) -> tuple[Array, Sequence[str]]:
    """(labels, ids) of that much of it."""
    source = self._set.as_source()
    return np.asarray(source.labels), source.keys

  def _digests(self, ids: Sequence[str], places: Array) -> tuple[str, ...]:
    """Older releases hashed all of the set as it lay there, too."""
    chosen = image_ids.at(ids, places)
    reach = int(places[-1]) + 1 if len(places) else 0
    # Where all of the first n are chosen, that is the digest of what is chosen.
    older = (part_digest(ids[:n], chosen) for n in self._set.sizes() if n >= reach and n > len(chosen))
    return tuple(dict.fromkeys([digest(chosen), *older]))

  def _check(self, labels: Array) -> None:
    """A class that has too few images is an error, where a run says how many it wants."""
    want, least = self._per_class(), np.bincount(labels, minlength=len(self._set.labels)).min()
    if least < want:
      raise UserError(
        f"{self._run} needs {want} synthetic images a class, and one has {least}; raise images_per_class of its set"
      )

  def now(self) -> Chosen:
    """The first n a class, of the kept ones where there is a filter: all of these, unless the run wants fewer."""
    if held := self._held:
      return held
    of = self._keep.name if self._keep else "", self._per_class()
    key = self._state(), self._keep.version if self._keep else "", self._set.asked
    if of not in self._found or self._found[of][0] != key:
      labels, ids = self._names()
      kept = self._keep.ids() if self._keep else None
      per_class = self._per_class() or (0 if self._keep else self._set.asked)
      try:
        places = select(labels, ids, kept, per_class)
      except UserError as e:
        raise UserError(f"{self._run}: {e}") from None
      self._check(labels[places])
      self._found[of] = key, Chosen(places, self._digests(ids, places))
    return self._found[of][1]

  def source(self, name: str) -> Source:
    """The chosen images, as images to learn from."""
    return Part(self._set.as_source(), self.now().places, name)

  @contextlib.contextmanager
  def held(self) -> Iterator[None]:
    """Within, it stays what it is: a run is made from one choice, whatever other processes make of the list meanwhile."""
    chosen = self.now()
    if not len(chosen.places):
      why = "its set holds no image"
      if self._keep:
        why = (
          "its filter kept no image; lower its threshold, or let it fill up (kept_per_class, when_short=top)"
        )
      raise UserError(f"{self._run}: {why}")
    self._held = chosen
    try:
      yield
    finally:
      self._held = None


class EmbeddedSelection(Selection):
  """Of a run that learns from features. It chooses among planned ids: features are opened by who learns from them."""

  def __init__(
    self, run: str, image_set: ImageSet, embeddings: SetEmbeddings, keep: KeepList | None, per_class: int
  ):
    super().__init__(run, image_set, keep, lambda: per_class)
    self._embeddings = embeddings
    self._found = _FOUND.setdefault(embeddings, {})

  def _state(self) -> Hashable:
    return self._embeddings.reach()  # what was drawn since the inputs were whole is for others

  def _names(self) -> tuple[Array, Sequence[str]]:
    return self._embeddings.names(self._embeddings.reach())

  def _digests(self, ids: Sequence[str], places: Array) -> tuple[str, ...]:
    return (list_digest(image_ids.at(ids, places)),)

  def _check(self, labels: Array) -> None:
    """Classes are used as they are: a filter may leave them unequal."""
