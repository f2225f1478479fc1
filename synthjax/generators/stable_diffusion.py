"""Latent diffusion in Stable Diffusion's shape: 1.x, 2.x, and XL with its two text encoders and size conditioning.

The methods that take `params` are pure: `sampling/program.py` puts them into one jitted program. A conditioning is a
dict: tokens [B, L, D], and for XL pooled [B, P] and sizes [B, 6].
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from synthjax.generators.checkpoint import STEMS, read_checkpoint
from synthjax.models.flax_classes import (
  CLIPTextConfig,
  CLIPTokenizerFast,
  FlaxAutoencoderKL,
  FlaxCLIPTextModelWithProjectionModule,
  FlaxCLIPTextModule,
  FlaxUNet2DConditionModel,
  apply_corrected,
  of_config,
)
from synthjax.models.flops import flops_of
from synthjax.runtime import devices
from synthjax.runtime.errors import UserError
from synthjax.weights import read, tokenizer

Array = jax.Array
Conditioning = dict[str, Array]


class StableDiffusion:
  """Networks, tokenizers and schedule of one checkpoint; parameters are loaded by `load_params`, on request."""

  def __init__(self, folder: Path, dtype: str = "float32"):
    self.checkpoint, self.dtype = read_checkpoint(folder), jnp.dtype(dtype)
    unet, vae = self.checkpoint.unet, self.checkpoint.vae
    # XL's published decoder overflows in float16: its file says so.
    is_wide = self.dtype == jnp.float16 and vae.get("force_upcast", False)
    self.decoder_dtype = jnp.dtype(jnp.float32) if is_wide else self.dtype
    with read.building(folder):
      self._unet = of_config(FlaxUNet2DConditionModel, unet, dtype=self.dtype)
      self._vae = of_config(FlaxAutoencoderKL, vae, dtype=self.decoder_dtype)
      self._texts = {part: self._text(part, text) for part, text in self.checkpoint.texts.items()}
    self.max_tokens: int = min(t["max_position_embeddings"] for t in self.checkpoint.texts.values())
    self.schedule = self.checkpoint.schedule
    self._scale: float = vae.get("scaling_factor", 0.18215)
    self._channels: int = unet["in_channels"]
    self._shrink: int = 2 ** (len(vae["block_out_channels"]) - 1)
    self._multiple: int = self._shrink * 2 ** (len(unet["block_out_channels"]) - 1)
    self.native_size: int = unet["sample_size"] * self._shrink
    # A distilled model's UNet takes the guidance, and needs no second forward without the prompt.
    self.guidance_width: int = unet.get("time_cond_proj_dim") or 0
    self._flops: dict[int, tuple[float, float]] = {}  # size -> of a forward, of a decoding

  def _text(self, part: str, config: dict[str, Any]) -> Any:
    module = FlaxCLIPTextModule if part == "text_encoder" else FlaxCLIPTextModelWithProjectionModule
    return module(CLIPTextConfig(**config), dtype=self.dtype)

  @property
  def folder(self) -> Path:
    return self.checkpoint.folder

  @functools.cached_property
  def digest(self) -> str:
    return self.checkpoint.digest

  @functools.cached_property
  def _tokenizers(self) -> list[CLIPTokenizerFast]:
    names = [part.replace("text_encoder", "tokenizer") for part in self._texts]
    return [tokenizer.read(self.folder / name, "diffusers") for name in names]

  # --- parameters --------------------------------------------------------------------------------

  def param_shapes(self) -> dict[str, Any]:
    return self._param_shapes

  @functools.cached_property
  def _param_shapes(self) -> dict[str, Any]:
    with read.building(self.folder):
      return self._shapes()

  def _shapes(self) -> dict[str, Any]:
    key, ids = jax.random.key(0), jnp.zeros((1, self.max_tokens), jnp.int32)
    shapes = {
      part: jax.eval_shape(lambda k, m=module: m.init(k, ids, ids, ids), key)["params"]
      for part, module in self._texts.items()
    }
    shapes["unet"] = dict(jax.eval_shape(self._unet.init_weights, key))
    if self.guidance_width:
      kernel = jax.ShapeDtypeStruct(
        (self.guidance_width, self.checkpoint.unet["block_out_channels"][0]), jnp.float32
      )
      shapes["unet"]["time_embedding"] = shapes["unet"]["time_embedding"] | {"cond_proj": {"kernel": kernel}}
    return shapes | {"vae": jax.eval_shape(self._vae.init_weights, key)}

  def param_dtype(self, part: str) -> jnp.dtype:
    return self.decoder_dtype if part == "vae" else self.dtype

  def load_params(self, mesh: jax.sharding.Mesh) -> dict[str, Any]:
    """Every parameter on every device of the mesh, in the dtype asked for."""
    everywhere = devices.place(mesh, devices.REPLICATED)

    def placed(part: str, tensor: np.ndarray) -> Array:
      return jax.device_put(np.asarray(tensor, self.param_dtype(part)), everywhere)

    return {
      part: read.read_params(self.folder / part, STEMS[part], shapes, functools.partial(placed, part))
      for part, shapes in self.param_shapes().items()
    }

  # --- pure functions ----------------------------------------------------------------------------

  def tokenize(self, texts: Sequence[str]) -> tokenizer.Tokens:
    """ids [n, encoders, max_tokens]."""
    each = [tokenizer.tokenize(t, texts, self.max_tokens) for t in self._tokenizers]
    lengths = np.max([tokens.lengths for tokens in each], axis=0)
    return tokenizer.Tokens(np.stack([tokens.ids for tokens in each], axis=1), lengths)

  def encode(self, params: Any, ids_BxExL: Array, size: int) -> Conditioning:
    """Of tokenised prompts, for pictures of `size` pixels, uncropped."""
    if not self.checkpoint.is_xl:
      return {"tokens": self._encoded(params, "text_encoder", ids_BxExL[:, 0])[0]}
    first = self._encoded(params, "text_encoder", ids_BxExL[:, 0], output_hidden_states=True)
    second = self._encoded(params, "text_encoder_2", ids_BxExL[:, 1], output_hidden_states=True)
    # XL was trained on the last layer but one, before the final norm.
    tokens = jnp.concatenate([first.hidden_states[-2], second.hidden_states[-2]], axis=-1)
    # As drawn: original height and width, crop from the top and the left, height and width wanted.
    sizes = jnp.array([size, size, 0, 0, size, size], jnp.float32)
    return {
      "tokens": tokens,
      "pooled": second.text_embeds,
      "sizes": jnp.broadcast_to(sizes, (len(tokens), 6)),
    }

  def _encoded(self, params: Any, part: str, ids_BxL: Array, output_hidden_states: bool = False) -> Any:
    positions = jnp.broadcast_to(jnp.arange(ids_BxL.shape[1]), ids_BxL.shape)
    return apply_corrected(
      self._texts[part], params[part], ids_BxL, None, positions, output_hidden_states=output_hidden_states
    )

  def without_prompt(self, params: Any, ids_1xExL: Array, size: int, is_empty: bool) -> Conditioning:
    """Of the negative prompt; `is_empty`: it has no words."""
    found = self.encode(params, ids_1xExL, size)
    if is_empty and self.checkpoint.zeros_for_no_prompt:
      return found | {name: jnp.zeros_like(found[name]) for name in ("tokens", "pooled")}
    return found

  def predict(
    self,
    params: Any,
    x_BxCxHxW: Array,
    t: Array,
    conditioning: Conditioning,
    guidance_B: Array | None = None,
  ) -> Array:
    """The UNet's output, in float32, whatever it computes in. A distilled UNet takes the guidance."""
    added = None
    if self.checkpoint.is_xl:
      added = {"text_embeds": conditioning["pooled"], "time_ids": conditioning["sizes"]}
    onto_time = None
    if self.guidance_width:
      assert guidance_B is not None
      kernel = params["unet"]["time_embedding"]["cond_proj"]["kernel"]
      onto_time = _sinusoids((guidance_B - 1) * 1000, self.guidance_width) @ kernel.astype(jnp.float32)
    x, tokens = x_BxCxHxW.astype(self.dtype), conditioning["tokens"]
    out = apply_corrected(self._unet, params["unet"], x, t, tokens, added, onto_time=onto_time)
    return out.sample.astype(jnp.float32)

  def decode(self, params: Any, latent_BxCxHxW: Array) -> Array:
    """Pixels [B, H, W, 3] in 0..1, float32."""
    scaled = (latent_BxCxHxW / self._scale).astype(self.decoder_dtype)
    out = apply_corrected(self._vae, params["vae"], scaled, method=self._vae.decode).sample
    return jnp.clip(out.astype(jnp.float32).transpose(0, 2, 3, 1) / 2 + 0.5, 0, 1)

  def encode_pixels(self, params: Any, pixels_BxHxWx3: Array) -> Array:
    """The latent, float32, of pixels in 0..1: the mean, not a draw, so that it repeats."""
    x = (2 * pixels_BxHxWx3 - 1).transpose(0, 3, 1, 2).astype(self.decoder_dtype)
    found = apply_corrected(self._vae, params["vae"], x, method=self._vae.encode).latent_dist.mean
    return found.astype(jnp.float32).transpose(0, 3, 1, 2) * self._scale

  def latent_shape(self, size: int) -> tuple[int, int, int]:
    if size % self._multiple:
      raise UserError(
        f"config.sampling.size {size}: this generator makes images of multiples of {self._multiple} pixels; set such a size, or 0 for its own"
      )
    return (self._channels, size // self._shrink, size // self._shrink)

  # --- cost --------------------------------------------------------------------------------------

  def flops(self, size: int, forwards: int) -> float:
    """Of one image: the compiler's count of so many UNet forwards and one decoding; nothing is run."""
    if size not in self._flops:
      self._flops[size] = self._counted(size)
    forward, decoding = self._flops[size]
    return forward * forwards + decoding

  def _counted(self, size: int) -> tuple[float, float]:
    shapes, latent = self.param_shapes(), jax.ShapeDtypeStruct((1, *self.latent_shape(size)), jnp.float32)
    ids = jax.ShapeDtypeStruct((1, len(self._texts), self.max_tokens), jnp.int32)
    conditioning = jax.eval_shape(functools.partial(self.encode, size=size), shapes, ids)
    t, guidance = jax.ShapeDtypeStruct((), jnp.float32), jax.ShapeDtypeStruct((1,), jnp.float32)
    forward = flops_of(self.predict, shapes, latent, t, conditioning, guidance)
    return forward, flops_of(self.decode, shapes, latent)


def _sinusoids(values_B: Array, width: int) -> Array:
  """[B, width] float32; sines first, then cosines."""
  half = width // 2
  frequencies = jnp.exp(jnp.arange(half) * (-jnp.log(10000.0) / (half - 1)))
  angles = values_B[:, None] * frequencies
  return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=1)
