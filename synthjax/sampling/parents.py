"""Real images that generated ones begin as (RG, real guidance: He et al. 2023): which parent an image has, its pixels,
and how far it is noised where the number of shots says it."""

from __future__ import annotations

import functools
import math

import numpy as np
from PIL import Image as Picture

from synthjax.data.decoding import Unreadable
from synthjax.data.source import Source
from synthjax.generators import samplers
from synthjax.generators.schedule import Schedule
from synthjax.labels.spaces import LabelSpace
from synthjax.runtime.errors import UserError
from synthjax.store.plan import Image

_KEPT = 512  # parents in memory, cropped
# He et al. noise to step 15, 20, 35, 40 and 50 of 100 of GLIDE's cosine schedule. What is left of a picture there, as
# alpha-bar, holds for every schedule: of Stable Diffusion's it is reached at 0.055, 0.091, 0.216, 0.261 and 0.353.
_ALPHA_BAR = {16: 0.9465, 8: 0.9052, 4: 0.7282, 2: 0.6549, 1: 0.5016}


def alpha_bar_of(shots: int) -> float:
  """By the paper's table; between its rows even in log2 of the shots, beyond them the nearest row's."""
  known = sorted(_ALPHA_BAR)
  return float(np.interp(math.log2(shots), [math.log2(n) for n in known], [_ALPHA_BAR[n] for n in known]))


def strength_of(schedule: Schedule, sampler: str, steps: int, shots: int) -> float:
  """The share of the steps that begins nearest to the paper's alpha-bar: one step at least."""
  begins = samplers.table(schedule, sampler, steps).rows["signal"].astype(np.float64) ** 2
  left = steps - np.arange(len(begins))
  return float(left[np.abs(begins - alpha_bar_of(shots)).argmin()] / steps)


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
    return self.pixels_of(image.parent_id)

  @functools.lru_cache(maxsize=_KEPT)  # noqa: B019  parents live as long as their set
  def pixels_of(self, parent_id: str) -> np.ndarray:
    try:
      picture = self._source.image(self._places[parent_id]).convert("RGB")
    except Unreadable as e:
      raise UserError(f"config.sampling.parents: cannot be read: {e}; fix or remove it") from None
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    square = (left, top, left + side, top + side)
    return np.asarray(picture.resize((self._size, self._size), Picture.Resampling.LANCZOS, box=square))
