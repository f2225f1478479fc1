"""Checkpoint folders with random weights in the layout of real ones, for tests, benchmarks and first tries.

    python -m synthjax.generators.random_weights tiny --out FOLDER

Pictures made with them are coloured noise: everything but the meaning is real.
"""

from __future__ import annotations

import argparse
import json
import shutil
import uuid
from pathlib import Path
from typing import Any

import jax

from synthjax.embedded import world
from synthjax.errors import UserError, nearest
from synthjax.generators.stable_diffusion import STEMS, StableDiffusion
from synthjax.models import initial
from synthjax.weights import tokenizer
from synthjax.weights.write import write_params

_TOKENS = 2 * 256 + 2  # every byte, alone and at a word's end, and the two marks

ARCHITECTURES: dict[str, dict[str, Any]] = {
  # 32 px; 1.3 M parameters: for tests and the quickstart.
  "tiny": {
    "unet": dict(
      sample_size=8,
      in_channels=4,
      out_channels=4,
      down_block_types=["CrossAttnDownBlock2D", "DownBlock2D"],
      up_block_types=["UpBlock2D", "CrossAttnUpBlock2D"],
      block_out_channels=[32, 64],
      layers_per_block=1,
      attention_head_dim=2,
      cross_attention_dim=64,
    ),
    "vae": dict(
      in_channels=3,
      out_channels=3,
      latent_channels=4,
      down_block_types=["DownEncoderBlock2D"] * 3,
      up_block_types=["UpDecoderBlock2D"] * 3,
      block_out_channels=[16, 32, 32],
      layers_per_block=1,
      norm_num_groups=16,
      sample_size=32,
      scaling_factor=0.18215,
    ),
    "text_encoder": dict(
      vocab_size=_TOKENS,
      hidden_size=64,
      intermediate_size=128,
      num_hidden_layers=2,
      num_attention_heads=2,
      max_position_embeddings=160,  # bytes, not words: the tokenizer has no merges
      hidden_act="quick_gelu",
      bos_token_id=_TOKENS - 2,
      eos_token_id=_TOKENS - 1,
      pad_token_id=_TOKENS - 1,
    ),
  },
}


def make(architecture: str, out: Path, seed: int = 0) -> Path:
  """Writes the folder, whole or not at all; one that is there already is left as it is."""
  if architecture not in ARCHITECTURES:
    raise UserError(f"random generator {architecture!r}{nearest(architecture, ARCHITECTURES)}")
  if out.exists():
    return out
  out.parent.mkdir(parents=True, exist_ok=True)
  draft = out.with_name(f".{out.name}.{uuid.uuid4().hex}")
  for part, config in ARCHITECTURES[architecture].items():
    _write_json(draft / part / "config.json", config)
  _write_json(draft / "scheduler" / "scheduler_config.json", world.SCHEDULER)
  tokenizer.write(draft / "tokenizer")
  for i, (part, shapes) in enumerate(StableDiffusion(draft).param_shapes().items()):
    write_params(
      draft / part / f"{STEMS[part]}.safetensors",
      initial.scaled(shapes, jax.random.fold_in(jax.random.key(seed), i)),
    )
  try:
    draft.rename(out)
  except OSError:  # another process was quicker; its folder is the same
    shutil.rmtree(draft)
  return out


def _write_json(file: Path, body: dict[str, Any]) -> None:
  file.parent.mkdir(parents=True, exist_ok=True)
  file.write_text(json.dumps(body, indent=2), encoding="utf-8")


def main() -> None:
  parser = argparse.ArgumentParser(prog="python -m synthjax.generators.random_weights")
  parser.add_argument("architecture", choices=sorted(ARCHITECTURES))
  parser.add_argument("--out", required=True, type=Path)
  parser.add_argument("--seed", type=int, default=0)
  args = parser.parse_args()
  make(args.architecture, args.out, args.seed)


if __name__ == "__main__":
  jax.config.update("jax_platforms", "cpu")
  main()
