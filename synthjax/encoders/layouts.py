"""What the config files of a CLIP say, in the two layouts that are published.

transformers    config.json, preprocessor_config.json, model.safetensors
OpenCLIP        open_clip_config.json, open_clip_model.safetensors (or open_clip_pytorch_model); residual towers too

Both have vocab.json and merges.txt. What a config asks for and is not computed here is refused: ignored, it would give
features that look right and are not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from synthjax.encoders import preprocess
from synthjax.encoders.preprocess import Preprocess
from synthjax.encoders.towers import Architecture
from synthjax.models.clip_resnet import SHRINK, ResNetConfig
from synthjax.models.flax_classes import CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from synthjax.runtime.errors import UserError, nearest
from synthjax.weights import names, openclip, read

TRANSFORMERS, OPENCLIP = "config.json", "open_clip_config.json"
_ACTIVATIONS = ("quick_gelu", "gelu")  # in others the Flax class may differ from PyTorch's of the same name
_COUNTS = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
_STEMS = ("open_clip_model", "open_clip_pytorch_model")
TENSORS = ("model", *_STEMS)  # the files of an encoder's weights: the first of these that is there
# Published configs say 2 whatever the tokenizer says; networks then read at the highest token id.
LEGACY_END = 2

# OpenCLIP: what is computed here, and of the rest the values under which it changes nothing.
_KNOWN = {
  "model_cfg": ("embed_dim", "quick_gelu", "vision_cfg", "text_cfg"),
  "vision_cfg": ("image_size", "layers", "width", "patch_size", "head_width", "mlp_ratio"),
  "text_cfg": ("context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio"),
}
_NEUTRAL = {
  "pool_type": ("tok", "argmax"),
  "pos_embed_type": ("learnable",),
  "proj_type": ("linear",),
  "tokenizer_kwargs": ({"clean": "lower"},),  # how every text is cleaned
}
# Of training, of the start, or details of what another field turns on.
_WITHOUT_EFFECT = (
  "patch_dropout",
  "init_logit_scale",
  "pad_id",
  "attn_pooler_queries",
  "attn_pooler_heads",
  "n_queries",
  "timm_model_pretrained",
  "timm_pool",
  "timm_proj",
  "hf_model_pretrained",
  "hf_proj_type",
  "hf_pooler_type",
  "proj",
  "pooler_type",
)
_MOST = {
  "vocab_size": 10**7,
  "image_size": 2**13,
  "context_length": 10**5,
  "max_position_embeddings": 10**5,
  "num_hidden_layers": 200,
  "layers": 200,
}


@dataclasses.dataclass(frozen=True)
class Checkpoint:
  architecture: Architecture
  preprocess: Preprocess
  config: str  # the file's name
  owner: str  # whose layout it is, for errors
  stem: str  # of the safetensors
  layout: read.Layout


def read_folder(folder: Path) -> Checkpoint:
  """By the config file that lies there; a folder in both layouts is read in that whose weights it has."""
  if (folder / OPENCLIP).exists() and not _is_transformers(folder):
    return _read_openclip(folder)
  return _read_transformers(folder)


def _is_transformers(folder: Path) -> bool:
  """timm's folders have a config.json too, of another library."""
  return (
    bool(read.tensor_names(folder, "model"))
    and (folder / TRANSFORMERS).exists()
    and read.read_json(folder / TRANSFORMERS).get("model_type") == "clip"
  )


# --- transformers' -----------------------------------------------------------------------------------


def _read_transformers(folder: Path) -> Checkpoint:
  for name in (TRANSFORMERS, preprocess.FILE):
    if not (folder / name).exists():
      raise UserError(
        f"weights: {folder / name} is missing; the folder must have transformers' layout, or OpenCLIP's with {OPENCLIP}"
      )
  config = _transformers_config(folder / TRANSFORMERS)
  view = Preprocess.read(folder)
  if view.side != (side := config.vision_config.image_size):
    raise UserError(
      f"weights: {folder} reads images of {side} pixels, but its {preprocess.FILE} makes {view.side}; fetch the folder again, or correct the file"
    )
  architecture = Architecture(config.text_config, config.vision_config, config.projection_dim)
  return Checkpoint(architecture, view, TRANSFORMERS, "transformers'", "model", names)


