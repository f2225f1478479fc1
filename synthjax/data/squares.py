"""The middle square of a picture, made one size: by PIL with care, or of a JPEG straight into its row of a batch."""

from __future__ import annotations

import functools
import math
import threading

import numpy as np
import simplejpeg
from PIL import Image, ImageOps

from synthjax.data.decoding import plain_jpeg, plain_size
from synthjax.runtime import devices

Array = np.ndarray
# PIL's threads wait for one another: 16 of them read fewer pictures than 4.
BY_PIL = threading.BoundedSemaphore(devices.threads())
_QUICK = (1, 2, 4, 8)  # eighths of its size at which libjpeg-turbo decodes with vector instructions
_STRIP = 112  # rows of the result that are made at once: what they need stays in a core's cache
_SMALLEST = 8  # pixels a side of what is decoded at less than its size
_SHIFT = 7  # weights are so many bits: a difference of two pixels times a weight fits 16


def square(image: Image.Image, size: int) -> Array:
  """[S, S, 3] uint8, by PIL's antialiased bicubic filter."""
  rgb = image if image.mode == "RGB" else image.convert("RGB")
  return np.asarray(
    rgb if rgb.size == (size, size) else ImageOps.fit(rgb, (size, size), Image.Resampling.BICUBIC)
  )


def put_jpeg(data: bytes, out_SxSx3: Array, scaled: bool = False) -> bool:
  """Puts a JPEG that asks for no care where it is wanted, to the bit as `decode` and `square` make it; False of all else.

  Scaled: decoded at an eighth, a quarter, half or all of its size, the least that is not below the wanted one, and resized by
  two taps an axis (bilinear, not antialiased). At a size that is just the wanted one, as 7/8 of 256 is 224, it is not resized.
  A picture that is smaller than wanted is made as ever.
  """
  if (shape := plain_size(data)) is None:
    return False
  size, side = len(out_SxSx3), min(shape)
  try:
    if shape == (size, size):
      simplejpeg.decode_jpeg(data, buffer=out_SxSx3)
    elif scaled and side >= size >= _SMALLEST:
      _put_scaled(data, shape, out_SxSx3)
    elif (pixels := plain_jpeg(data)) is None:
      return False
    else:
      with BY_PIL:
        out_SxSx3[:] = square(Image.fromarray(pixels), size)
  except (ValueError, RuntimeError):  # `decode` says what is wrong with it
    return False
  return True


def _put_scaled(data: bytes, shape: tuple[int, int], out_SxSx3: Array) -> None:
  size, side = len(out_SxSx3), min(shape)
  if 8 * size % side == 0:
    eighths = 8 * size // side
    direct = shape == (side, side)
    pixels = _decoded(data, shape, eighths, "RGB", out_SxSx3 if direct else None)
    if not direct:
      top, left = ((n - size) // 2 for n in pixels.shape[:2])
      out_SxSx3[:] = pixels[top : top + size, left : left + size]
    return
  eighths = next(k for k in _QUICK if side * k >= 8 * size)
  if side * eighths > 16 * size:  # two taps would miss pixels between them
    pixels = _decoded(data, shape, eighths, "RGB")
    left, top = ((n - side) / 2 * eighths / 8 for n in reversed(shape))
    middle = (left, top, left + side * eighths / 8, top + side * eighths / 8)
    with BY_PIL:
      image = Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC, middle)
      out_SxSx3[:] = np.asarray(image)
    return
  _resize(_decoded(data, shape, eighths, "RGBX"), shape, eighths, out_SxSx3)


def _decoded(
  data: bytes, shape: tuple[int, int], eighths: int, colours: str, out: Array | None = None
) -> Array:
  height, width = (-(-n * eighths // 8) for n in shape)
  if out is None:
    out = _array("decoded", (height, width, len(colours)), np.uint8)
  return simplejpeg.decode_jpeg(
    data, colours, min_height=height, min_width=width, min_factor=1, buffer=out
  )  # fmt: skip


def _resize(pixels_HxWx4: Array, shape: tuple[int, int], eighths: int, out_SxSx3: Array) -> None:
  """The middle square, by two taps an axis. Rows first, then columns: pixels of four bytes are gathered as fast as numbers.

  In NumPy it takes half the time of PIL's bilinear filter, and other threads run meanwhile."""
  size, side = len(out_SxSx3), min(shape)
  rows_S, down_S = _taps(pixels_HxWx4.shape[0], shape[0], side, eighths, size)
  columns_S, across_S = _taps(pixels_HxWx4.shape[1], shape[1], side, eighths, size)
  first, last = int(columns_S[0]), int(columns_S[-1]) + 2
  columns_S, across_Sx4 = columns_S - first, np.repeat(across_S, 4)
  flat, middle = pixels_HxWx4.reshape(len(pixels_HxWx4), -1), slice(4 * first, 4 * last)
  resized = _array("resized", (size, 4 * size), np.uint8)
  for start in range(0, size, _STRIP):
    rows = rows_S[start : start + _STRIP]
    strip = _array("strip", (len(rows), 4 * (last - first)), np.uint8)
    near, far = (_array(name, strip.shape, np.int16) for name in ("near", "far"))
    near[:] = np.take(flat, rows, axis=0)[:, middle]
    far[:] = np.take(flat, rows + 1, axis=0)[:, middle]
    _mix(near, far, down_S[start : start + _STRIP, None], np.subtract)
    np.copyto(strip, near, casting="unsafe")
    near, far = (_array(name, (len(rows), 4 * size), np.int16) for name in ("near", "far"))
    near[:] = np.take(strip.view(np.uint32), columns_S, axis=1).view(np.uint8)
    far[:] = np.take(strip.view(np.uint32), columns_S + 1, axis=1).view(np.uint8)
    _mix(near, far, across_Sx4, np.add)
    np.copyto(resized[start : start + _STRIP], near, casting="unsafe")
  rgb = Image.frombuffer("RGBX", (size, size), resized, "raw", "RGBX", 0, 1).tobytes("raw", "RGB")
  out_SxSx3[:] = np.frombuffer(rgb, np.uint8).reshape(out_SxSx3.shape)


def _mix(near: Array, far: Array, weight: Array, put: np.ufunc) -> None:
  """near += (far - near) * weight; rounded down by `np.add`, and up by `np.subtract`: one after the other, neither way."""
  np.subtract(*((far, near) if put is np.add else (near, far)), out=far)
  np.multiply(far, weight, out=far)
  np.right_shift(far, _SHIFT, out=far)
  put(near, far, out=near)


@functools.lru_cache(maxsize=4096)
def _taps(n: int, length: int, side: int, eighths: int, size: int) -> tuple[Array, Array]:
  """Of each of `size` pixels along the middle `side` of `length`: the first of its two taps among n, the second's weight."""
  places = ((length - side) / 2 + (np.arange(size) + 0.5) * side / size) * eighths / 8 - 0.5
  first = np.floor(places).clip(0, n - 2).astype(np.intp)
  return first, np.rint((places - first).clip(0, 1) * 2**_SHIFT).astype(np.int16)


_held = threading.local()


def _array(name: str, shape: tuple[int, ...], dtype: type[np.generic]) -> Array:
  """Of this thread, and of unknown content: fresh memory would take longer to get than to fill."""
  n = math.prod(shape) * np.dtype(dtype).itemsize
  held: Array | None = vars(_held).get(name)
  if held is None or len(held) < n:
    held = vars(_held)[name] = np.empty(n, np.uint8)
  return held[:n].view(dtype).reshape(shape)
