"""Features of random views of real images, which Tip-Adapter averages into its keys and learns from.

View v of an image is a function of (seed, v, the image's id): the same beside other images, and after a resume.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from synthjax.data import crops
from synthjax.data.decoding import Unreadable
from synthjax.data.feeding import in_threads
from synthjax.data.source import Source
from synthjax.encoders.encoder import Encoder
from synthjax.encoders.preprocess import Preprocess
from synthjax.runtime import devices
from synthjax.runtime.errors import UserError
from synthjax.runtime.progress import Progress
from synthjax.runtime.stopping import Stop
from synthjax.spec.fields import RuntimeFields

Array = np.ndarray


class Views:
  """Of the images `ids` of a source, in their order. Features are as the encoder gives them, not normalised."""

  def __init__(
    self,
    encoder: Encoder,
    source: Source,
    ids: Sequence[str] | Array,
    name: str,
    runtime: RuntimeFields,
    stop: Stop,
  ):
    place = {key: i for i, key in enumerate(source.keys)}
    self._places = [place[str(key)] for key in ids]
    self._encoder, self._source = encoder, source
    self._name, self._runtime, self._stop = name, runtime, stop
    self._last: dict[tuple[int, int], Array] = {}

  def __len__(self) -> int:
    return len(self._places)

  def mean(self, seed: int, views: int) -> Array:
    """[M, D], of the first so many."""
    progress = Progress(
      f"{self._name} views",
      views * len(self._places),
      devices=devices.local_mesh().size,
      log_seconds=self._runtime.log_seconds,
      shown=devices.is_main_process(),
    )
    total = sum(self._embed(seed, v, progress.counting) for v in range(views))
    progress.close()
    return np.asarray(total / views, np.float32)

  def features(self, seed: int, view: int) -> Array:
    """[M, D]. The last two are held: a batch may span two epochs, each with a view of its own."""
    if (seed, view) not in self._last:
      held = list(self._last.items())[-1:]
      self._last = dict([*held, ((seed, view), self._embed(seed, view))])
    return self._last[seed, view]

  def _embed(self, seed: int, view: int, seen: Callable[[Iterable[Array]], Iterable[Array]] = iter) -> Array:
    self._stop.check()
    images = in_threads(functools.partial(self._pixels, seed, view), self._places)
    return self._encoder.embed(seen(images))

  def _pixels(self, seed: int, view: int, place: int) -> Array:
    sha = hashlib.sha256(self._source.keys[place].encode(errors="surrogateescape")).digest()
    rng = np.random.default_rng([seed, view, int.from_bytes(sha[:8], "big")])
    preprocess = self._encoder.preprocess
    assert isinstance(preprocess, Preprocess)  # an arm's encoder knows classes
    try:
      return crops.view(self._source.image(place), preprocess.side, rng, preprocess.resample)
    except Unreadable as e:
      raise UserError(f"{self._source.name}: cannot be read: {e}; repair or remove it") from None
