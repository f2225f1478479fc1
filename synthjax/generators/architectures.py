"""The shapes of generators, part by part as their folders' config.json: those published, and small ones of each kind."""

from __future__ import annotations

from typing import Any

from synthjax.small_world import world

TOKENS = 2 * 256 + 2  # every byte, alone and at a word's end, and the two marks: a vocabulary without merges


def _text(width: int, layers: int, heads: int, **more: Any) -> dict[str, Any]:
  ends = dict(bos_token_id=TOKENS - 2, eos_token_id=TOKENS - 1, pad_token_id=TOKENS - 1)
  full = dict(
    vocab_size=49408, max_position_embeddings=77, hidden_act="quick_gelu", intermediate_size=4 * width
  )
  return full | ends | dict(hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads) | more


def _small_text(**more: Any) -> dict[str, Any]:
  # 160 positions: of bytes, not of words.
  return _text(64, 2, 2, vocab_size=TOKENS, max_position_embeddings=160, intermediate_size=128) | more


def _unet(widths: list[int], size: int, crossed: list[bool], **more: Any) -> dict[str, Any]:
  down = ["CrossAttnDownBlock2D" if c else "DownBlock2D" for c in crossed]
  up = ["CrossAttnUpBlock2D" if c else "UpBlock2D" for c in reversed(crossed)]
  shape = dict(sample_size=size, in_channels=4, out_channels=4, block_out_channels=widths, layers_per_block=2)
  return shape | dict(down_block_types=down, up_block_types=up) | more


def _vae(widths: list[int], size: int, **more: Any) -> dict[str, Any]:
  blocks = dict(
    down_block_types=["DownEncoderBlock2D"] * len(widths), up_block_types=["UpDecoderBlock2D"] * len(widths)
  )
  shape = dict(in_channels=3, out_channels=3, latent_channels=4, block_out_channels=widths, sample_size=size)
  return shape | blocks | dict(layers_per_block=2, norm_num_groups=32, scaling_factor=0.18215) | more


_EPSILON = world.SCHEDULER | {"prediction_type": "epsilon"}
_SMALL_VAE = _vae([16, 32, 32], 32, layers_per_block=1, norm_num_groups=16)
_VAE = _vae([128, 256, 512, 512], 512)
_FROM_SECOND = [False, True, True]
_XL = dict(
  use_linear_projection=True,
  addition_embed_type="text_time",
  # Six sizes of so many numbers each, and the pooled prompt.
  addition_time_embed_dim=256,
)

ARCHITECTURES: dict[str, dict[str, dict[str, Any]]] = {
  # 32 px, 1.3 M parameters: for tests and the first try.
  "tiny": {
    "text_encoder": _small_text(),
    "unet": _unet(
      [32, 64], 8, [True, False], layers_per_block=1, attention_head_dim=2, cross_attention_dim=64
    ),
    "vae": _SMALL_VAE,
    "scheduler": _EPSILON,
  },
  # The peculiarities of 2.x: linear projections, heads by width, GELU, v-prediction.
  "tiny2": {
    "text_encoder": _small_text(hidden_act="gelu"),
    "unet": _unet(
      [32, 64],
      8,
      [True, False],
      attention_head_dim=[2, 4],
      cross_attention_dim=64,
      use_linear_projection=True,
      upcast_attention=True,
    ),
    "vae": _SMALL_VAE,
    "scheduler": world.SCHEDULER,
  },
  # Of XL: two text encoders, sizes, transformers of several layers.
  "tinyxl": {
    "text_encoder": _small_text(),
    "text_encoder_2": _small_text(hidden_act="gelu", projection_dim=48),
    "unet": _unet(
      [32, 64, 64],
      8,
      _FROM_SECOND,
      **(_XL | dict(addition_time_embed_dim=16)),
      attention_head_dim=[1, 2, 4],
      transformer_layers_per_block=[1, 2, 3],
      cross_attention_dim=128,
      projection_class_embeddings_input_dim=6 * 16 + 48,
    ),
    "vae": _SMALL_VAE | dict(scaling_factor=0.13025, force_upcast=True),
    "scheduler": _EPSILON | {"timestep_spacing": "leading"},
  },
  # Of a latent consistency model: the UNet takes the guidance.
  "tinylcm": {
    "text_encoder": _small_text(),
    "unet": _unet(
      [32, 64], 8, [True, False], attention_head_dim=2, cross_attention_dim=64, time_cond_proj_dim=32
    ),
    "vae": _SMALL_VAE,
    "scheduler": _EPSILON,
  },
  "sd15": {
    "text_encoder": _text(768, 12, 12),
    "unet": _unet(
      [320, 640, 1280, 1280], 64, [True, True, True, False], attention_head_dim=8, cross_attention_dim=768
    ),
    "vae": _VAE,
    "scheduler": _EPSILON,
  },
  "sd21": {
    "text_encoder": _text(1024, 23, 16, hidden_act="gelu"),
    "unet": _unet(
      [320, 640, 1280, 1280],
      96,
      [True, True, True, False],
      attention_head_dim=[5, 10, 20, 20],
      cross_attention_dim=1024,
      use_linear_projection=True,
      upcast_attention=True,
    ),
    "vae": _VAE | dict(sample_size=768),
    "scheduler": world.SCHEDULER,
  },
  "sdxl": {
    "text_encoder": _text(768, 12, 12, projection_dim=768),
    "text_encoder_2": _text(1280, 32, 20, hidden_act="gelu", projection_dim=1280),
    "unet": _unet(
      [320, 640, 1280],
      128,
      _FROM_SECOND,
      **_XL,
      attention_head_dim=[5, 10, 20],
      transformer_layers_per_block=[1, 2, 10],
      cross_attention_dim=2048,
      projection_class_embeddings_input_dim=6 * 256 + 1280,
    ),
    "vae": _VAE | dict(sample_size=1024, scaling_factor=0.13025, force_upcast=True),
    "scheduler": _EPSILON | {"timestep_spacing": "leading"},
  },
}
