"""CLIP's view of an image: short side resized, centre cropped, by `preprocessor_config.json` or OpenCLIP's config.

`pixels` is equal to the bit to what the slow CLIPImageProcessor of transformers hands to its normalisation, or
torchvision's transforms to theirs; the normalisation is left to the device: a quarter of the bytes to move.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, TypeGuard

import jax
import numpy as np
from PIL import Image

from synthjax.data.decoding import decode
from synthjax.models.pixels import MEAN, STD, normalise
from synthjax.runtime.errors import UserError, nearest
from synthjax.weights import read

FILE = "preprocessor_config.json"
_LARGEST = float(np.finfo(np.float32).max)  # it is normalised in float32
# Random is of training; images to be encoded are then resized as without it.
_OPENCLIP_RESAMPLING = dict.fromkeys(("bicubic", "random"), Image.Resampling.BICUBIC) | {
  "bilinear": Image.Resampling.BILINEAR
}


@dataclasses.dataclass(frozen=True)
class Preprocess:
  side: int = 224  # pixels come out [side, side, 3]
  size: int | tuple[int, int] | None = 224  # of the short side, or (height, width); None: not resized
  crop: bool = True
  resample: int = int(Image.Resampling.BICUBIC)
  mean: tuple[float, ...] = MEAN
  std: tuple[float, ...] = STD
  # As torchvision does it: the crop's corner is rounded, half to even, and colours are converted last (so that a
  # palette is resized by nearest neighbours, and transparent pixels weigh nothing).
  torchvision: bool = False

  @classmethod
  def read(cls, folder: Path) -> Preprocess:
    """Of a folder in transformers' layout; what the file leaves out is CLIP's."""
    file = folder / FILE
    if not file.exists():
      raise UserError(f"weights: {file} is missing; the folder must have transformers' layout")
    return _from_body(file, read.read_json(file))

  def pixels(self, image: Image.Image) -> np.ndarray:
    """[S, S, 3] uint8; what is smaller than the crop lies on black."""
    if not self.torchvision:
      image = _in_colour(image)
    if self.size is not None:
      height, width = (
        _resized(image.height, image.width, self.size) if isinstance(self.size, int) else self.size
      )
      if image.size != (width, height):
        image = image.resize((width, height), resample=self.resample)
    if self.crop and image.size != (self.side, self.side):
      left, top = self._corner(image.width), self._corner(image.height)
      image = image.crop((left, top, left + self.side, top + self.side))
    return np.asarray(_in_colour(image))

  def _corner(self, length: int) -> int:
    excess = length - self.side
    return round(excess / 2) if self.torchvision else excess // 2

  def decode(self, data: bytes, where: str = "image") -> np.ndarray:
    """`pixels` of an image file's bytes; raises Unreadable, which calls it `where`."""
    return self.pixels(decode(data, where))

  def normalise(self, pixels_BxSxSx3: jax.Array) -> jax.Array:
    return normalise(pixels_BxSxSx3, self.mean, self.std)

  def to_json(self) -> dict[str, Any]:
    """For records: what decides the pixels and their normalisation."""
    lists = {k: list(v) for k, v in dataclasses.asdict(self).items() if isinstance(v, tuple)}
    return dataclasses.asdict(self) | lists


def of_openclip(file: Path, body: dict[str, Any], side: int) -> Preprocess:
  """Of a `preprocess_cfg`; what it leaves out is CLIP's. The network's side counts, whatever size it gives."""
  interpolation, mode = body.get("interpolation") or "bicubic", body.get("resize_mode") or "shortest"
  if interpolation not in _OPENCLIP_RESAMPLING:
    raise UserError(
      f"weights: {file} has interpolation={interpolation!r}{nearest(str(interpolation), _OPENCLIP_RESAMPLING)}"
    )
  if mode not in ("shortest", "squash"):
    raise UserError(
      f"weights: {file} has resize_mode={mode!r}; only shortest (and crop) and squash can be followed"
    )
  squash = mode == "squash"
  return Preprocess(
    side,
    (side, side) if squash else side,
    not squash,
    int(_OPENCLIP_RESAMPLING[interpolation]),
    _three(file, body, "mean", MEAN),
    _three(file, body, "std", STD),
    torchvision=True,
  )


