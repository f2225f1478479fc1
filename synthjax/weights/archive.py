"""Reads the tensors of a TorchScript archive, such as OpenAI's CLIP, without running anything that it holds.

PyTorch's own loader for these compiles the archive's code. Here only the pickle of its attributes is read, in which
every class is an empty container, and no callable is known but those that put a tensor together.
"""

from __future__ import annotations

import collections
import math
import pickle
import zipfile
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from synthjax.runtime.errors import UserError

_STORAGES = {
  "DoubleStorage": np.float64,
  "FloatStorage": np.float32,
  "HalfStorage": np.float16,
  "BFloat16Storage": ml_dtypes.bfloat16,
  "LongStorage": np.int64,
  "IntStorage": np.int32,
  "ShortStorage": np.int16,
  "CharStorage": np.int8,
  "ByteStorage": np.uint8,
  "BoolStorage": np.bool_,
}
_REPEATED = 1 << 20  # bytes that a few may be repeated to
_LISTS = ("build_intlist", "build_doublelist", "build_boollist", "build_tensorlist")


class _Refused(Exception):
  """Something that a file of tensors does not need."""


class _Object:
  """In the place of any class of the archive: its attributes, and nothing that could be called."""

  def __new__(cls, *args: Any) -> _Object:
    made = super().__new__(cls)
    made.attributes = {}
    return made

  def __setstate__(self, state: Any) -> None:
    if not isinstance(state, dict):
      raise _Refused("an object without attributes")
    self.attributes = state


def is_archive(file: Path) -> bool:
  """Whether a file is TorchScript, as opposed to a pickle or a zip of one."""
  if not zipfile.is_zipfile(file):
    return False
  try:
    with zipfile.ZipFile(file) as opened:
      return any(_below(n) == "constants.pkl" for n in opened.namelist())
  except Exception as e:  # zipfile raises whatever a broken list of members leads it to
    raise UserError(
      f"weights: {file} is no whole zip, as PyTorch writes it ({' '.join(str(e).split())[:120]}); fetch it again"
    ) from e


def read_archive(file: Path) -> dict[str, np.ndarray]:
  """Its tensors, named by the path of attributes that leads to each."""
  try:
    with zipfile.ZipFile(file) as opened:
      files = {_below(name): name for name in opened.namelist()}
      if "byteorder" in files and opened.read(files["byteorder"]) != b"little":
        raise _Refused("numbers in another machine's byte order")
      with opened.open(files["data.pkl"]) as stream:
        root = _Unpickler(stream, opened, files).load()
    found: dict[str, np.ndarray] = {}
    _walk(root, "", found)
  except _Refused as e:
    raise UserError(
      f"weights: {file} holds {e}, which no file of tensors needs; nothing of it was run"
    ) from e
  except Exception as e:
    raise UserError(
      f"weights: {file} is no archive of tensors ({type(e).__name__}: {' '.join(str(e).split())[:120]}); fetch it again"
    ) from e
  return found


def _below(name: str) -> str:
  """A member's name below the archive's own folder."""
  return name.partition("/")[2]


def _walk(value: Any, name: str, found: dict[str, np.ndarray]) -> None:
  if isinstance(value, np.ndarray):
    found[name] = value
  elif isinstance(value, _Object):
    for key, own in value.attributes.items():
      _walk(own, f"{name}.{key}" if name else str(key), found)


class _Unpickler(pickle.Unpickler):
  def __init__(self, stream: Any, opened: zipfile.ZipFile, files: dict[str, str]):
    super().__init__(stream)
    self._opened, self._files = opened, files

  def find_class(self, module: str, name: str) -> Any:
    """Everything that the pickle may name."""
    if module.split(".")[0] == "__torch__":
      return _Object
    if module == "torch" and name in _STORAGES:
      return np.dtype(_STORAGES[name])
    if module == "torch.jit._pickle" and name in (*_LISTS, "restore_type_tag"):
      return _first
    known = {
      ("collections", "OrderedDict"): collections.OrderedDict,
      ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    }
    if (module, name) not in known:
      raise _Refused(f"{module}.{name}"[:80])
    return known[module, name]

  def persistent_load(self, pid: Any) -> np.ndarray:
    """A storage: its numbers, in a row."""
    _, dtype, key, _, count = pid
    if not isinstance(dtype, np.dtype) or f"data/{key}" not in self._files:
      raise _Refused(f"no storage {key!r}"[:80])
    about = self._opened.getinfo(self._files[f"data/{key}"])
    if about.file_size < count * dtype.itemsize:
      raise _Refused(f"storage {key!r} cut short"[:80])
    if about.compress_type != zipfile.ZIP_STORED:  # a few bytes may be made a terabyte
      raise _Refused(f"storage {key!r} compressed"[:80])
    return np.frombuffer(self._opened.read(about), dtype, count)


def excess(claimed: int, stored: int) -> str:
  """Why a tensor is not read that says it has more bytes than its storage, by repeating them; "" where it is."""
  if claimed <= max(stored, _REPEATED):
    return ""
  return f"claims {claimed:,} bytes, {stored:,} of which are stored"


def _first(value: Any, *_: Any) -> Any:
  return value


def _tensor(storage: np.ndarray, offset: int, shape: tuple, stride: tuple, *_: Any) -> np.ndarray:
  """A copy, after a look whether all of it lies in its storage."""
  numbers = (offset, *shape, *stride)
  if len(shape) != len(stride) or not all(isinstance(n, int) and n >= 0 for n in numbers):
    raise _Refused("a tensor of no shape")
  if why := excess(math.prod(shape) * storage.itemsize, storage.nbytes):
    raise _Refused(f"a tensor that {why}")
  if 0 in shape:
    return np.zeros(shape, storage.dtype)
  if offset + sum((n - 1) * s for n, s in zip(shape, stride, strict=True)) >= storage.size:
    raise _Refused("a tensor that reaches out of its storage")
  steps = tuple(s * storage.itemsize for s in stride)
  return np.lib.stride_tricks.as_strided(storage[offset:], shape, steps).copy()