def _transformers_config(file: Path) -> CLIPConfig:
  """With what would otherwise fail deep inside a network, or be ignored by it, refused here."""
  body = read.read_config(file, ("CLIPModel",))
  if (kind := body.get("model_type", "clip")) != "clip":
    raise UserError(f"weights: {file} is of a {kind!r} model; only CLIP can be read yet")
  for part in ("text_config", "vision_config"):
    if not any(isinstance(body.get(key), dict) for key in (part, f"{part}_dict")):
      raise UserError(f"weights: {file} lacks {part!r}; fetch it again")
  try:
    config = CLIPConfig.from_dict(body)
  except Exception as e:
    raise UserError(
      f"weights: {file} is no config of CLIP ({type(e).__name__}: {' '.join(str(e).split())[:120]}); fetch it again"
    ) from e
  text, vision = config.text_config, config.vision_config
  _check_counts(file, "", vars(config), ("projection_dim",))
  for name, part, keys in (
    ("text: ", text, ("vocab_size", "max_position_embeddings")),
    ("vision: ", vision, ("image_size", "patch_size")),
  ):
    _check_counts(file, name, vars(part), (*_COUNTS, *keys))
    if part.hidden_act not in _ACTIVATIONS:
      raise UserError(
        f"weights: {file}, {name}hidden_act {part.hidden_act!r}{nearest(str(part.hidden_act), _ACTIVATIONS)}"
      )
    heads = ("num_attention_heads", part.num_attention_heads)
    _check_multiple(file, name, ("hidden_size", part.hidden_size), heads)
  _check_multiple(file, "vision: ", ("image_size", vision.image_size), ("patch_size", vision.patch_size))
  return config


# --- OpenCLIP's --------------------------------------------------------------------------------------


def _read_openclip(folder: Path) -> Checkpoint:
  file = folder / OPENCLIP
  body = read.read_json(file)
  model = _part(file, body, "model_cfg")
  architecture = openclip_architecture(file, model)
  side = architecture.vision.image_size
  view = preprocess.of_openclip(file, body.get("preprocess_cfg") or {}, side)
  stem = next((s for s in _STEMS if read.tensor_names(folder, s)), _STEMS[0])
  return Checkpoint(architecture, view, OPENCLIP, "OpenCLIP's", stem, openclip)


def openclip_architecture(file: Path, model: Mapping[str, Any]) -> Architecture:
  """Of a `model_cfg`; `file` is where it stands, for errors."""
  vision, text = _part(file, model, "vision_cfg"), _part(file, model, "text_cfg")
  if vision.get("timm_model_name"):
    raise UserError(
      f"weights: {file} has an image tower of timm ({vision['timm_model_name']!r}); transformers and ResNets of OpenCLIP's own can be read"
    )
  for name, part in (("model_cfg", model), ("vision_cfg", vision), ("text_cfg", text)):
    _refuse_unknown(file, name, part)
  act = "quick_gelu" if model.get("quick_gelu") else "gelu"
  _check_counts(file, "", model, ("embed_dim",))
  vision_config = (
    _residual(file, vision) if isinstance(vision.get("layers"), list | tuple) else _patches(file, vision, act)
  )
  return Architecture(_text(file, text, act), vision_config, model["embed_dim"])


def _text(file: Path, text: Mapping[str, Any], act: str) -> CLIPTextConfig:
  text = {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12} | dict(text)
  _check_counts(file, "text_cfg: ", text, ("context_length", "vocab_size", "width", "heads", "layers"))
  _check_multiple(file, "text_cfg: ", ("width", text["width"]), ("heads", text["heads"]))
  return CLIPTextConfig(
    hidden_size=text["width"],
    intermediate_size=_times(file, "text_cfg: ", text),
    num_hidden_layers=text["layers"],
    num_attention_heads=text["heads"],
    max_position_embeddings=text["context_length"],
    vocab_size=text["vocab_size"],
    hidden_act=act,
    eos_token_id=LEGACY_END,  # OpenCLIP reads at the highest token id
  )


