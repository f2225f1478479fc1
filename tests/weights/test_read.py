"""A checkpoint folder that is not right: one line, before anything is computed."""

import json
import shutil

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from synthjax import devices
from synthjax.errors import UserError
from synthjax.generators.stable_diffusion import StableDiffusion
from synthjax.weights import tokenizer


@pytest.fixture
def folder(weights, tmp_path):
  return shutil.copytree(weights, tmp_path / "weights")


def load(folder):
  return StableDiffusion(folder).load_params(devices.local_mesh(jax.local_devices()[:1]))


def edit(file, change):
  tensors = load_file(file)
  change(tensors)
  save_file(tensors, file)


UNET = "unet/diffusion_pytorch_model.safetensors"


def rename(tensors, old, new):
  tensors[new] = tensors.pop(old)


@pytest.mark.parametrize(
  ("change", "said"),
  [
    (lambda t: t.pop("conv_in.weight"), "1 missing: conv_in.weight"),
    (lambda t: t.update(sneaky=np.zeros(3, np.float32)), "1 extra: sneaky"),
    (
      lambda t: t.update({"conv_in.weight": t["conv_in.weight"].T.copy()}),
      "1 wrong-shaped: conv_in.weight is (3, 3, 4, 32), not (32, 4, 3, 3)",
    ),
    (lambda t: rename(t, "conv_in.bias", "conv_in.bais"), "1 missing: conv_in.bias; 1 extra: conv_in.bais"),
  ],
)
def test_every_tensor_is_accounted_for(folder, change, said):
  edit(folder / UNET, change)
  with pytest.raises(UserError) as e:
    load(folder)
  assert said in str(e.value) and "\n" not in str(e.value)


def test_missing_and_truncated_files(folder):
  whole = (folder / UNET).read_bytes()
  for cut in (len(whole) - 1, len(whole) // 2, 4):
    (folder / UNET).write_bytes(whole[:cut])
    with pytest.raises(UserError, match="is truncated or no safetensors file"):
      load(folder)
  (folder / UNET).unlink()
  with pytest.raises(UserError, match=r"diffusion_pytorch_model\.safetensors is missing"):
    load(folder)


def test_an_extra_file_and_a_variant(folder):
  shutil.copy(folder / UNET, folder / "unet" / "diffusion_pytorch_model.fp16.safetensors")
  load(folder)  # hub folders carry variants along
  shutil.copy(folder / UNET, folder / "unet" / "stray.safetensors")
  with pytest.raises(UserError, match=r"stray\.safetensors is extra"):
    load(folder)


def test_a_pickle_is_never_opened(folder):
  (folder / UNET).rename(folder / "unet" / "diffusion_pytorch_model.bin")
  with pytest.raises(UserError, match="a pickle, which can run code"):
    load(folder)


@pytest.mark.parametrize(
  "part",
  ["unet/config.json", "scheduler/scheduler_config.json", "tokenizer/vocab.json", "tokenizer/merges.txt"],
)
def test_a_missing_or_broken_text_file(folder, part):
  (folder / part).write_text("{\n{\n")
  with pytest.raises(UserError, match="is not readable"):
    StableDiffusion(folder).tokenize(["a"])
  (folder / part).unlink()
  with pytest.raises(UserError, match="is missing; the folder must have diffusers' layout"):
    StableDiffusion(folder).tokenize(["a"])


def test_a_block_that_is_not_ours_is_refused(folder):
  file = folder / "unet" / "config.json"
  body = json.loads(file.read_text())
  body["down_block_types"][0] = "os.system"
  file.write_text(json.dumps(body))
  with pytest.raises(UserError, match=r"has block 'os\.system'"):
    StableDiffusion(folder)


@pytest.mark.parametrize(
  ("part", "change", "said"),
  [
    ("unet", {"in_channels": None}, "lacks 'in_channels'"),
    ("unet", {"addition_embed_type": "text_time"}, "only Stable Diffusion 1.x and 2.x can be read yet"),
    ("unet", {"in_channels": 9}, "an inpainting model cannot draw from text alone"),
    ("unet", {"cross_attention_dim": 32}, "reads prompts of width 32, its text encoder gives 64"),
  ],
)
def test_a_model_that_is_not_ours_to_draw_with(folder, part, change, said):
  file = folder / part / "config.json"
  body = json.loads(file.read_text()) | change
  file.write_text(json.dumps({k: v for k, v in body.items() if v is not None}))
  with pytest.raises(UserError) as e:
    StableDiffusion(folder)
  assert said in str(e.value) and "\n" not in str(e.value)


def test_parts_named_in_an_index(folder):
  file = folder / UNET
  tensors = load_file(file)
  reference = jax.tree.map(np.asarray, load(folder))
  names = sorted(tensors)
  parts = {"part-1.safetensors": names[::2], "part-2.safetensors": names[1::2]}
  for part, held in parts.items():
    save_file({n: tensors[n] for n in held}, file.with_name(part))
  index = {"weight_map": {n: part for part, held in parts.items() for n in held}}
  file.with_name(f"{file.name}.index.json").write_text(json.dumps(index))
  file.unlink()
  jax.tree.map(np.testing.assert_array_equal, reference, jax.tree.map(np.asarray, load(folder)))
  file.with_name("part-2.safetensors").unlink()
  with pytest.raises(UserError, match=r"part-2\.safetensors is missing, though"):
    load(folder)


def test_the_digest_follows_the_files(folder):
  from synthjax.weights import read

  parts = ("unet", "vae")
  before = read.folder_digest(folder, parts)
  read.folder_digest.cache_clear()
  edit(folder / UNET, lambda t: t.update({"conv_in.bias": t["conv_in.bias"] + 1}))
  assert read.folder_digest(folder, parts) != before


def test_merges_that_end_early_are_seen(folder):
  """Half the merges would still tokenise, into other tokens."""
  tokenizer.write(folder / "tokenizer", ["photo", "handwritten", "digit"])
  StableDiffusion(folder).tokenize(["a photo"])
  lines = (folder / "tokenizer/merges.txt").read_text().split("\n")
  (folder / "tokenizer/merges.txt").write_text("\n".join(lines[: len(lines) // 2]) + "\n")
  with pytest.raises(UserError, match="it ends early"):
    StableDiffusion(folder).tokenize(["a photo"])
