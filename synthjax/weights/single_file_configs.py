"""The configs that single-file checkpoints leave out, by kind, as the published folders in diffusers' layout have them."""

from __future__ import annotations

from typing import Any

_SCHEDULER = {
  "_class_name": "DDIMScheduler",
  "beta_start": 0.00085,
  "beta_end": 0.012,
  "beta_schedule": "scaled_linear",
  "num_train_timesteps": 1000,
  "clip_sample": False,
  "set_alpha_to_one": False,
  "steps_offset": 1,
  "timestep_spacing": "leading",
  "prediction_type": "epsilon",
}
_VAE = {
  "_class_name": "AutoencoderKL",
  "act_fn": "silu",
  "block_out_channels": [128, 256, 512, 512],
  "down_block_types": ["DownEncoderBlock2D"] * 4,
  "up_block_types": ["UpDecoderBlock2D"] * 4,
  "in_channels": 3,
  "out_channels": 3,
  "latent_channels": 4,
  "layers_per_block": 2,
  "norm_num_groups": 32,
  "sample_size": 512,
  "scaling_factor": 0.18215,
}
_UNET = {
  "_class_name": "UNet2DConditionModel",
  "act_fn": "silu",
  "attention_head_dim": 8,
  "block_out_channels": [320, 640, 1280, 1280],
  "center_input_sample": False,
  "cross_attention_dim": 768,
  "down_block_types": [*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"],
  "up_block_types": ["UpBlock2D", *["CrossAttnUpBlock2D"] * 3],
  "downsample_padding": 1,
  "flip_sin_to_cos": True,
  "freq_shift": 0,
  "in_channels": 4,
  "out_channels": 4,
  "layers_per_block": 2,
  "mid_block_scale_factor": 1,
  "norm_eps": 1e-05,
  "norm_num_groups": 32,
  "sample_size": 64,
}
_CLIP = {
  "architectures": ["CLIPTextModel"],
  "model_type": "clip_text_model",
  "vocab_size": 49408,
  "hidden_size": 768,
  "intermediate_size": 3072,
  "num_hidden_layers": 12,
  "num_attention_heads": 12,
  "max_position_embeddings": 77,
  "hidden_act": "quick_gelu",
  "layer_norm_eps": 1e-05,
  "projection_dim": 768,
  "bos_token_id": 0,
  "eos_token_id": 2,
  "pad_token_id": 1,
}
_TOKENIZER = {
  "tokenizer_class": "CLIPTokenizer",
  "model_max_length": 77,
  "do_lower_case": True,
  "bos_token": "<|startoftext|>",
  "eos_token": "<|endoftext|>",
  "unk_token": "<|endoftext|>",
  "pad_token": "<|endoftext|>",
}

_SD1 = {
  "text_encoder/config.json": _CLIP,
  "tokenizer/tokenizer_config.json": _TOKENIZER,
  "unet/config.json": _UNET,
  "vae/config.json": _VAE,
  "scheduler/scheduler_config.json": _SCHEDULER,
}
_SD2_UNET = _UNET | {
  "attention_head_dim": [5, 10, 20, 20],
  "cross_attention_dim": 1024,
  "use_linear_projection": True,
}
_SD2_BASE = _SD1 | {
  "text_encoder/config.json": _CLIP
  | {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 23,  # of 24: the UNet reads the last but one
    "num_attention_heads": 16,
    "hidden_act": "gelu",
    "projection_dim": 512,
  },
  "tokenizer/tokenizer_config.json": _TOKENIZER | {"pad_token": "!"},
  "unet/config.json": _SD2_UNET,
}
_SDXL = {
  "text_encoder/config.json": _CLIP,
  "text_encoder_2/config.json": _CLIP
  | {
    "architectures": ["CLIPTextModelWithProjection"],
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "hidden_act": "gelu",
    "projection_dim": 1280,
  },
  "tokenizer/tokenizer_config.json": _TOKENIZER,
  "tokenizer_2/tokenizer_config.json": _TOKENIZER | {"pad_token": "!"},
  "unet/config.json": _UNET
  | {
    "attention_head_dim": [5, 10, 20],
    "transformer_layers_per_block": [1, 2, 10],
    "block_out_channels": [320, 640, 1280],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
    "sample_size": 128,
  },
  "vae/config.json": _VAE | {"sample_size": 1024, "scaling_factor": 0.13025, "force_upcast": True},
  "scheduler/scheduler_config.json": _SCHEDULER,
}

# SD 2.x comes at two sizes, whose tensors look alike: the prediction tells them apart.
CONFIGS: dict[str, dict[str, dict[str, Any]]] = {
  "sd1": _SD1,
  "sd2-epsilon": _SD2_BASE,
  "sd2-v_prediction": _SD2_BASE
  | {
    "unet/config.json": _SD2_UNET | {"sample_size": 96, "upcast_attention": True},
    "vae/config.json": _VAE | {"sample_size": 768},
  },
  "sdxl": _SDXL,
}
PIPELINES = {
  "sd1": "StableDiffusionPipeline",
  "sd2": "StableDiffusionPipeline",
  "sdxl": "StableDiffusionXLPipeline",
}
