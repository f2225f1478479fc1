"""Makes safetensors of what PyTorch wrote, in a process of its own that does nothing else.

    python -m synthjax.weights.convert SOURCE --out FOLDER [--tokenizer FOLDER] [--backbone FILE]

SOURCE is a folder in diffusers' or transformers' layout with .bin files, a single-file Stable Diffusion (1.x, 2.x, XL
base; .safetensors or .ckpt), one of OpenAI's CLIP archives, or the file of FID's Inception or of LPIPS (its channels with
`--backbone`, torchvision's network). Needs PyTorch: pip install 'synthjax[parity]'. Pickles
are read with `weights_only=True`, archives by archive.py; nothing in either is run.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from etils import epath

from synthjax.disk import drafts, regular_files, workdir
from synthjax.runtime.errors import UserError
from synthjax.weights import archive, metric_files, metric_networks, openai_clip, read, single_file

_DTYPES = ("float16", "bfloat16", "float32")
_TOKENIZER = ("vocab.json", "merges.txt")
# The files of networks, and not those of an optimiser that lies beside them.
_NETWORK = re.compile(
  r"(diffusion_pytorch_model|pytorch_model|open_clip_pytorch_model)((?:\.\w+)?(?:-\d+-of-\d+)?)\.bin(\.index\.(?:\w+\.)?json)?"
)
_SAFE_STEMS = {"pytorch_model": "model", "open_clip_pytorch_model": "open_clip_model"}
_TEXT = (".json", ".txt", ".jinja", ".model")
_TEXT_BYTES = 32e6  # at most; a tokenizer has two million


def convert(
  source: Path,
  out: Path,
  tokenizer: Path | None = None,
  dtype: str = "",
  prediction: str = "",
  backbone: Path | None = None,
) -> None:
  """Writes `out`, whole or not at all. "" keeps the dtype that is stored."""
  if out.exists():
    raise UserError(f"--out {out} exists already; give another, or remove it")
  if not source.exists():
    raise UserError(f"{source} does not exist; check its path")
  out.parent.mkdir(parents=True, exist_ok=True)
  drafts.sweep_drafts(epath.Path(out.parent), workdir.now(epath.Path(out.parent)), of=out.name)
  draft = drafts.draft_of(out)
  draft.mkdir()
  try:
    if source.is_dir():
      _convert_folder(source, draft, dtype)
    else:
      regular_files.check(source)
      tensors = _tensors(source)
      if metric_files.is_inception(tensors):
        _save(draft / metric_networks.FILE, tensors, dtype)
      elif metric_files.is_lpips(tensors):
        _save(draft / metric_networks.FILE, _with_backbone(source, tensors, backbone), dtype)
      else:
        convert_one = _convert_clip if openai_clip.is_clip(tensors) else _convert_single
        convert_one(tensors, draft, _tokenizer(tokenizer), dtype, prediction)
    os.rename(draft, out)
  except (UserError, OSError):
    raise
  except (
    Exception
  ) as e:  # tensors of shapes that no network has lead the code that takes them apart to anything
    raise UserError(
      f"weights: {source} holds no network that can be converted ({type(e).__name__}: {_line(e)}); fetch it again"
    ) from e
  finally:
    shutil.rmtree(draft, ignore_errors=True)


# --- sources ---------------------------------------------------------------------------------------


def _tensors(file: Path) -> dict[str, Any]:
  """Of any single file, as PyTorch's tensors."""
  if file.suffix == ".safetensors":
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
      return load_file(file)
    except (SafetensorError, OSError, ValueError, MemoryError) as e:
      raise UserError(
        f"weights: {file} is truncated or no safetensors file ({_line(e)}); fetch it again"
      ) from None
  if archive.is_archive(file):
    return {name: _to_torch(array) for name, array in archive.read_archive(file).items()}
  return _unpickled(file)


def _unpickled(file: Path) -> dict[str, Any]:
  import pickle
  import zipfile

  import torch

  try:
    # Only a zip can be mapped; the format before it is read whole.
    body = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
  except pickle.UnpicklingError as e:
    found = re.search(r"[\w.]+\.[\w.]+(?= was not an allowed global)|(?<=GLOBAL )[\w.]+", str(e))
    raise UserError(
      f"weights: {file} holds more than tensors{f' ({found[0]})' if found else ''}; nothing of it was run; take a file of tensors alone, best the .safetensors of the same checkpoint"
    ) from None
  except Exception as e:  # PyTorch raises whatever a broken file leads it to
    raise UserError(
      f"weights: {file} is truncated or no file of PyTorch's ({_line(e)}); fetch it again"
    ) from e
  body = body.get("state_dict", body) if isinstance(body, dict) else {}
  tensors = {k: v for k, v in body.items() if isinstance(k, str) and isinstance(v, torch.Tensor)}
  if not tensors:
    raise UserError(f"weights: {file} holds no tensors")
  for name, tensor in tensors.items():
    if why := _odd(tensor):
      raise UserError(
        f"weights: {name[:100]!r} of {file} {why}; take a file of plain tensors, or fetch it again"
      )
  return tensors


