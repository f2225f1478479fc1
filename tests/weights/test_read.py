"""A checkpoint folder that is not right: one line, before anything is computed."""

import json
import shutil
import tracemalloc
import weakref

import jax
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from synthjax.generators.stable_diffusion import StableDiffusion
from synthjax.runtime import devices
from synthjax.runtime.errors import UserError
from synthjax.weights import read, tokenizer


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
    (
      lambda t: t.update({"conv_in.bias": t["conv_in.bias"].astype(np.int8)}),
      "1 unreadable: conv_in.bias is stored as I8",
    ),
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
  with pytest.raises(
    UserError, match=r"a pickle, which can run code.*`python -m synthjax\.weights\.convert`"
  ):
    load(folder)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64])
def test_tensors_are_read_as_they_are_stored(tmp_path, dtype):
  values = np.linspace(-3, 3, 12, dtype=np.float32).reshape(3, 4).astype(dtype)
  save_file({"a.weight": values, "a.position_ids": np.arange(3)}, tmp_path / "m.safetensors")
  seen = []
  shapes = {"a": {"kernel": jax.ShapeDtypeStruct((4, 3), np.float32)}}
  read.read_params(tmp_path, "m", shapes, lambda a: seen.append(a) or jax.numpy.asarray(a, np.float32))
  assert seen[0].dtype == dtype
  np.testing.assert_array_equal(seen[0], values.T)


def test_a_network_is_never_whole_in_host_memory(tmp_path):
  n, each = 24, 2**20
  save_file({f"l{i}.weight": np.full(each // 2, i, np.float16) for i in range(n)}, tmp_path / "m.safetensors")
  shapes = {f"l{i}": {"scale": jax.ShapeDtypeStruct((each // 2,), np.float32)} for i in range(n)}
  earlier: list[weakref.ref] = []
  alive = []

  def place(tensor):
    alive.append(sum(ref() is not None for ref in earlier))
    earlier.append(weakref.ref(tensor))
    return jax.numpy.asarray(tensor[:1], np.float32)  # what it costs on the device is not the host's

  tracemalloc.start()
  try:
    placed = read.read_params(tmp_path, "m", shapes, place)
    peak = tracemalloc.get_traced_memory()[1]
  finally:
    tracemalloc.stop()
  assert [float(placed[f"l{i}"]["scale"][0]) for i in range(n)] == list(range(n))
  assert max(alive) <= 1 and peak < 4 * each


def test_16_bits_are_read_where_they_alone_lie_there(folder):
  whole = jax.tree.map(np.asarray, load(folder))
  file = folder / UNET
  half = {k: v.astype(np.float16) for k, v in load_file(file).items()}
  save_file(half, file.with_name("diffusion_pytorch_model.fp16.safetensors"))
  file.unlink()
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-7),
    whole["unet"],
    jax.tree.map(np.asarray, load(folder)["unet"]),
  )


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


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
@pytest.mark.parametrize(
  "change",
  [
    {"_class_name": "StableDiffusionPipeline"},
    {"_class_name": "sneaky.Module"},
    {"_class_name": ["sneaky", "Module"]},
    {"architectures": ["Sneaky"]},
    {"auto_map": {"AutoModel": "sneaky.Module"}},
    {"_target_": "sneaky.run"},
    {"custom_pipeline": "sneaky"},
  ],
)
def test_a_config_chooses_no_class_and_no_module(folder, part, change, monkeypatch):
  """Were `sneaky` imported, a file would tell."""
  (folder / "sneaky.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\ndef run(): pass\nModule = run\n")
  monkeypatch.syspath_prepend(str(folder))
  file = folder / part / "config.json"
  file.write_text(json.dumps(json.loads(file.read_text()) | change))
  with pytest.raises(UserError) as e:
    StableDiffusion(folder)
  assert any(said in str(e.value) for said in ("here it must be", "custom code")) and "\n" not in str(e.value)
  assert not (folder / "ran").exists()


@pytest.mark.parametrize(
  ("part", "change", "said"),
  [
    ("unet", {"in_channels": None}, "lacks 'in_channels'"),
    ("unet", {"addition_embed_type": "image"}, "addition_embed_type='image'; only None or 'text_time'"),
    ("unet", {"addition_embed_type": "text_time"}, "text_encoder_2/config.json is missing"),
    ("unet", {"norm_num_groups": 16}, "norm_num_groups=16; only 32 can be read"),
    (
      "unet",
      {"_class_name": "os.system"},
      "is the config of 'os.system'; here it must be UNet2DConditionModel",
    ),
    ("vae", {"latents_mean": [0.1]}, "latents_mean=[0.1]"),
    ("unet", {"in_channels": 9}, "an inpainting model cannot generate from text alone"),
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
  for hostile in ({"a": "../../vae/diffusion_pytorch_model.safetensors"}, {"a": {"b": 1}}, ["a"]):
    file.with_name(f"{file.name}.index.json").write_text(json.dumps({"weight_map": hostile}))
    with pytest.raises(UserError, match=r"is missing, though|has no weight_map"):
      load(folder)


def test_a_tensor_that_is_in_two_parts_is_told(folder):
  file = folder / UNET
  save_file(load_file(file), file.with_name("part-1.safetensors"))
  save_file({"conv_in.bias": np.zeros(32, np.float32)}, file.with_name("part-2.safetensors"))
  index = {"weight_map": {"a": "part-1.safetensors", "b": "part-2.safetensors"}}
  file.with_name(f"{file.name}.index.json").write_text(json.dumps(index))
  file.unlink()
  with pytest.raises(UserError, match=r"conv_in\.bias is in part-1\.safetensors and in part-2\.safetensors"):
    load(folder)


def test_the_digest_follows_the_files(folder):
  parts = ("unet", "vae")
  before = read.folder_digest(folder, parts)
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
