"""Reads the safetensors and JSON of a checkpoint folder. Every tensor is accounted for; nothing in it is executed."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np
from flax import traverse_util
from safetensors import SafetensorError, safe_open

from synthjax.disk import documents, regular_files
from synthjax.runtime.errors import UserError, of_library
from synthjax.weights import finite, names

PICKLES = (".bin", ".ckpt", ".pt", ".pth")
CONVERTER = "python -m synthjax.weights.convert"
# Buffers that older files carry along; they are no parameters.
_BUFFERS = ("position_ids", "num_batches_tracked")
_FLOATS = ("F16", "BF16", "F32", "F64")
# One folder of the hub may hold a network in several layouts.
_OTHER_LAYOUTS = ("model.", "open_clip_model.", "open_clip_pytorch_model.")
# Keys by which a config would have its reader import or call something.
_CODE = ("auto_map", "_target_", "custom_pipeline")


def read_json(file: Path) -> dict[str, Any]:
  if not file.exists():
    raise UserError(f"weights: {file} is missing; the folder must have diffusers' layout")
  body = documents.read_json(file, f"weights: {file}", "fetch it again")
  if not isinstance(body, dict):
    raise UserError(f"weights: {file} does not hold a JSON object; fetch it again")
  return body


def building(folder: Path) -> contextlib.AbstractContextManager[None]:
  """Makes a line of what the makers of networks raise where a config asks for a network that cannot be."""
  return of_library(
    lambda why: (
      f"weights: no network can be built as the configs of {folder} have it ({why}); fetch the folder again"
    )
  )


def read_config(file: Path, classes: Collection[str]) -> dict[str, Any]:
  """A network's config, without the notes of who wrote it; refused where it is of none of `classes`.

  No name in it is ever looked up, neither as a class nor as a module: the caller knows what it builds.
  """
  body = read_json(file)
  for key in _CODE:
    if key in body:
      raise UserError(f"weights: {file} names custom code ({key}), which is never run; remove that key")
  named = [body.get("_class_name"), *_listed(body.get("architectures"))]
  for name in named:
    if name is not None and name not in classes:
      raise UserError(f"weights: {file} is the config of {str(name)[:80]!r}; here it must be {_or(classes)}")
  return {k: v for k, v in body.items() if not k.startswith("_") and k != "architectures"}


def _listed(value: Any) -> list[Any]:
  return value if isinstance(value, list) else [value]


def _or(names: Collection[str]) -> str:
  return " or ".join(names)


@dataclasses.dataclass(frozen=True)
class Promise:
  """A file that is not here yet, though its content is known: what the hub lists, and how to get it."""

  sha256: str
  fetch: Callable[[], None]


_promised: dict[Path, Promise] = {}


def promise(file: Path, content: Promise) -> None:
  """From now on the file is counted as if it lay there, and is fetched when a network is read from it."""
  _promised[file] = content


def _names(folder: Path) -> set[str]:
  return {p.name for p in folder.glob("*")} | {p.name for p in _promised if p.parent == folder}


def tensor_names(folder: Path, stem: str) -> list[str]:
  """`stem.safetensors`, or the parts named in its index; in 16 bits where these alone lie there."""
  there = _names(folder)
  for variant, index in (("", ".index.json"), (".fp16", ".index.fp16.json")):
    if (single := f"{stem}{variant}.safetensors") in there:
      return [single]
    if (listing := f"{stem}.safetensors{index}") in there:
      parts = read_json(folder / listing).get("weight_map")
      if not isinstance(parts, dict) or not all(isinstance(part, str) for part in parts.values()):
        raise UserError(f"weights: {folder / listing} has no weight_map; fetch it again")
      for part in (chosen := sorted(set(parts.values()))):
        if part not in there:
          raise UserError(f"weights: {folder / part} is missing, though {listing} names it; fetch it again")
      return chosen
  return []


def tensor_files(folder: Path, stem: str) -> list[Path]:
  """Where a network's tensors lie, fetched if need be. A further file that belongs to nothing is refused."""
  chosen = tensor_names(folder, stem)
  if not chosen:
    pickles = sorted(p.name for p in folder.glob("*") if p.suffix in PICKLES)
    if pickles:
      raise UserError(
        f"weights: {folder} has {pickles[0]}, a pickle, which can run code when read; `{CONVERTER}` makes safetensors of it"
      )
    raise UserError(
      f"weights: {folder / stem}.safetensors is missing; the folder must have diffusers' layout, with safetensors"
    )
  for other in sorted(folder.glob("*.safetensors")):
    # stem.fp16.safetensors, stem-00001-of-00002.safetensors
    is_variant = other.name.startswith((f"{stem}.", f"{stem}-"))
    if other.name not in chosen and not is_variant and not other.name.startswith(_OTHER_LAYOUTS):
      raise UserError(f"weights: {other} is extra, it belongs to no network of {folder.parent}; move it away")
  files = [folder / name for name in chosen]
  for file in files:
    if not file.exists():
      _promised[file].fetch()
  return files


