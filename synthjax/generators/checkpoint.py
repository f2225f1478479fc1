"""The configs of a generator's folder, in diffusers' layout: read, and refused where the networks would not be theirs.

    text_encoder/  unet/  vae/        config.json and safetensors under PyTorch's names
    text_encoder_2/                   Stable Diffusion XL only
    tokenizer/  tokenizer_2/          vocab.json, merges.txt
    scheduler/                        scheduler_config.json

No name in these files chooses code: the Flax classes are ours to name, and take any unknown block for a plain one in
silence. So whatever they would ignore is looked at here.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

from synthjax.generators import config_values
from synthjax.generators.schedule import Schedule, read_schedule
from synthjax.runtime.errors import UserError
from synthjax.weights import read

STEMS = {
  "text_encoder": "model",
  "text_encoder_2": "model",
  "unet": "diffusion_pytorch_model",
  "vae": "diffusion_pytorch_model",
}
_NEEDED = {
  "text_encoder": ("hidden_size", "max_position_embeddings", "vocab_size"),
  "text_encoder_2": ("hidden_size", "max_position_embeddings", "vocab_size", "projection_dim"),
  "unet": ("in_channels", "sample_size", "block_out_channels", "cross_attention_dim"),
  "vae": ("latent_channels", "block_out_channels"),
}
_CLASSES = {
  "text_encoder": ("CLIPTextModel",),
  "text_encoder_2": ("CLIPTextModelWithProjection",),
  "unet": ("UNet2DConditionModel", "FlaxUNet2DConditionModel"),
  "vae": ("AutoencoderKL", "FlaxAutoencoderKL"),
}
_BLOCKS = {
  "unet": ("CrossAttnDownBlock2D", "DownBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
  "vae": ("DownEncoderBlock2D", "UpDecoderBlock2D"),
}
# What the Flax classes do whatever the file says; anything else is another network. None = any empty value.
_ONLY: dict[str, dict[str, tuple[Any, ...]]] = {
  "unet": {
    "addition_embed_type": (None, "text_time"),
    "class_embed_type": (None,),
    "encoder_hid_dim_type": (None,),
    "num_attention_heads": (None,),
    "time_embedding_type": ("positional",),
    "time_embedding_act_fn": (None,),
    "timestep_post_act": (None,),
    "resnet_time_scale_shift": ("default",),
    "act_fn": ("silu",),
    "norm_num_groups": (32,),
    "norm_eps": (1e-5,),
    "conv_in_kernel": (3,),
    "conv_out_kernel": (3,),
    "downsample_padding": (1,),
    "mid_block_scale_factor": (1,),
    "mid_block_type": ("UNetMidBlock2DCrossAttn", None),
    "attention_type": ("default",),
    "dual_cross_attention": (False,),
    "cross_attention_norm": (None,),
    "reverse_transformer_layers_per_block": (None,),
    "center_input_sample": (False,),
  },
  "vae": {
    "act_fn": ("silu",),
    "use_quant_conv": (True,),
    "use_post_quant_conv": (True,),
    "mid_block_add_attention": (True,),
    "shift_factor": (None,),
    "latents_mean": (None,),
    "latents_std": (None,),
  },
}


@dataclasses.dataclass(frozen=True)
class Checkpoint:
  folder: Path
  texts: dict[str, dict[str, Any]]  # part -> config: one text encoder, or two
  unet: dict[str, Any]
  vae: dict[str, Any]
  schedule: Schedule
  zeros_for_no_prompt: (
    bool  # the conditioning of an empty negative prompt is 0, and not what the encoders say of ""
  )

  @property
  def is_xl(self) -> bool:
    return len(self.texts) == 2

  @property
  def parts(self) -> tuple[str, ...]:
    """Folders that decide what is drawn."""
    tokenizers = tuple(part.replace("text_encoder", "tokenizer") for part in self.texts)
    return (*self.texts, "unet", "vae", *tokenizers, "scheduler")

  @property
  def digest(self) -> str:
    own = read.folder_digest(self.folder, self.parts)
    return f"{own}-zeros" if self.zeros_for_no_prompt else own


def read_checkpoint(folder: Path) -> Checkpoint:
  if not folder.is_dir():
    raise UserError(
      f"generator {folder} is no folder; config.sampling.generator takes a folder in diffusers' layout"
    )
  unet = _config(folder, "unet")
  is_xl = unet.get("addition_embed_type") == "text_time"
  texts = {part: _config(folder, part) for part in ("text_encoder", *(("text_encoder_2",) if is_xl else ()))}
  vae = _config(folder, "vae")
  _check_scale(folder, vae)
  _check_widths(folder, texts, unet, vae)
  index, scheduler = folder / "model_index.json", folder / "scheduler" / "scheduler_config.json"
  return Checkpoint(
    folder,
    texts,
    unet,
    vae,
    read_schedule(read.read_json(scheduler), scheduler),
    # diffusers' pipeline for XL does so where the file says nothing; the older ones know nothing of it.
    is_xl and (not index.exists() or bool(read.read_json(index).get("force_zeros_for_empty_prompt", True))),
  )


def _config(folder: Path, part: str) -> dict[str, Any]:
  file = folder / part / "config.json"
  if part == "text_encoder" and not file.exists() and (folder / "text_encoder_2").is_dir():
    raise UserError(
      f"weights: {folder} has a second text encoder alone: a refiner cannot generate from text; take the base"
    )
  config = read.read_config(file, _CLASSES[part])
  for key in _NEEDED[part]:
    if key not in config:
      raise UserError(f"weights: {file} lacks {key!r}; fetch it again")
  config_values.check(file, part, config)
  for block in (*config.get("down_block_types", ()), *config.get("up_block_types", ())):
    if block not in _BLOCKS[part]:
      raise UserError(f"weights: {file} has block {block!r}; known are {', '.join(_BLOCKS[part])}")
  for key, known in _ONLY.get(part, {}).items():
    if key in config and config[key] not in known and not (None in known and not config[key]):
      raise UserError(
        f"weights: {file} has {key}={config[key]!r}; only {' or '.join(map(repr, known))} can be read"
      )
  return config


def _check_scale(folder: Path, vae: dict[str, Any]) -> None:
  scale = vae.get("scaling_factor", 1.0)
  if not isinstance(scale, int | float) or not 0 < abs(scale) < math.inf:
    raise UserError(
      f"weights: {folder / 'vae' / 'config.json'} has scaling_factor={scale!r}; fetch the folder again"
    )


def _check_widths(
  folder: Path, texts: dict[str, dict[str, Any]], unet: dict[str, Any], vae: dict[str, Any]
) -> None:
  """What would otherwise fail deep inside a network."""
  if unet["in_channels"] != vae["latent_channels"]:
    raise UserError(
      f"weights: the UNet of {folder} takes {unet['in_channels']} channels, the VAE gives {vae['latent_channels']}: "
      "an inpainting model cannot generate from text alone"
    )
  width = sum(text["hidden_size"] for text in texts.values())
  if unet["cross_attention_dim"] != width:
    raise UserError(
      f"weights: the UNet of {folder} reads prompts of width {unet['cross_attention_dim']}, its text encoder gives {width}"
    )
  if len(texts) == 2:
    pooled = texts["text_encoder_2"]["projection_dim"]
    sizes = unet.get("projection_class_embeddings_input_dim", 0) - pooled
    if sizes != 6 * unet.get("addition_time_embed_dim", 0):
      raise UserError(
        f"weights: the UNet of {folder} does not read a pooled prompt of width {pooled} and six sizes: it is not an XL base"
      )
