"""Which images of a set a run learns from: one rule for everything that learns from generated images."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from synthjax.runtime.errors import UserError
from synthjax.store import image_ids

Array = np.ndarray


def rank(labels: Array) -> Array:
  """How many images of its class come before each image: in plan order, its sample index."""
  order = np.argsort(labels, kind="stable")
  by_class = labels[order]
  begins = np.flatnonzero(np.diff(by_class, prepend=by_class[:1] - 1))
  sizes = np.diff(begins, append=len(labels))
  found = np.empty(len(labels), int)
  found[order] = np.arange(len(labels)) - np.repeat(begins, sizes)
  return found


def select(labels: Array, ids: Sequence[str], kept: Sequence[str] | None, per_class: int) -> Array:
  """Places in plan order: the first `per_class` of each class, among the kept ones where a filter chose; 0 = all."""
  places = np.arange(len(labels))
  if kept is not None:
    places = np.flatnonzero(image_ids.is_among(ids, kept))
    if len(places) != len(kept):
      raise UserError(
        f"the keep-list names {len(kept)} images, and the set holds {len(places)} of them; "
        "run --stages verify to see which file is damaged"
      )
  return places[rank(labels[places]) < per_class] if per_class else places


def digest(ids: Sequence[str]) -> str:
  """Of chosen images: what `Part` and `SetImages` give to a set of which every image is chosen."""
  return part_digest(ids, ids)


def part_digest(whole: Sequence[str], ids: Sequence[str]) -> str:
  """Of chosen images and of the set that they lie in, which is how releases named them that took a growing set for another."""
  return chosen_digest(names_digest(whole), ids)


def names_digest(ids: Sequence[str]) -> str:
  """Of all images of a set."""
  return _hashed(hashlib.sha256(), ids, "strict")


def chosen_digest(of_whole: str, keys: Sequence[str]) -> str:
  """Of chosen images and the digest of what they lie in. Keys of a source may be file names, in any encoding."""
  return _hashed(hashlib.sha256(of_whole.encode()), keys, "surrogateescape")


def list_digest(ids: Sequence[str]) -> str:
  """`records.digest` of the list of them, without a text of each."""
  sha = hashlib.sha256()
  for block in image_ids.as_json(ids):
    sha.update(block)
  return sha.hexdigest()


def _hashed(sha: hashlib._Hash, ids: Sequence[str], errors: str) -> str:
  for block in image_ids.joined(ids, errors):
    sha.update(block)
  return sha.hexdigest()