class Layout(Protocol):
  """Where a file keeps each parameter; `weights/names.py` is that of diffusers and transformers."""

  def torch_names(self, path: tuple[str, ...]) -> list[str]:
    """The names that the tensor may have. Several parameters may be cut from one tensor."""
    ...

  def torch_shape(self, path: tuple[str, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    """The tensor's shape, where the parameter's is `shape`."""
    ...

  def to_flax(self, path: tuple[str, ...], tensor: np.ndarray) -> np.ndarray: ...


def read_params(
  folder: Path,
  stem: str,
  shapes: Mapping[str, Any],
  place: Callable[[np.ndarray], jax.Array | np.ndarray],
  layout: Layout = names,
  spare: Mapping[str, str] | None = None,
  network: str = "its config.json",
) -> dict[str, Any]:
  """The tensors of one network as the tree `shapes` wants them, each placed as soon as it is read.

  Missing, extra and wrong-shaped names are listed in one error, before anything is placed. The host never holds more
  than two tensors: one is read while the one before is on its way to the devices.

  `spare` are tensors that the files may hold besides: of each the name of another one, which it must be a copy of, or "".
  `network` is what decides the names and shapes, in errors.
  """
  by_file: dict[Path, list[tuple[tuple[str, ...], str]]] = {}
  for path, (file, name) in account(folder, stem, shapes, layout, spare, network).items():
    by_file.setdefault(file, []).append((path, name))
  read: dict[tuple[str, ...], jax.Array | np.ndarray] = {}
  before = None
  for file, paths in by_file.items():
    with open_tensors(file) as tensors:
      for path, name in paths:
        tensor = tensors.get_tensor(name)
        finite.check({name: tensor}, file)
        read[path] = place(layout.to_flax(path, tensor))
        jax.block_until_ready(before)
        before = read[path]
  return traverse_util.unflatten_dict(read)


def account(
  folder: Path,
  stem: str,
  shapes: Mapping[str, Any],
  layout: Layout = names,
  spare: Mapping[str, str] | None = None,
  network: str = "its config.json",
) -> dict[tuple[str, ...], tuple[Path, str]]:
  """For `read_params`: which tensor of which file each parameter is. No tensor is read, but for those of `spare` copies."""
  spare = spare or {}
  wanted = traverse_util.flatten_dict(dict(shapes))
  files = tensor_files(folder, stem)
  where: dict[str, Path] = {}
  found: dict[str, tuple[int, ...]] = {}
  odd = []
  for file in files:
    with open_tensors(file) as tensors:
      for name in tensors.keys():  # noqa: SIM118  not a dict
        about = tensors.get_slice(name)
        if name in where:
          odd.append(f"{name} is in {where[name].name} and in {file.name}")
        if (kind := about.get_dtype()) not in _FLOATS and not name.endswith(_BUFFERS):
          odd.append(f"{name} is stored as {kind}")
        where[name], found[name] = file, tuple(about.get_shape())
  source = {path: next((n for n in layout.torch_names(path) if n in found), None) for path in wanted}
  _account(
    folder, wanted, source, {n: shape for n, shape in found.items() if n not in spare}, odd, layout, network
  )
  _check_copies({name: of for name, of in spare.items() if of and name in where}, where)
  return {path: (where[name], name) for path, name in source.items() if name is not None}


def _check_copies(copies: Mapping[str, str], where: Mapping[str, Path]) -> None:
  """A network that shares a tensor is read from one name; another value under the other would be lost, in silence."""
  for name, of in copies.items():
    with open_tensors(where[name]) as own, open_tensors(where[of]) as other:
      if not np.array_equal(own.get_tensor(name), other.get_tensor(of)):
        raise UserError(
          f"weights: {name} of {where[name]} differs from {of}, though config.json has them tied; fetch the folder again"
        )


def open_tensors(file: Path):
  """A safetensors file, to read from."""
  try:
    regular_files.check(file)
    return safe_open(file, framework="np")
  except (SafetensorError, OSError, ValueError) as e:
    why = getattr(e, "strerror", None) or " ".join(str(e).split())[:200]
    raise UserError(f"weights: {file} is truncated or no safetensors file ({why}); fetch it again") from None


def _account(
  folder: Path,
  wanted: dict,
  source: dict,
  found: dict[str, tuple[int, ...]],
  odd: list[str],
  layout: Layout,
  network: str,
) -> None:
  # Several parameters may be cut from one tensor, which is listed once.
  missing = list(dict.fromkeys(layout.torch_names(p)[0] for p, name in source.items() if name is None))
  used = {n for n in source.values() if n}
  extra = [n for n in found if n not in used and not n.endswith(_BUFFERS)]
  wrong = []
  for path, name in source.items():
    if name and found[name] != (shape := layout.torch_shape(path, tuple(wanted[path].shape))):
      wrong.append(f"{name} is {found[name]}, not {shape}")
  faults = [
    f"{len(which)} {what}: {some(which)}"
    for what, which in (
      ("missing", missing),
      ("extra", extra),
      ("wrong-shaped", list(dict.fromkeys(wrong))),
      ("unreadable", odd),
    )
    if which
  ]
  if faults:
    raise UserError(f"weights: {folder} does not fit {network}: {'; '.join(faults)}; fetch the folder again")


def some(items: list[str], n: int = 4) -> str:
  return ", ".join(items[:n]) + (f", and {len(items) - n} more" if len(items) > n else "")


Stamps = tuple[tuple[Any, ...], ...]


def stamps(folder: Path, parts: tuple[str, ...] = (".",)) -> Stamps:
  """Of the files in these parts of a folder: files written anew have others. Those of the hub's keep theirs when fetched."""
  found: list[tuple[Any, ...]] = []
  for part in parts:
    for name in sorted(_names(folder / part)):
      file = folder / part / name
      if file in _promised:
        found.append((part, name, _promised[file].sha256))
      elif file.is_file():
        about = file.stat()
        found.append((part, name, about.st_mtime_ns, about.st_size, about.st_ino))
  return tuple(found)


def check_unchanged(folder: Path, before: Stamps, parts: tuple[str, ...] = (".",)) -> None:
  """After the tensors are read: they must be those whose digest stands in the records."""
  if stamps(folder, parts) != before:
    raise UserError(
      f"weights: files of {folder} were changed while this command ran; run the same command again"
    )


def folder_digest(
  folder: Path, parts: tuple[str, ...], stems: tuple[str, ...] = (), others: tuple[str, ...] = ()
) -> str:
  """A hash of every file that decides what the networks of a folder compute.

  Variants that are not read do not count: another program may fetch one into the same folder. `stems` are the networks
  that do; () stands for all that lie there. `others` are files that count beside JSON and text.
  """
  return _folder_digest(folder, parts, stems, others, stamps(folder, parts))


@functools.lru_cache(maxsize=16)
def _folder_digest(
  folder: Path, parts: tuple[str, ...], stems: tuple[str, ...], others: tuple[str, ...], _: Stamps
) -> str:
  sha = hashlib.sha256()
  for part in parts:
    there = _names(folder / part)
    read = {name for stem in stems or _stems(there) for name in tensor_names(folder / part, stem)}
    for name in sorted(read | {n for n in there if n.endswith((".json", ".txt")) or n in others}):
      sha.update(f"{part}/{name}\0".encode())
      sha.update(_sha256(folder / part / name))
  return sha.hexdigest()


def _stems(names: Collection[str]) -> set[str]:
  tensors = {n for n in names if n.endswith(".safetensors")}
  return {re.sub(r"-\d+-of-\d+$", "", name.split(".")[0]) for name in tensors}


def _sha256(file: Path) -> bytes:
  if not file.exists():
    return bytes.fromhex(_promised[file].sha256)
  try:
    with regular_files.open_file(file) as stream:
      return hashlib.file_digest(stream, "sha256").digest()
  except regular_files.NotRegular as e:
    raise UserError(f"weights: {file} is {e.kind}; fetch it again") from None
