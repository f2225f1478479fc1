"""The published architectures of CLIP with random parameters: for benchmarks and tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from synthjax.encoders.layouts import openclip_architecture
from synthjax.encoders.preprocess import Preprocess
from synthjax.encoders.towers import Towers
from synthjax.models import initial
from synthjax.runtime import devices
from synthjax.runtime.errors import UserError, nearest

# By what sets them apart: width of the features, image tower, and width of the text tower, of 12 layers and heads of 64.
_PATCHES = {
  "clip-b32": (512, dict(layers=12, width=768, patch_size=32), 512),
  "clip-b16": (512, dict(layers=12, width=768, patch_size=16), 512),
  "clip-l14": (768, dict(layers=24, width=1024, patch_size=14), 768),
  "clip-l14-336": (768, dict(layers=24, width=1024, patch_size=14, image_size=336), 768),
}
_RESIDUAL = {
  "clip-rn50": (1024, dict(layers=[3, 4, 6, 3], width=64), 512),
  "clip-rn101": (512, dict(layers=[3, 4, 23, 3], width=64), 512),
  "clip-rn50x4": (640, dict(layers=[4, 6, 10, 6], width=80, image_size=288), 640),
  "clip-rn50x16": (768, dict(layers=[6, 8, 18, 8], width=96, image_size=384), 768),
  "clip-rn50x64": (1024, dict(layers=[3, 15, 36, 10], width=128, image_size=448), 1024),
}
# In OpenCLIP's words.
ARCHITECTURES: dict[str, dict[str, Any]] = {
  name: dict(
    embed_dim=features,
    quick_gelu=True,
    vision_cfg=vision,
    text_cfg=dict(width=text, heads=text // 64, layers=12),
  )
  for name, (features, vision, text) in (_PATCHES | _RESIDUAL).items()
}


def random_encoder(
  name: str, dtype: str = "float32", mesh: Mesh | None = None, seed: int = 0
) -> tuple[Towers, dict[str, Any]]:
  """Networks, and their parameters on every device of the mesh; no file is written."""
  if name not in ARCHITECTURES:
    raise UserError(f"random encoder {name!r}{nearest(name, ARCHITECTURES)}")
  architecture = openclip_architecture(Path(name), ARCHITECTURES[name])
  side = architecture.vision.image_size
  encoder = Towers(architecture, Preprocess(side, side), dtype)
  shapes = encoder.param_shapes()
  place = devices.place(mesh or devices.local_mesh(), devices.REPLICATED)
  return encoder, jax.device_put(initial.scaled(shapes, np.random.default_rng(seed)), place)
