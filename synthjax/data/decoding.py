"""Bytes of image files to pictures: an allow-list of formats, nothing that fills the memory, upright."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image, ImageOps

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")  # PIL would try others by content, EPS among them
_LONGEST = 100  # times the short side


class Unreadable(Exception):
  """An image that cannot be decoded; callers count, name and skip it."""

  def __init__(self, where: Path | str, why: str):
    super().__init__(f"{where}: {why}")
    self.where, self.why = where, why


def decode(data: bytes, where: Path | str) -> Image.Image:
  """In any mode, turned as its EXIF says; raises Unreadable, for more pixels than PIL thinks safe too."""
  try:
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
      if Image.MAX_IMAGE_PIXELS and image.width * image.height > Image.MAX_IMAGE_PIXELS:
        raise Unreadable(where, f"{image.width} x {image.height} pixels, more than PIL decodes safely")
      if max(image.size) > _LONGEST * min(
        image.size
      ):  # its short side made 224, the long one would fill the memory
        raise Unreadable(where, f"{image.width} x {image.height} pixels: a strip, and no picture")
      return ImageOps.exif_transpose(image)
  except Unreadable:
    raise
  except Exception as e:  # PIL's readers raise whatever a broken file leads them to
    raise Unreadable(where, " ".join(str(e).split())[:200] or type(e).__name__) from e
