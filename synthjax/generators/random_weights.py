"""Checkpoint folders with random weights in the layout of real ones, for tests, benchmarks and first tries.

    python -m synthjax.generators.random_weights tiny --out FOLDER

Pictures made with them are coloured noise: everything but the meaning is real. `sd15`, `sd21` and `sdxl` have the
published shapes, and take gigabytes.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
from etils import epath

from synthjax.disk import drafts, workdir
from synthjax.generators.architectures import ARCHITECTURES
from synthjax.generators.checkpoint import STEMS
from synthjax.generators.stable_diffusion import StableDiffusion
from synthjax.models import initial
from synthjax.runtime import devices
from synthjax.runtime.errors import UserError, nearest
from synthjax.weights import tokenizer
from synthjax.weights.write import write_params


def make(architecture: str, out: Path, seed: int = 0) -> Path:
  """Writes the folder, whole or not at all; one that is there already is left as it is."""
  if out.exists():
    return out
  out.parent.mkdir(parents=True, exist_ok=True)
  drafts.sweep_drafts(epath.Path(out.parent), workdir.now(epath.Path(out.parent)), of=out.name)
  draft = drafts.draft_of(out)
  write_configs(architecture, draft)
  for i, (part, shapes) in enumerate(StableDiffusion(draft).param_shapes().items()):
    write_params(
      draft / part / f"{STEMS[part]}.safetensors",
      initial.scaled(shapes, np.random.default_rng([seed, i])),
    )
  try:
    draft.rename(out)
  except OSError:  # another process was quicker; its folder is the same
    shutil.rmtree(draft)
  return out


def check_name(architecture: str) -> None:
  if architecture not in ARCHITECTURES:
    raise UserError(f"random generator {architecture!r}{nearest(architecture, ARCHITECTURES)}")


def write_configs(architecture: str, folder: Path) -> None:
  """A folder without the weights: enough for a `StableDiffusion` whose parameters come from elsewhere."""
  check_name(architecture)
  for part, config in ARCHITECTURES[architecture].items():
    _write_json(folder / part / ("scheduler_config.json" if part == "scheduler" else "config.json"), config)
    if part.startswith("text_encoder"):
      tokenizer.write(folder / part.replace("text_encoder", "tokenizer"))


def params(generator: StableDiffusion, mesh: jax.sharding.Mesh, seed: int = 0) -> dict[str, Any]:
  """Random parameters on every device of the mesh, in the generator's dtypes; no file is written.

  They are drawn on the host: with a random generator for each of a thousand tensors, a program that draws them on the
  device compiles for longer than it spares.
  """
  everywhere = devices.place(mesh, devices.REPLICATED)
  return {
    part: jax.device_put(
      jax.tree.map(
        lambda a, part=part: np.asarray(a, generator.param_dtype(part)),
        initial.scaled(shapes, np.random.default_rng([seed, i])),
      ),
      everywhere,
    )
    for i, (part, shapes) in enumerate(generator.param_shapes().items())
  }


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