def _patches(file: Path, vision: Mapping[str, Any], act: str) -> CLIPVisionConfig:
  vision = {"layers": 12, "width": 768, "head_width": 64, "patch_size": 16, "image_size": 224} | dict(vision)
  vision |= {key: _side(vision[key]) for key in ("patch_size", "image_size")}
  _check_counts(file, "vision_cfg: ", vision, ("layers", "width", "head_width", "patch_size", "image_size"))
  _check_multiple(file, "vision_cfg: ", ("width", vision["width"]), ("head_width", vision["head_width"]))
  _check_multiple(
    file, "vision_cfg: ", ("image_size", vision["image_size"]), ("patch_size", vision["patch_size"])
  )
  return CLIPVisionConfig(
    hidden_size=vision["width"],
    intermediate_size=_times(file, "vision_cfg: ", vision),
    num_hidden_layers=vision["layers"],
    num_attention_heads=vision["width"] // vision["head_width"],
    image_size=vision["image_size"],
    patch_size=vision["patch_size"],
    hidden_act=act,
  )


def _residual(file: Path, vision: Mapping[str, Any]) -> ResNetConfig:
  vision = dict[str, Any](width=64, head_width=64, image_size=224) | dict(vision)
  vision |= {"image_size": _side(vision["image_size"])}
  layers = tuple(vision["layers"])
  if len(layers) != 4 or not all(type(n) is int and 0 < n <= _MOST["layers"] for n in layers):
    raise UserError(
      f"weights: {file}, vision_cfg: layers={vision['layers']!r}; a ResNet has four counts of blocks"
    )
  _check_counts(file, "vision_cfg: ", vision, ("width", "head_width", "image_size"))
  _check_multiple(file, "vision_cfg: ", ("image_size", vision["image_size"]), ("stride", SHRINK))
  _check_multiple(
    file, "vision_cfg: ", ("32 * width", SHRINK * vision["width"]), ("head_width", vision["head_width"])
  )
  return ResNetConfig(layers, vision["width"], vision["image_size"], vision["head_width"])


def _refuse_unknown(file: Path, name: str, part: Mapping[str, Any]) -> None:
  for key, value in part.items():
    is_off = value is None or value in (False, 0, "", [], {}) or value in _NEUTRAL.get(key, ())
    if key not in (*_KNOWN[name], *_WITHOUT_EFFECT) and not is_off:
      raise UserError(
        f"weights: {file}, {name}: {key}={value!r} is not computed here; take a checkpoint without it"
      )


def _part(file: Path, body: Mapping[str, Any], key: str) -> dict[str, Any]:
  if not isinstance(body.get(key), dict):
    raise UserError(f"weights: {file} lacks {key!r}; fetch it again")
  return body[key]


def _side(value: Any) -> Any:
  """Of a square, which may be given as two equal sides."""
  return value[0] if isinstance(value, list | tuple) and len(value) == 2 and value[0] == value[1] else value


def _times(file: Path, where: str, part: Mapping[str, Any]) -> int:
  ratio = part.get("mlp_ratio", 4.0)
  if type(ratio) not in (int, float) or not ratio > 0:
    raise UserError(f"weights: {file}, {where}mlp_ratio={ratio!r} is no number; fetch it again")
  return int(part["width"] * ratio)


# --- both --------------------------------------------------------------------------------------------


def _check_counts(file: Path, where: str, part: Mapping[str, Any], keys: Sequence[str]) -> None:
  for key in keys:
    most = _MOST.get(key, 10**6)  # no layer is made before it is counted
    if type(value := part.get(key)) is not int or not 1 <= value <= most:
      raise UserError(
        f"weights: {file}, {where}{key}={repr(value)[:80]} is no count from 1 to {most}; fetch it again"
      )


def _check_multiple(file: Path, where: str, one: tuple[str, int], of: tuple[str, int]) -> None:
  if one[1] % of[1]:
    raise UserError(f"weights: {file}, {where}{one[0]} {one[1]} is no multiple of {of[0]} {of[1]}")
