"""Real images that generated ones begin as: which parent an image has, and its pixels."""

from __future__ import annotations

import functools

import numpy as np
from PIL import Image as Picture

from synthjax.data.decoding import Unreadable
from synthjax.data.source import Source
from synthjax.errors import UserError
from synthjax.labels.spaces import LabelSpace
from synthjax.sampling.plan import Image

_KEPT = 512  # parents in memory, cropped


class Parents:
  """A parent's id is its key in the source. Those of a class take turns, so each has as many children."""

  def __init__(self, source: Source, labels: LabelSpace, size: int):
    assert source.labels is not None
    self._source, self._size = source, size
    self._places = {key: i for i, key in enumerate(source.keys)}
    by_class: list[list[str]] = [[] for _ in labels.ids]
    for key, label in zip(source.keys, source.labels, strict=True):
      by_class[label].append(key)
    childless = [c for c, keys in zip(labels.ids, by_class, strict=True) if not keys]
    if childless:
      raise UserError(
        f"config.sampling.parents: {source.name} has no image of {len(childless)} classes ({', '.join(childless[:5])})"
      )
    self.by_class = tuple(map(tuple, by_class))

  @property
  def digest(self) -> str:
    return self._source.digest

  def pixels(self, image: Image) -> np.ndarray:
    """[S, S, 3] uint8 of an image's parent: its middle square."""
    return self._pixels(image.parent_id)

  @functools.lru_cache(maxsize=_KEPT)  # noqa: B019  parents live as long as their set
  def _pixels(self, parent_id: str) -> np.ndarray:
    try:
      picture = self._source.image(self._places[parent_id]).convert("RGB")
    except Unreadable as e:
      raise UserError(f"config.sampling.parents: cannot be read: {e}; mend or remove it") from None
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    square = (left, top, left + side, top + side)
    return np.asarray(picture.resize((self._size, self._size), Picture.Resampling.LANCZOS, box=square))
