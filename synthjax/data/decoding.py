"""Bytes of image files to pictures: an allow-list of formats, nothing that fills the memory, upright.

What PIL's `convert("RGB")` would get wrong is put right here:
  16 bits       scaled to 8, where PIL cuts off all above 255
  transparency  laid on white, as a page would show it; the colours that hide below are whatever a tool left there
CMYK, palettes, grey and black-and-white pictures stay as they are: encoders convert those as their own libraries do.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = (
  "JPEG",
  "PNG",
  "WEBP",
  "BMP",
  "GIF",
  "TIFF",
  "PPM",
)  # PIL would try others by content, EPS among them
# Of the names of image files; those of torchvision's ImageFolder are among them.
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm")
_MODES = ("1", "L", "P", "RGB", "CMYK", "YCbCr")
_LONGEST = 100  # times the short side
# They name no file, and what keeps an image from being read is said by `Unreadable`, which does.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").setLevel(logging.CRITICAL)
_TURNED = (b"Exif\0\0", b"tiff:Orientation")  # what may say that a JPEG is to be turned


class Unreadable(Exception):
  """An image that cannot be decoded; callers count, name and skip it."""

  def __init__(self, where: Path | str, why: str):
    super().__init__(f"{where}: {why}")
    self.where, self.why = where, why


def decode(data: bytes, where: Path | str) -> Image.Image:
  """Opaque, in 8 bits, turned as its EXIF says; raises Unreadable, for more pixels than PIL thinks safe too."""
  try:
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
      if Image.MAX_IMAGE_PIXELS and image.width * image.height > Image.MAX_IMAGE_PIXELS:
        raise Unreadable(where, f"{image.width} x {image.height} pixels, more than PIL decodes safely")
      # Its short side made 224, the long one would fill the memory.
      if max(image.size) > _LONGEST * min(image.size):
        raise Unreadable(where, f"{image.width} x {image.height} pixels: a strip, and no picture")
      image.load()
      with contextlib.suppress(Exception):  # EXIF that is broken says nothing about the pixels
        ImageOps.exif_transpose(image, in_place=True)
      return _plain(image, where)
  except Unreadable:
    raise
  except UnidentifiedImageError as e:  # its text names a buffer in memory
    why = f"its content is none of {', '.join(FORMATS)}" if data else "it is empty"
    raise Unreadable(where, f"cannot identify image file: {why}") from e
  except Exception as e:  # PIL's readers raise whatever a broken file leads them to
    raise Unreadable(where, " ".join(str(e).split())[:200] or type(e).__name__) from e


def plain_jpeg(data: bytes) -> np.ndarray | None:
  """The pixels [H, W, 3] of a JPEG that asks for no care, to the bit those of `decode`; None of all else.

  In three quarters of the time, and hardly any of it with the interpreter's lock held: threads of PIL wait for one another,
  so that 16 of them read fewer pictures than 4."""
  try:
    return simplejpeg.decode_jpeg(data) if plain_size(data) else None
  except (ValueError, RuntimeError):  # `decode` says what is wrong with it
    return None


def plain_size(data: bytes) -> tuple[int, int] | None:
  """(height, width) of a JPEG that asks for no care, by its header."""
  if not data.startswith(b"\xff\xd8\xff") or any(mark in data for mark in _TURNED):
    return None
  try:
    height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
  except (ValueError, RuntimeError):
    return None
  height, width = int(height), int(width)  # which they are; simplejpeg promises SupportsInt
  careful = Image.MAX_IMAGE_PIXELS and height * width > Image.MAX_IMAGE_PIXELS
  if colours != "YCbCr" or careful or max(height, width) > _LONGEST * min(height, width):
    return None
  return height, width


def _plain(image: Image.Image, where: Path | str) -> Image.Image:
  if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
    return Image.fromarray(((np.asarray(image).astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8))
  if image.has_transparency_data:
    seen = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen).convert("RGB")
  if image.mode not in _MODES:
    raise Unreadable(
      where, f"pixels of mode {image.mode}, which do not say what is white; store it in 8 or 16 bits"
    )
  return image
