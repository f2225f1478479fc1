"""OpenAI's CLIP archives as folders in OpenCLIP's layout: the tensors keep their names, and their shapes tell the config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

CONFIG, STEM = "open_clip_config.json", "open_clip_model"
_HEAD = 64  # every published tower has heads of this width
# Facts about the network that lie among its tensors, and the causal mask.
_NO_PARAMETERS = ("input_resolution", "context_length", "vocab_size")
PREPROCESSING = {
  "mean": [0.48145466, 0.4578275, 0.40821073],
  "std": [0.26862954, 0.26130258, 0.27577711],
  "interpolation": "bicubic",
  "resize_mode": "shortest",
}


def is_clip(tensors: Mapping[str, Any]) -> bool:
  return {"visual.conv1.weight", "text_projection", "token_embedding.weight", "logit_scale"} <= tensors.keys()


def parameters(tensors: Mapping[str, Any]) -> dict[str, Any]:
  return {n: t for n, t in tensors.items() if n not in _NO_PARAMETERS and not n.endswith("attn_mask")}


def config(tensors: Mapping[str, Any]) -> dict[str, Any]:
  """As OpenCLIP writes it; all of OpenAI's networks use the quick form of GELU."""

  def count(prefix: str) -> int:
    depth = prefix.count(".")
    return len({n.split(".")[depth] for n in tensors if n.startswith(prefix)})

  width = tensors["ln_final.weight"].shape[0]
  text = {
    "context_length": tensors["positional_embedding"].shape[0],
    "vocab_size": tensors["token_embedding.weight"].shape[0],
    "width": width,
    "heads": width // _HEAD,
    "layers": count("transformer.resblocks."),
  }
  if "visual.proj" in tensors:
    patch = tensors["visual.conv1.weight"].shape[-1]
    vision = {
      "image_size": patch * _side(tensors["visual.positional_embedding"].shape[0]),
      "layers": count("visual.transformer.resblocks."),
      "width": tensors["visual.conv1.weight"].shape[0],
      "patch_size": patch,
    }
  else:
    # The stem and the stages make each side 32 times smaller.
    vision = {
      "image_size": 32 * _side(tensors["visual.attnpool.positional_embedding"].shape[0]),
      "layers": [count(f"visual.layer{stage}.") for stage in (1, 2, 3, 4)],
      "width": tensors["visual.layer1.0.conv1.weight"].shape[0],
      "patch_size": None,
    }
  network = {
    "embed_dim": tensors["text_projection"].shape[1],
    "quick_gelu": True,
    "vision_cfg": vision,
    "text_cfg": text,
  }
  return {"model_cfg": network, "preprocess_cfg": PREPROCESSING}


def _side(positions: int) -> int:
  """Of a square of positions and one more."""
  return round(np.sqrt(positions - 1))
