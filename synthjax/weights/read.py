"""Reads the safetensors and JSON of a checkpoint folder. Every tensor is accounted for; nothing in it is executed."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import traverse_util
from safetensors import SafetensorError, safe_open

from synthjax.errors import UserError
from synthjax.weights import names

_PICKLES = (".bin", ".ckpt", ".pt", ".pth")
# Buffers that older files carry along; they are no parameters.
_BUFFERS = ("position_ids",)


def read_json(file: Path) -> dict[str, Any]:
  try:
    body = json.loads(file.read_text())
  except FileNotFoundError:
    raise UserError(f"weights: {file} is missing; the folder must have diffusers' layout") from None
  except (OSError, json.JSONDecodeError, UnicodeDecodeError) as e:
    raise UserError(f"weights: {file} is not readable JSON ({e}); fetch it again") from None
  if not isinstance(body, dict):
    raise UserError(f"weights: {file} does not hold a JSON object; fetch it again")
  return body


def tensor_files(folder: Path, stem: str) -> list[Path]:
  """`stem.safetensors`, or the parts named in its index. A further file that belongs to nothing is refused."""
  single, index = folder / f"{stem}.safetensors", folder / f"{stem}.safetensors.index.json"
  if single.exists():
    files = [single]
  elif index.exists():
    files = [folder / name for name in sorted(set(read_json(index).get("weight_map", {}).values()))]
    for file in files:
      if not file.exists() or file.parent != folder:
        raise UserError(f"weights: {file} is missing, though {index.name} names it; fetch it again")
  else:
    pickles = [p.name for p in folder.glob("*") if p.suffix in _PICKLES]
    if pickles:
      raise UserError(
        f"weights: {folder} has {pickles[0]}, a pickle, which can run code when read; use the .safetensors file"
      )
    raise UserError(f"weights: {single} is missing; the folder must have diffusers' layout, with safetensors")
  for other in sorted(folder.glob("*.safetensors")):
    is_variant = other.name.startswith(f"{stem}.") and other.name.count(".") == 2  # stem.fp16.safetensors
    if other not in files and not is_variant:
      raise UserError(f"weights: {other} is extra, it belongs to no network of {folder.parent}; move it away")
  return files


def read_params(
  folder: Path, stem: str, shapes: Mapping[str, Any], place: Callable[[np.ndarray], jax.Array]
) -> dict[str, Any]:
  """The tensors of one network as the tree `shapes` wants them, each placed as soon as it is read.

  Missing, extra and wrong-shaped names are told in one error, before anything is placed.
  """
  wanted = traverse_util.flatten_dict(dict(shapes))
  files = tensor_files(folder, stem)
  where: dict[str, Path] = {}
  found: dict[str, tuple[int, ...]] = {}
  for file in files:
    with _open(file) as tensors:
      for name in tensors.keys():  # noqa: SIM118  not a dict
        where[name], found[name] = file, tuple(tensors.get_slice(name).get_shape())
  source = {path: next((n for n in names.torch_names(path) if n in found), None) for path in wanted}
  _account(folder, wanted, source, found)
  by_file: dict[Path, list[tuple[str, ...]]] = {}
  for path, name in source.items():
    by_file.setdefault(where[name], []).append(path)
  read = {}
  for file, paths in by_file.items():
    with _open(file) as tensors:
      for path in paths:
        read[path] = place(names.to_flax(path, tensors.get_tensor(source[path])))
  return traverse_util.unflatten_dict(read)


def _open(file: Path):
  try:
    return safe_open(file, framework="np")
  except (SafetensorError, OSError) as e:
    raise UserError(
      f"weights: {file} is truncated or no safetensors file ({' '.join(str(e).split())}); fetch it again"
    ) from None


def _account(folder: Path, wanted: dict, source: dict, found: dict[str, tuple[int, ...]]) -> None:
  missing = [names.torch_names(p)[0] for p, name in source.items() if name is None]
  used = {n for n in source.values() if n}
  extra = [n for n in found if n not in used and not n.endswith(_BUFFERS)]
  wrong = []
  for path, name in source.items():
    if name and found[name] != (shape := names.torch_shape(path, tuple(wanted[path].shape))):
      wrong.append(f"{name} is {found[name]}, not {shape}")
  told = [
    f"{len(which)} {what}: {_some(which)}"
    for what, which in (("missing", missing), ("extra", extra), ("wrong-shaped", wrong))
    if which
  ]
  if told:
    raise UserError(
      f"weights: {folder} does not fit its config.json: {'; '.join(told)}; fetch the folder again"
    )


def _some(items: list[str], n: int = 4) -> str:
  return ", ".join(items[:n]) + (f", and {len(items) - n} more" if len(items) > n else "")


@functools.lru_cache(maxsize=16)
def folder_digest(folder: Path, parts: tuple[str, ...]) -> str:
  """A hash of every file that decides what the networks of a folder compute."""
  sha = hashlib.sha256()
  for part in parts:
    for file in sorted(p for p in (folder / part).glob("*") if p.suffix in (".safetensors", ".json", ".txt")):
      sha.update(f"{part}/{file.name}\0".encode())
      with file.open("rb") as stream:
        sha.update(hashlib.file_digest(stream, "sha256").digest())
  return sha.hexdigest()