def _odd(tensor: Any) -> str:
  """Why a tensor's numbers do not lie in the file, one by one; "" where they do."""
  import torch

  if tensor.layout != torch.strided:
    return "is sparse"
  if tensor.is_quantized:
    return "is quantised"
  if tensor.device.type != "cpu":
    return f"is on the device {tensor.device.type!r}, and has no values"
  return archive.excess(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())


def _to_torch(array: Any) -> Any:
  import numpy as np
  import torch

  if array.dtype.name == "bfloat16":  # no dtype of numpy's own
    return torch.from_numpy(array.view(np.uint16)).view(torch.bfloat16)
  return torch.from_numpy(array)


# --- kinds -----------------------------------------------------------------------------------------


def _convert_folder(source: Path, out: Path, dtype: str) -> None:
  """The same folder, one deep, with safetensors in the place of each network's pickles."""
  converted = 0
  for folder in (source, *sorted(p for p in source.iterdir() if p.is_dir())):
    target = out / folder.relative_to(source)
    for file in sorted(p for p in folder.iterdir() if p.is_file()):
      match = _NETWORK.fullmatch(file.name)
      if match and (folder / _safe_name(file.name)).exists():
        continue  # the source has it in both forms
      if match or file.suffix in (*_TEXT, ".safetensors"):
        _check_is_own(file, source)
      if match and match[3]:
        index = read.read_json(file)
        where = {k: _safe_name(v) for k, v in _weight_map(file, index).items()}
        _write_json(target / _safe_name(file.name), index | {"weight_map": where})
      elif match:
        _save(target / _safe_name(file.name), _unpickled(file), dtype)
        converted += 1
      elif file.suffix in (*_TEXT, ".safetensors"):
        target.mkdir(exist_ok=True)
        shutil.copyfile(file, target / file.name)
  if not converted:
    raise UserError(
      f"{source} has no network as .bin, in it or one folder below; there is nothing to convert"
    )


def _weight_map(file: Path, index: dict[str, Any]) -> dict[str, str]:
  """Every file that it names is there."""
  found = index.get("weight_map")
  if not isinstance(found, dict) or not all(isinstance(name, str) for name in found.values()):
    raise UserError(f"weights: {file} has no weight_map of tensors to files; fetch it again")
  for name in dict.fromkeys(found.values()):
    if Path(name).name != name or not (file.parent / name).is_file():
      raise UserError(
        f"weights: {file} names {name[:100]!r}, which is not in its folder; fetch the folder again"
      )
  return found


def _check_is_own(file: Path, source: Path) -> None:
  """Refuses a link out of the source, whose target would be read, or copied to where the result goes."""
  real = file.resolve()
  if not any(real.is_relative_to(place) for place in _places(source)):
    raise UserError(
      f"weights: {file} is a link out of {source}, to {real}; put a copy in its place, or remove it"
    )
  if file.suffix in _TEXT and (size := real.stat().st_size) > _TEXT_BYTES:
    raise UserError(f"weights: {file} has {size / 1e6:.0f} MB; no config or tokenizer is so large; remove it")


def _places(source: Path) -> list[Path]:
  """Where a source's files may lie: in it; a snapshot of the hub's cache links to the blobs of its repository."""
  root = source.resolve()
  stores = [p.parent for p in root.parents if p.name == "snapshots" and p.parent.name.startswith("models--")]
  return [root, *(store / "blobs" for store in stores[:1])]


def _safe_name(name: str) -> str:
  match = _NETWORK.fullmatch(name)
  if not match:
    raise UserError(
      f"weights: an index names {name!r}, which is no file of a network; fetch the folder again"
    )
  return f"{_SAFE_STEMS.get(match[1], match[1])}{match[2]}.safetensors{match[3] or ''}"


def _convert_clip(
  tensors: Mapping[str, Any], out: Path, tokenizer: dict[str, Path], dtype: str, _: str
) -> None:
  own = openai_clip.parameters(tensors)
  _write_json(out / openai_clip.CONFIG, openai_clip.config(own))
  _copy(tokenizer, out)
  _save(out / f"{openai_clip.STEM}.safetensors", own, dtype)


