"""Latent diffusion in Stable Diffusion's shape, from a folder in diffusers' layout.

    text_encoder/  unet/  vae/        config.json and safetensors under PyTorch's names
    tokenizer/                        vocab.json, merges.txt
    scheduler/                        scheduler_config.json

The methods that take `params` are pure: `sampling/drawer.py` puts them into one jitted program.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from synthjax import devices
from synthjax.errors import UserError
from synthjax.generators import samplers
from synthjax.models.flax_classes import (
  CLIPTextConfig,
  CLIPTokenizerFast,
  FlaxAutoencoderKL,
  FlaxCLIPTextModule,
  FlaxUNet2DConditionModel,
  apply_corrected,
)
from synthjax.weights import read

Array = jax.Array
PARTS = ("text_encoder", "unet", "vae", "tokenizer", "scheduler")
STEMS = {"text_encoder": "model", "unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model"}
_SINGLE_TOKENS = 2 * 256 + 2  # of a byte-level vocabulary; all others come by merges
# The Flax classes take any unknown block for a plain one, in silence.
_BLOCKS = {
  "unet": ("CrossAttnDownBlock2D", "DownBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
  "vae": ("DownEncoderBlock2D", "UpDecoderBlock2D"),
}


@dataclasses.dataclass(frozen=True)
class Prompts:
  """Tokenised prompts; `lengths` counts the tokens before anything was cut."""

  ids: np.ndarray  # [n, max_tokens]
  lengths: np.ndarray  # [n]


class StableDiffusion:
  """Networks, tokenizer and schedule of one checkpoint; parameters are loaded by `load_params`, on request."""

  def __init__(self, folder: Path, dtype: str = "float32"):
    if not folder.is_dir():
      raise UserError(
        f"generator {folder} is no folder; config.sampling.generator takes a folder in diffusers' layout"
      )
    self.folder, self.dtype = folder, jnp.dtype(dtype)
    text, unet, vae = (
      read.read_json(folder / part / "config.json") for part in ("text_encoder", "unet", "vae")
    )
    _check(folder, text, unet, vae)
    for part, config in (("unet", unet), ("vae", vae)):
      for block in (*config.get("down_block_types", ()), *config.get("up_block_types", ())):
        if block not in _BLOCKS[part]:
          raise UserError(
            f"weights: {folder / part / 'config.json'} has block {block!r}; known are {', '.join(_BLOCKS[part])}"
          )
    self._unet = FlaxUNet2DConditionModel.from_config(unet, dtype=self.dtype)
    self._vae = FlaxAutoencoderKL.from_config(vae, dtype=self.dtype)
    text_config = CLIPTextConfig(**{k: v for k, v in text.items() if not k.startswith("_")})
    self._text = FlaxCLIPTextModule(text_config, dtype=self.dtype)
    self.max_tokens: int = text_config.max_position_embeddings
    self.schedule = samplers.read_schedule(read.read_json(folder / "scheduler" / "scheduler_config.json"))
    self._scale: float = vae.get("scaling_factor", 0.18215)
    self._channels: int = unet["in_channels"]
    self._shrink: int = 2 ** (len(vae["block_out_channels"]) - 1)
    self._multiple: int = self._shrink * 2 ** (len(unet["block_out_channels"]) - 1)
    self.native_size: int = unet["sample_size"] * self._shrink

  @functools.cached_property
  def digest(self) -> str:
    return read.folder_digest(self.folder, PARTS)

  @functools.cached_property
  def _tokenizer(self) -> CLIPTokenizerFast:
    folder = self.folder / "tokenizer"
    for name in ("vocab.json", "merges.txt"):
      if not (folder / name).exists():
        raise UserError(f"weights: {folder / name} is missing; the folder must have diffusers' layout")
    merges = (
      len((folder / "merges.txt").read_text(encoding="utf-8").split("\n")) - 2
    )  # a head line, a last newline
    if merges < len(read.read_json(folder / "vocab.json")) - _SINGLE_TOKENS:
      raise UserError(
        f"weights: {folder / 'merges.txt'} is not readable: it ends early, at {merges} merges; fetch it again"
      )
    try:
      return CLIPTokenizerFast.from_pretrained(str(folder), local_files_only=True)
    except Exception as e:
      raise UserError(
        f"weights: {folder} is not readable ({type(e).__name__}: {' '.join(str(e).split())[:120]}); fetch it again"
      ) from e

  # --- parameters --------------------------------------------------------------------------------

  def param_shapes(self) -> dict[str, Any]:
    key = jax.random.key(0)
    ids = jnp.zeros((1, self.max_tokens), jnp.int32)
    return {
      "text_encoder": jax.eval_shape(lambda k: self._text.init(k, ids, ids, ids), key)["params"],
      "unet": jax.eval_shape(self._unet.init_weights, key),
      "vae": jax.eval_shape(self._vae.init_weights, key),
    }

  def load_params(self, mesh: jax.sharding.Mesh) -> dict[str, Any]:
    """Every parameter on every device of the mesh, in the dtype asked for."""
    place = functools.partial(jax.device_put, device=devices.place(mesh, devices.REPLICATED))
    shapes = self.param_shapes()
    return {
      part: read.read_params(
        self.folder / part, stem, shapes[part], lambda a: place(np.asarray(a, self.dtype))
      )
      for part, stem in STEMS.items()
    }

  # --- pure functions ----------------------------------------------------------------------------

  def tokenize(self, texts: Sequence[str]) -> Prompts:
    lengths = np.array([len(ids) for ids in self._tokenizer(list(texts))["input_ids"]])
    cut = self._tokenizer(list(texts), padding="max_length", truncation=True, max_length=self.max_tokens)
    return Prompts(np.array(cut["input_ids"], np.int32), lengths)

  def encode(self, params: Any, ids_BxL: Array) -> Array:
    """Conditioning [B, L, D] of tokenised prompts."""
    positions = jnp.broadcast_to(jnp.arange(ids_BxL.shape[1]), ids_BxL.shape)
    mask = jnp.ones_like(ids_BxL)
    return apply_corrected(self._text, params["text_encoder"], ids_BxL, mask, positions)[0]

  def predict(self, params: Any, x_BxCxHxW: Array, t: Array, conditioning_BxLxD: Array) -> Array:
    """The UNet's output, in float32, whatever it computes in."""
    out = apply_corrected(self._unet, params["unet"], x_BxCxHxW.astype(self.dtype), t, conditioning_BxLxD)
    return out.sample.astype(jnp.float32)

  def decode(self, params: Any, latent_BxCxHxW: Array) -> Array:
    """Pixels [B, H, W, 3] in 0..1, float32."""
    scaled = (latent_BxCxHxW / self._scale).astype(self.dtype)
    out = apply_corrected(self._vae, params["vae"], scaled, method=self._vae.decode).sample
    return jnp.clip(out.astype(jnp.float32).transpose(0, 2, 3, 1) / 2 + 0.5, 0, 1)

  def latent_shape(self, size: int) -> tuple[int, int, int]:
    if size % self._multiple:
      raise UserError(
        f"config.sampling.size {size}: this generator draws multiples of {self._multiple} pixels"
      )
    return (self._channels, size // self._shrink, size // self._shrink)

  # --- cost --------------------------------------------------------------------------------------

  def flops(self, size: int, steps: int, guided: bool) -> float:
    """Of one image: the compiler's count of one UNet forward and one decoding; nothing is run."""
    shapes, latent = self.param_shapes(), jax.ShapeDtypeStruct((1, *self.latent_shape(size)), jnp.float32)
    width = self._unet.cross_attention_dim
    conditioning = jax.ShapeDtypeStruct((1, self.max_tokens, width), self.dtype)
    t = jax.ShapeDtypeStruct((), jnp.int32)
    forward = _flops_of(self.predict, shapes, latent, t, conditioning)
    return forward * steps * (2 if guided else 1) + _flops_of(self.decode, shapes, latent)


def _check(folder: Path, text: dict[str, Any], unet: dict[str, Any], vae: dict[str, Any]) -> None:
  """What would otherwise fail deep inside a network, or be ignored by it."""
  needs = {
    "text_encoder": (text, ("hidden_size", "max_position_embeddings", "vocab_size")),
    "unet": (unet, ("in_channels", "sample_size", "block_out_channels", "cross_attention_dim")),
    "vae": (vae, ("latent_channels", "block_out_channels")),
  }
  for part, (config, keys) in needs.items():
    for key in keys:
      if key not in config:
        raise UserError(f"weights: {folder / part / 'config.json'} lacks {key!r}; fetch it again")
  for key in ("addition_embed_type", "class_embed_type", "encoder_hid_dim_type", "time_cond_proj_dim"):
    if unet.get(key) is not None:
      raise UserError(
        f"weights: {folder} asks for {key}={unet[key]!r} (SDXL and others): only Stable Diffusion 1.x and 2.x can be read yet"
      )
  if unet["in_channels"] != vae["latent_channels"]:
    raise UserError(
      f"weights: the UNet of {folder} takes {unet['in_channels']} channels, the VAE gives {vae['latent_channels']}: an inpainting model cannot draw from text alone"
    )
  if unet["cross_attention_dim"] != text["hidden_size"]:
    raise UserError(
      f"weights: the UNet of {folder} reads prompts of width {unet['cross_attention_dim']}, its text encoder gives {text['hidden_size']}"
    )


def _flops_of(function: Any, *shapes: Any) -> float:
  # A loop's body would be counted once, so the step is lowered alone.
  analysis = jax.jit(function).lower(*shapes).cost_analysis()
  return float((analysis or {}).get("flops", 0.0))
