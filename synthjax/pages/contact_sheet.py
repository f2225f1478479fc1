"""A contact sheet: the first images of each class, a row a class, to look at before anyone spends a night."""

from __future__ import annotations

import io
from collections.abc import Sequence

import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from synthjax.data.decoding import Unreadable, decode
from synthjax.runtime.errors import UserError

_ROWS = 100  # more classes than this do not help the eye
_CELL = 96
_GAP = 4
_LABEL = 150


def render(rows: Sequence[tuple[str, Sequence[bytes]]], title: str) -> bytes:
  """PNG of (label, JPEGs) rows."""
  shown = rows[:_ROWS]
  columns = max((len(jpegs) for _, jpegs in shown), default=0)
  size = (_LABEL + columns * (_CELL + _GAP) + _GAP, 40 + len(shown) * (_CELL + _GAP) + _GAP)
  sheet = PIL.Image.new("RGB", size, "white")
  pen, font = PIL.ImageDraw.Draw(sheet), PIL.ImageFont.load_default(14)
  more = "" if len(rows) <= _ROWS else f" (first {_ROWS} of {len(rows)} classes)"
  pen.text((_GAP * 2, 12), title + more, fill="black", font=font)
  for r, (label, jpegs) in enumerate(shown):
    top = 40 + r * (_CELL + _GAP)
    pen.text((_GAP * 2, top + _CELL // 2 - 8), label[:18], fill="black", font=font)
    for c, jpeg in enumerate(jpegs):
      picture = _picture(jpeg, f"{title}: image {c + 1} of {label}")
      cell = picture.resize((_CELL, _CELL), PIL.Image.Resampling.BICUBIC)
      sheet.paste(cell, (_LABEL + c * (_CELL + _GAP), top))
  buffer = io.BytesIO()
  sheet.save(buffer, "PNG")
  return buffer.getvalue()


def _picture(jpeg: bytes, where: str) -> PIL.Image.Image:
  try:
    return decode(jpeg, where).convert("RGB")
  except Unreadable as e:
    raise UserError(f"{e}; --stages verify says what to remove") from None