def _convert_single(
  tensors: Mapping[str, Any], out: Path, tokenizer: dict[str, Path], dtype: str, prediction: str
) -> None:
  configs, parts = single_file.split(tensors, prediction)
  for name, body in configs.items():
    _write_json(out / name, body)
    if name.startswith("tokenizer"):
      _copy(tokenizer, (out / name).parent)
  for part, own in parts.items():
    stem = "model" if part.startswith("text_encoder") else "diffusion_pytorch_model"
    _save(out / part / f"{stem}.safetensors", own, dtype)


def _with_backbone(source: Path, tensors: Mapping[str, Any], backbone: Path | None) -> Mapping[str, Any]:
  """LPIPS' weights of channels with the network that they go with; a file may hold both."""
  if metric_files.has_backbone(tensors):
    return tensors
  if backbone is None:
    raise UserError(
      f"{source} has LPIPS' weights of channels alone; --backbone FILE takes torchvision's network that they go with, as alexnet-owt-7be5be79.pth"
    )
  if not backbone.is_file():
    raise UserError(f"--backbone {backbone} is no file; check its path")
  regular_files.check(backbone)
  return metric_files.joined(tensors, _tensors(backbone))


def _tokenizer(folder: Path | None) -> dict[str, Path]:
  """CLIP's, which neither a single file nor an archive holds; all of these networks share it."""
  if folder is None:
    raise UserError(
      "the source holds no tokenizer; --tokenizer FOLDER takes one with CLIP's vocab.json and merges.txt, such as the tokenizer/ of any Stable Diffusion folder"
    )
  found = {name: folder / name for name in _TOKENIZER}
  for file in found.values():
    if not file.is_file():
      raise UserError(
        f"--tokenizer {folder}: {file.name} is missing; it takes a folder with vocab.json and merges.txt"
      )
    _check_is_own(file, folder)
  return found


# --- writing ---------------------------------------------------------------------------------------


def _save(file: Path, tensors: Mapping[str, Any], dtype: str) -> None:
  import torch
  from safetensors.torch import save_file

  wanted = getattr(torch, dtype) if dtype else None
  cast: Callable[[Any], Any] = lambda t: t.to(wanted) if wanted and t.is_floating_point() else t  # noqa: E731
  seen: set[int] = set()
  own = {}
  for name, tensor in tensors.items():
    made = cast(tensor).contiguous()
    if made.is_floating_point() and not torch.isfinite(made).all():
      raise UserError(
        f"weights: {name} of {file.parent.name}/{file.name} holds NaN or inf{f' as {dtype}' if dtype else ''}; fetch the source again{', or take another --dtype' if dtype else ''}"
      )
    storage = made.untyped_storage().data_ptr()
    own[name] = made.clone() if storage in seen else made  # safetensors takes no tensors that share memory
    seen.add(storage)
  file.parent.mkdir(parents=True, exist_ok=True)
  save_file(own, file, metadata={"format": "pt"})


def _copy(files: Mapping[str, Path], folder: Path) -> None:
  folder.mkdir(parents=True, exist_ok=True)
  for name, file in files.items():
    shutil.copyfile(file, folder / name)


def _write_json(file: Path, body: Any) -> None:
  file.parent.mkdir(parents=True, exist_ok=True)
  file.write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")


def _line(error: Exception) -> str:
  return " ".join(str(error).split())[:120]


def main(argv: list[str]) -> int:
  parser = argparse.ArgumentParser(prog=read.CONVERTER)
  parser.add_argument(
    "source",
    type=Path,
    help="a folder, a single-file checkpoint, OpenAI's CLIP archive, or a file of Inception or LPIPS",
  )
  parser.add_argument("--out", required=True, type=Path, help="the folder to write")
  parser.add_argument("--tokenizer", type=Path, help="a folder with CLIP's vocab.json and merges.txt")
  parser.add_argument("--backbone", type=Path, help="for LPIPS' channels: torchvision's AlexNet or VGG-16")
  parser.add_argument("--dtype", choices=_DTYPES, default="", help="of the result; as stored if not given")
  parser.add_argument("--prediction", choices=("epsilon", "v_prediction"), default="", help="for SD 2.x")
  args = parser.parse_args(argv)
  try:
    if importlib.util.find_spec("torch") is None:
      raise UserError("the converter needs PyTorch: pip install 'synthjax[parity]'")
    convert(args.source, args.out, args.tokenizer, args.dtype, args.prediction, args.backbone)
  except UserError as e:
    print(f"synthjax: {e}", file=sys.stderr)
    return 2
  except OSError as e:
    print(f"synthjax: {e.filename or args.out}: {e.strerror or e}", file=sys.stderr)
    return 2
  return 0


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
