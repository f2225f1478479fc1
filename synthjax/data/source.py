"""What every source of real images is: labelled pictures in an order that no file system decides."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from synthjax.data.decoding import decode
from synthjax.data.squares import put_jpeg


class Source:
  """Images in a fixed order. `encoded`, `image` and `put` may be called from several threads."""

  name: str
  split: str

  @functools.cached_property
  def labels(self) -> np.ndarray | None:
    """[n] int32, places in the label space; None: unlabelled."""
    raise NotImplementedError

  @functools.cached_property
  def keys(self) -> Sequence[str]:
    """A stable id each: what draws and records go by."""
    raise NotImplementedError

  def __len__(self) -> int:
    return len(self.keys)

  def encoded(self, i: int) -> bytes:
    """The image file as it is stored; raises Unreadable."""
    raise NotImplementedError

  def where(self, i: int) -> str:
    """What an error calls the image."""
    return self.keys[i]

  def image(self, i: int) -> Image.Image:
    """Upright, in any mode; raises Unreadable."""
    return decode(self.encoded(i), self.where(i))

  def put(self, i: int, out_SxSx3: np.ndarray, scaled: bool = False) -> bool:
    """Whether its middle square lies in `out` now, by a quicker decoder; False: ask for the image."""
    return put_jpeg(self.encoded(i), out_SxSx3, scaled)

  def about(self, i: int) -> Mapping[str, Any]:
    """What the source knows beside the label, under the names that examples of an image set have: prompt, image_id, ..."""
    return {}

  @functools.cached_property
  def digest(self) -> str:
    """Of all content, for records."""
    raise NotImplementedError


class Opened(Mapping[str, Source]):
  """Sources by name, each opened when it is first asked for."""

  def __init__(self, opens: Mapping[str, Callable[[], Source]]):
    self._opens = opens
    self._found: dict[str, Source] = {}

  def __getitem__(self, name: str) -> Source:
    if name not in self._found:
      self._found[name] = self._opens[name]()
    return self._found[name]

  def __iter__(self) -> Iterator[str]:
    return iter(self._opens)

  def __len__(self) -> int:
    return len(self._opens)
