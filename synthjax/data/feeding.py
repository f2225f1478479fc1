"""A source's images, decoded by all cores and in its order; those that cannot be read are counted, named and left out."""

from __future__ import annotations

import collections
import io
import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
from PIL import Image

from synthjax.data.decoding import Unreadable
from synthjax.data.source import Source
from synthjax.runtime import devices
from synthjax.runtime.errors import UserError

_BLOCK, _AHEAD = 8, 32  # images that a thread takes at once; blocks of them decoded before they are asked for


class View(Protocol):
  """What is made of a picture: an encoder's preprocessing."""

  def pixels(self, image: Image.Image) -> np.ndarray: ...


class AsJpeg:
  """Of a picture that was encoded as a JPEG of this quality, in its own size."""

  def __init__(self, view: View, quality: int):
    self._view, self._quality = view, quality

  def pixels(self, image: Image.Image) -> np.ndarray:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=self._quality)
    return self._view.pixels(Image.open(buffer))


class Readable:
  """The images of a source that can be read, preprocessed, in its order; which they were, and which were not."""

  def __init__(self, source: Source, preprocess: View):
    self._source, self._preprocess = source, preprocess
    self.places: list[int] = []
    self.faults: list[Unreadable] = []

  def __iter__(self) -> Iterator[np.ndarray]:
    for i, pixels in enumerate(in_threads(self._read, range(len(self._source)))):
      if isinstance(pixels, Unreadable):
        self.faults.append(pixels)
      else:
        self.places.append(i)
        yield pixels

  def _read(self, i: int) -> np.ndarray | Unreadable:
    try:
      return self._preprocess.pixels(self._source.image(i))
    except Unreadable as e:
      return e


def check_faults(name: str, reference: str, faults: Sequence[Unreadable], total: int, limit: float) -> None:
  """Names them where they are few; where they are many, the mistake is the user's and not the files'."""
  if len(faults) > limit * total:
    raise UserError(
      f"{reference}: {len(faults)} of {total} images cannot be read, first {faults[0]}; fix or remove them, "
      f"or raise config.runtime.unreadable (now {limit:g} of them)"
    )
  for fault in faults:
    print(f"{name}: skipped, cannot be read: {fault}", file=sys.stderr)


def in_threads(work: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
  """In order, and not far ahead of who asks. Handed over in blocks: a small picture is decoded in a third of a millisecond."""

  def work_on(start: int) -> list[Any]:
    return [work(item) for item in items[start : start + _BLOCK]]

  starts = iter(range(0, len(items), _BLOCK))
  with ThreadPoolExecutor(devices.threads(), thread_name_prefix="decode") as pool:
    ahead = collections.deque(pool.submit(work_on, start) for start in itertools.islice(starts, _AHEAD))
    try:
      while ahead:
        done = ahead.popleft().result()
        if (start := next(starts, None)) is not None:
          ahead.append(pool.submit(work_on, start))
        yield from done
    finally:
      for future in ahead:  # who asked has gone, or some work has failed
        future.cancel()