def _in_colour(image: Image.Image) -> Image.Image:
  """Each copy that PIL makes of what is right already is a twentieth of a decoding."""
  return image if image.mode == "RGB" else image.convert("RGB")


def _resized(height: int, width: int, short: int) -> tuple[int, int]:
  """The long side is rounded down, by a division of floats as theirs is."""
  if width <= height:
    return int(short * height / width), short
  return short, int(short * width / height)


def _from_body(file: Path, body: dict[str, Any]) -> Preprocess:
  for key in ("do_rescale", "do_normalize"):
    if not body.get(key, True):
      raise UserError(f"weights: {file} has {key}={body[key]!r}; CLIP's pixels are always normalised")
  factor = body.get("rescale_factor", 1 / 255)
  if not _is_number(factor) or abs(factor * 255 - 1) > 1e-6:
    raise UserError(f"weights: {file} has rescale_factor={factor!r}; only 1/255 can be read")
  resample = body.get("resample", 3)
  if resample not in list(Image.Resampling) or isinstance(resample, bool):
    known = ", ".join(f"{r.value} {r.name.lower()}" for r in sorted(Image.Resampling))
    raise UserError(f"weights: {file} has resample={resample!r}; known are {known}")
  size = _size(file, body) if body.get("do_resize", True) else None
  crop = bool(body.get("do_center_crop", True))
  sides = _crop_size(file, body) if crop else size
  if not isinstance(sides, tuple):
    raise UserError(
      f"weights: {file} neither crops nor gives height and width, so images would keep their shapes; set do_center_crop"
    )
  if sides[0] != sides[1]:
    raise UserError(f"weights: {file} makes images of {sides[0]} x {sides[1]}; CLIP's are square")
  return Preprocess(
    sides[0],
    size,
    crop,
    int(resample),
    _three(file, body, "image_mean", MEAN),
    _three(file, body, "image_std", STD),
  )


def _size(file: Path, body: dict[str, Any]) -> int | tuple[int, int]:
  size = body.get("size", 224)
  if _has(size, "shortest_edge"):
    size = size["shortest_edge"]
  if _has(size, "height", "width"):
    size = (size["height"], size["width"])
  if not all(_is_length(s) for s in (size if isinstance(size, tuple) else (size,))):
    raise UserError(f"weights: {file} has size={size!r}; expected pixels, shortest_edge, or height and width")
  return size


def _crop_size(file: Path, body: dict[str, Any]) -> tuple[int, int]:
  size = body.get("crop_size", 224)
  if _has(size, "height", "width"):
    sides = (size["height"], size["width"])
  else:
    sides = (size, size)
  if not all(map(_is_length, sides)):
    raise UserError(f"weights: {file} has crop_size={size!r}; expected pixels, or height and width")
  return sides


def _has(value: Any, *keys: str) -> TypeGuard[dict[str, Any]]:
  """Whether it is an object of these keys alone."""
  return isinstance(value, dict) and set(value) == set(keys)


def _three(file: Path, body: dict[str, Any], key: str, default: tuple[float, ...]) -> tuple[float, ...]:
  values = body.get(key) or default
  is_right = isinstance(values, list | tuple) and len(values) == 3 and all(map(_is_number, values))
  if not is_right or (key.endswith("std") and min(map(np.float32, values)) <= 0):
    raise UserError(f"weights: {file} has {key}={values!r}; expected three numbers, one a colour")
  return tuple(float(v) for v in values)


def _is_number(value: Any) -> bool:
  """JSON's NaN and Infinity are floats too."""
  return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST


def _is_length(value: Any) -> bool:
  return isinstance(value, int) and not isinstance(value, bool) and value > 0
