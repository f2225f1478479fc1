"""Weights that hold NaN or inf are refused, by name: with them a network answers something all the same."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath

import ml_dtypes
import numpy as np

from synthjax.runtime.errors import UserError

# The bits of +inf. Whatever is larger, the sign aside, is inf or NaN.
_INFINITY = {
  np.dtype(np.float16): 0x7C00,
  np.dtype(ml_dtypes.bfloat16): 0x7F80,
  np.dtype(np.float32): 0x7F80_0000,
  np.dtype(np.float64): 0x7FF0_0000_0000_0000,
}
_BLOCK = 2**18  # bytes: what is read once from memory is compared twice in the cache


def is_finite(tensor: np.ndarray) -> bool:
  """Of a tensor of any dtype, without a copy: as integers, which costs 16 bits no more than 32."""
  if (infinity := _INFINITY.get(tensor.dtype)) is None:
    return True
  flat = np.ascontiguousarray(tensor).reshape(-1)
  size = tensor.dtype.itemsize
  sign = 1 << (8 * size - 1)
  signed, unsigned = flat.view(f"i{size}"), flat.view(f"u{size}")
  for start in range(0, len(flat), step := _BLOCK // size):
    part = slice(start, start + step)
    if signed[part].max() >= infinity or unsigned[part].max() >= sign + infinity:
      return False
  return True


def check(tensors: Mapping[str, np.ndarray], file: PurePath | str) -> None:
  for name, tensor in tensors.items():
    if not is_finite(tensor):
      raise UserError(
        f"weights: {name} of {file} holds NaN or inf; fetch or train it again (a conversion to float16 makes inf of what is above 65504: take bfloat16)"
      )
