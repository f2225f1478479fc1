"""Networks that make features of images and know no texts: FID's Inception, and DINOv2.

inception  the 2,048 features that FID takes, of pictures resized to 299 pixels, whatever their shape. Two rules are in use,
           and distances by the two do not compare: `bilinear`, PyTorch's without antialiasing, as the first implementations
           have it; `bicubic`, antialiased and in floats, channel by channel (Parmar et al. 2022).
dinov2     the class token after the last norm, of pictures as the folder's preprocessor_config.json has them.
"""

from __future__ import annotations

import abc
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from PIL import Image

from synthjax.data.decoding import decode
from synthjax.encoders.preprocess import Preprocess
from synthjax.models.dinov2 import Dinov2
from synthjax.models.inception import SIDE, WIDTHS, Inception
from synthjax.models.precision import precision_of
from synthjax.runtime import devices
from synthjax.runtime.errors import UserError
from synthjax.weights import dinov2, metric_networks, read

Array = jax.Array
Place = Callable[[np.ndarray], jax.Array]
STEM = "model"


class Squared:
  """In the place of a Preprocess: pixels are [S, S, 3] in 0..255, floats, resized without regard to the shape."""

  def __init__(self, resize: str):
    self._resize = resize

  def pixels(self, image: Image.Image) -> np.ndarray:
    pixels_HxWx3 = np.asarray(image.convert("RGB"), np.float32)
    if self._resize == "bilinear":
      down, across = (_bilinear(n) for n in pixels_HxWx3.shape[:2])
      return np.einsum("hi,wj,ijc->hwc", down, across, pixels_HxWx3, optimize=True)
    channels = (Image.fromarray(np.ascontiguousarray(pixels_HxWx3[..., c])) for c in range(3))
    resized = [np.asarray(c.resize((SIDE, SIDE), Image.Resampling.BICUBIC)) for c in channels]
    return np.stack(resized, axis=-1)

  def decode(self, data: bytes, where: str = "image") -> np.ndarray:
    return self.pixels(decode(data, where))


@functools.lru_cache(maxsize=64)
def _bilinear(old: int) -> np.ndarray:
  """[SIDE, old]: the weights of PyTorch's bilinear, corners not aligned, not antialiased, the edge repeated."""
  places = np.clip((np.arange(SIDE) + 0.5) * old / SIDE - 0.5, 0, old - 1)
  first = np.minimum(places.astype(int), max(old - 2, 0))
  share, rows = (places - first).astype(np.float32), np.arange(SIDE)
  weights = np.zeros((SIDE, old), np.float32)
  weights[rows, first] = 1 - share
  weights[rows, np.minimum(first + 1, old - 1)] += share
  return weights


class ImageNetwork(abc.ABC):
  """A network of a folder; parameters are loaded by `load_params`, on request."""

  width: int
  preprocess: Preprocess | Squared
  _parts: ClassVar[tuple[str, ...]] = (".",)

  def __init__(self, folder: Path):
    if not folder.is_dir():
      raise UserError(f"encoder {folder} is no folder; {read.CONVERTER} makes one of a published file")
    self.folder = folder

  @functools.cached_property
  def digest(self) -> str:
    return read.folder_digest(self.folder, self._parts, (STEM,))

  def load_params(self, mesh: Mesh) -> Any:
    """On every device of the mesh, in float32."""
    place = functools.partial(jax.device_put, device=devices.place(mesh, devices.REPLICATED))
    return self._read(lambda a: place(np.asarray(a, np.float32)))

  def image_features(self, params: Any, pixels_BxSxSx3: Array) -> Array:
    """[B, D]."""
    with jax.default_matmul_precision(precision_of(jnp.dtype("float32"))):
      return self._features(params, pixels_BxSxSx3)

  @abc.abstractmethod
  def check(self) -> None:
    """What can be known to be wrong without reading a tensor."""

  @abc.abstractmethod
  def _read(self, place: Place) -> Any: ...

  @abc.abstractmethod
  def _features(self, params: Any, pixels_BxSxSx3: Array) -> Array: ...


class InceptionNetwork(ImageNetwork):
  width = WIDTHS[-1]

  def __init__(self, folder: Path, resize: str):
    super().__init__(folder)
    self.preprocess = Squared(resize)

  def check(self) -> None:
    metric_networks.check_inception(self.folder)

  def _read(self, place: Place) -> Any:
    return metric_networks.read_inception(self.folder, place)

  def _features(self, params: Any, pixels_BxSxSx3: Array) -> Array:
    x = 2 * (pixels_BxSxSx3 / 255.0) - 1
    return jnp.asarray(Inception().apply(params, x)[-1])


class Dinov2Network(ImageNetwork):
  def __init__(self, folder: Path):
    super().__init__(folder)
    self._module = Dinov2(dinov2.read_config(folder))
    self._view = Preprocess.read(folder)
    self.width, self.preprocess = self._module.config.hidden_size, self._view
    if self._view.side < self._module.config.patch_size:
      raise UserError(
        f"weights: {folder} has pictures of {self._view.side} pixels and patches of {self._module.config.patch_size}; fetch it again"
      )

  def check(self) -> None:
    dinov2.check_dinov2(self.folder)

  def _read(self, place: Place) -> Any:
    return dinov2.read_dinov2(self.folder, place)[1]

  def _features(self, params: Any, pixels_BxSxSx3: Array) -> Array:
    return jnp.asarray(self._module.apply(params, self._view.normalise(pixels_BxSxSx3)))
