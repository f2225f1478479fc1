"""What PyTorch wrote becomes safetensors, and nothing that a file holds is run."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from synthjax.generators.stable_diffusion import StableDiffusion
from synthjax.runtime import devices
from synthjax.runtime.errors import UserError
from synthjax.weights import single_file, single_file_configs
from synthjax.weights.convert import convert, main

pytestmark = pytest.mark.parity

_SMALL_VAE = dict(block_out_channels=[16, 32, 32, 32], norm_num_groups=8)
_SMALL_CLIP = dict(
  hidden_size=32, intermediate_size=64, num_attention_heads=2, projection_dim=32, vocab_size=600
)
# Every kind of block and every name, at a width of seconds.
SMALL = {
  "sd1": {
    "text_encoder": _SMALL_CLIP | dict(num_hidden_layers=2),
    "unet": dict(block_out_channels=[32, 32, 64, 64], cross_attention_dim=32, attention_head_dim=2),
    "vae": _SMALL_VAE,
  },
  "sd2-epsilon": {
    "text_encoder": _SMALL_CLIP | dict(num_hidden_layers=3),
    "unet": dict(
      block_out_channels=[32, 32, 64, 64], cross_attention_dim=32, attention_head_dim=[2, 2, 4, 4]
    ),
    "vae": _SMALL_VAE,
  },
  "sdxl": {
    "text_encoder": _SMALL_CLIP | dict(num_hidden_layers=2),
    "text_encoder_2": _SMALL_CLIP | dict(num_hidden_layers=2),
    "unet": dict(
      block_out_channels=[32, 64, 64],
      cross_attention_dim=64,
      attention_head_dim=[2, 4, 4],
      addition_time_embed_dim=8,
      projection_class_embeddings_input_dim=80,
    ),
    "vae": _SMALL_VAE,
  },
}
SMALL["sd2-v_prediction"] = SMALL["sd2-epsilon"]


@pytest.fixture
def narrow(monkeypatch, torch):
  """The shipped configs, narrowed."""
  for kind, parts in SMALL.items():
    own = single_file_configs.CONFIGS[kind]
    changed = {f"{part}/config.json": own[f"{part}/config.json"] | change for part, change in parts.items()}
    monkeypatch.setitem(single_file_configs.CONFIGS, kind, own | changed)


def checkpoint(kind, device="cpu"):
  """A single file of a kind, as CompVis and Stability name it; random. And what diffusers' classes call the same."""
  import torch

  configs = single_file_configs.CONFIGS[kind]
  file, reference = {}, {}
  for part, (prefix, name_of) in single_file._parts(kind.split("-")[0], configs).items():
    reference[part] = {}
    for name, shape in single_file._wanted(part, configs[f"{part}/config.json"]).items():
      tensor, source = torch.randn(shape, device=device), name_of(name)
      reference[part][name] = tensor
      if source.turned:
        tensor = tensor.T.contiguous()
      if part == "vae" and "attn_1" in source.name and tensor.ndim == 2:
        tensor = tensor[:, :, None, None]
      file.setdefault(prefix + source.name, []).append((source.third, tensor))
  joined = {n: torch.cat([t for _, t in sorted(thirds, key=lambda p: p[0])]) for n, thirds in file.items()}
  return joined, reference


def theirs(kind, file):
  """The same file through diffusers' own conversion."""
  import torch
  from diffusers.loaders import single_file_utils as ldm

  configs = single_file_configs.CONFIGS[kind]
  found = {
    "unet": ldm.convert_ldm_unet_checkpoint(dict(file), configs["unet/config.json"]),
    "vae": ldm.convert_ldm_vae_checkpoint(dict(file), configs["vae/config.json"]),
  }
  for part, (prefix, is_open) in single_file._TEXT[kind.split("-")[0]].items():
    if not is_open:
      found[part] = ldm.convert_ldm_clip_checkpoint(dict(file))
      continue
    width = configs[f"{part}/config.json"]["hidden_size"]
    of_width = torch.nn.Module()
    of_width.config = type("Config", (), {"hidden_size": width})
    found[part] = ldm.convert_open_clip_checkpoint(of_width, dict(file), prefix=prefix)
  return found


def same(found, reference):
  assert found.keys() == reference.keys()
  for part, own in reference.items():
    assert found[part].keys() == own.keys()
    for name, tensor in own.items():
      np.testing.assert_array_equal(np.asarray(found[part][name]), np.asarray(tensor), err_msg=name)


@pytest.mark.parametrize("kind", ["sd1", "sd2-epsilon", "sd2-v_prediction", "sdxl"])
def test_a_single_file_is_taken_apart_as_diffusers_does(narrow, kind, tmp_path, words):
  from safetensors.torch import save_file

  file, reference = checkpoint(kind)
  same(theirs(kind, file), reference)  # the file is what they read, under the names that they give
  prefix = "conditioner.embedders.1.model." if kind == "sdxl" else "cond_stage_model.model."
  more = {
    "model_ema.decay": file["model.diffusion_model.out.2.bias"][:1],
    "alphas_cumprod": next(iter(file.values()))[:1],
  }
  if kind != "sd1":
    more |= {f"{prefix}logit_scale": more["model_ema.decay"]}
  save_file(file | {k: v.clone() for k, v in more.items()}, tmp_path / "model.safetensors")
  prediction = kind.partition("-")[2]
  convert(tmp_path / "model.safetensors", tmp_path / "out", words, prediction=prediction)
  found = {p: load_file(next((tmp_path / "out" / p).glob("*.safetensors"))) for p in reference}
  same(found, reference)
  schedule = json.loads((tmp_path / "out/scheduler/scheduler_config.json").read_text())
  assert schedule["prediction_type"] == (prediction or "epsilon")
  assert (tmp_path / "out/tokenizer/merges.txt").exists()
  assert (tmp_path / "out/tokenizer_2/merges.txt").exists() == (kind == "sdxl")


PUBLISHED = {
  "sd1": {"unet": 859_520_964, "vae": 83_653_863, "text_encoder": 123_060_480},
  "sd2-v_prediction": {"unet": 865_910_724, "vae": 83_653_863, "text_encoder": 340_387_840},
  "sdxl": {
    "unet": 2_567_463_684,
    "vae": 83_653_863,
    "text_encoder": 123_060_480,
    "text_encoder_2": 694_659_840,
  },
}
# Names by which diffusers knows a kind.
KNOWN = {
  "sd1": "model.diffusion_model.output_blocks.11.0.skip_connection.weight",
  "sd2-v_prediction": "model.diffusion_model.input_blocks.2.1.transformer_blocks.0.attn2.to_k.weight",
  "sdxl": "conditioner.embedders.1.model.transformer.resblocks.9.mlp.c_proj.bias",
}


@pytest.mark.parametrize("kind", PUBLISHED)
def test_names_and_shapes_of_the_published_sizes(torch, kind):
  file, reference = checkpoint(kind, device="meta")
  sizes = {part: sum(t.numel() for t in own.values()) for part, own in reference.items()}
  assert sizes == PUBLISHED[kind]
  assert KNOWN[kind] in file
  converted = theirs(kind, file)
  _, found = single_file.split(file, kind.partition("-")[2])
  for part, own in reference.items():
    shapes = {n: tuple(t.shape) for n, t in own.items()}
    assert {n: tuple(t.shape) for n, t in converted[part].items()} == shapes
    assert {n: tuple(t.shape) for n, t in found[part].items()} == shapes


def test_the_average_is_taken_where_it_is_there(narrow):
  file, reference = checkpoint("sd1")
  unet = {n: t for n, t in file.items() if n.startswith("model.diffusion_model.")}
  averaged = {"model_ema." + "".join(n.split(".")[1:]): t + 1 for n, t in unet.items()}
  _, found = single_file.split(file | averaged)
  np.testing.assert_array_equal(found["unet"]["conv_in.weight"], reference["unet"]["conv_in.weight"] + 1)
  np.testing.assert_array_equal(
    found["vae"]["encoder.conv_in.weight"], reference["vae"]["encoder.conv_in.weight"]
  )


ENTRY = "model.diffusion_model.input_blocks.0.0.weight"


@pytest.mark.parametrize(
  ("kind", "change", "said"),
  [
    ("sd1", lambda f: f.pop(ENTRY), "holds no whole Stable Diffusion"),
    ("sd1", lambda f: f.update({ENTRY: f[ENTRY].repeat(1, 3, 1, 1)[:, :9]}), "UNet takes 9 channels"),
    (
      "sd1",
      lambda f: f.pop("model.diffusion_model.out.2.bias"),
      "model.diffusion_model.out.2.bias is missing",
    ),
    ("sd1", lambda f: f.update({"first_stage_model.lora": f[ENTRY]}), "first_stage_model.lora is extra"),
    (
      "sd1",
      lambda f: f.update(
        {"model.diffusion_model.time_embed.0.weight": f["model.diffusion_model.time_embed.0.weight"].T}
      ),
      "model.diffusion_model.time_embed.0.weight is (32, 128), not (128, 32)",
    ),
    ("sd2-epsilon", lambda f: None, "give --prediction epsilon or --prediction v_prediction"),
    (
      "sdxl",
      lambda f: [f.pop(n) for n in list(f) if n.startswith("conditioner.embedders.0")],
      "has no text encoder",
    ),
  ],
)
def test_a_single_file_that_does_not_fit_is_one_line(narrow, kind, change, said):
  file, _ = checkpoint(kind)
  change(file)
  with pytest.raises(UserError) as e:
    single_file.split(file)
  assert said in str(e.value) and "\n" not in str(e.value)


# --- folders ---------------------------------------------------------------------------------------


def test_a_folder_of_bin_files(torch, weights, tmp_path):
  """The generator reads the result, and computes with the same numbers."""
  source = tmp_path / "source"
  for file in weights.rglob("*"):
    if file.is_dir():
      continue
    target = source / file.relative_to(weights)
    target.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix != ".safetensors":
      target.write_bytes(file.read_bytes())
      continue
    tensors = {n: torch.from_numpy(t) for n, t in load_file(file).items()}
    stem = "pytorch_model" if file.stem == "model" else file.stem
    if stem != "pytorch_model":
      torch.save(tensors, target.with_name(f"{stem}.bin"))
      continue
    names = sorted(tensors)
    parts = {f"{stem}-0000{i + 1}-of-00002.bin": names[i::2] for i in range(2)}
    for part, held in parts.items():
      torch.save({n: tensors[n] for n in held}, target.with_name(part))
    index = {"weight_map": {n: part for part, held in parts.items() for n in held}}
    target.with_name(f"{stem}.bin.index.json").write_text(json.dumps(index))
  torch.save({"state": {}}, source / "optimizer.bin")
  convert(source, tmp_path / "out")
  assert not list((tmp_path / "out").rglob("*.bin"))
  mesh = devices.local_mesh()
  loaded = [StableDiffusion(folder).load_params(mesh) for folder in (weights, tmp_path / "out")]
  import jax

  jax.tree.map(np.testing.assert_array_equal, *[jax.tree.map(np.asarray, each) for each in loaded])


def test_tied_tensors_and_another_dtype(torch, tmp_path):
  (tmp_path / "source").mkdir()
  shared = torch.randn(4, 3)
  torch.save({"a": shared, "b": shared, "n": torch.arange(3)}, tmp_path / "source/pytorch_model.bin")
  convert(tmp_path / "source", tmp_path / "out", dtype="float16")
  found = load_file(tmp_path / "out/model.safetensors")
  np.testing.assert_array_equal(found["a"], found["b"])
  assert found["a"].dtype == np.float16 and found["n"].dtype == np.int64


def folder_of_bin(torch, folder):
  """The least that can be converted."""
  folder.mkdir(parents=True)
  torch.save({"a": torch.ones(2)}, folder / "pytorch_model.bin")
  (folder / "config.json").write_text("{}")
  return folder


@pytest.mark.parametrize("name", ["secret.json", "secret.txt", "secret.safetensors", "text/secret.json"])
def test_a_link_out_of_the_source_is_not_followed(torch, tmp_path, name):
  source = folder_of_bin(torch, tmp_path / "source")
  (tmp_path / "key").write_text("secret")
  (source / name).parent.mkdir(exist_ok=True)
  (source / name).symlink_to(tmp_path / "key")
  with pytest.raises(UserError, match=rf"source/{name} is a link out of .*source, to .*key; put a copy"):
    convert(source, tmp_path / "out")
  assert not (tmp_path / "out").exists()


def test_a_folder_that_is_a_link_and_a_tokenizers_files_are_held_to_the_same(torch, tmp_path, words):
  source = folder_of_bin(torch, tmp_path / "source")
  (source / "text").symlink_to(folder_of_bin(torch, tmp_path / "elsewhere"))
  with pytest.raises(UserError, match="is a link out of"):
    convert(source, tmp_path / "out")
  (words / "vocab.json").unlink()
  (words / "vocab.json").symlink_to(tmp_path / "elsewhere/config.json")
  torch.save({"a": torch.ones(2)}, tmp_path / "single.ckpt")
  with pytest.raises(UserError, match=r"vocab.json is a link out of"):
    convert(tmp_path / "single.ckpt", tmp_path / "out", words)


def test_links_inside_a_source_and_a_snapshot_of_the_hubs_cache_are_followed(torch, tmp_path):
  store = tmp_path / "hub/models--some--one"
  snapshot = folder_of_bin(torch, store / "snapshots/0123")
  (store / "blobs").mkdir()
  for file in sorted(snapshot.iterdir()):
    file.rename(store / "blobs" / file.stem)
    file.symlink_to(f"../../blobs/{file.stem}")
  (snapshot / "again.json").symlink_to("config.json")
  convert(snapshot, tmp_path / "out")
  out = {f.name for f in (tmp_path / "out").iterdir() if f.is_file() and not f.is_symlink()}
  assert out == {"model.safetensors", "config.json", "again.json"}
  (snapshot / "other.json").symlink_to(tmp_path / "hub/models--some--other/blobs/config")
  (tmp_path / "hub/models--some--other/blobs").mkdir(parents=True)
  (tmp_path / "hub/models--some--other/blobs/config").write_text("{}")
  with pytest.raises(UserError, match="is a link out of"):
    convert(snapshot, tmp_path / "again")


def test_a_text_of_no_configs_size_is_not_copied(torch, tmp_path):
  source = folder_of_bin(torch, tmp_path / "source")
  with (source / "vocab.json").open("wb") as file:
    file.truncate(40_000_000)
  with pytest.raises(UserError, match=r"vocab.json has 40 MB; no config or tokenizer is so large"):
    convert(source, tmp_path / "out")


def test_what_the_user_gets_wrong_is_one_line(torch, tmp_path, words, capsys):
  from safetensors.torch import save_file

  (tmp_path / "empty").mkdir()
  save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors")
  (tmp_path / "cut.safetensors").write_bytes((tmp_path / "other.safetensors").read_bytes()[:-1])
  (tmp_path / "cut.ckpt").write_bytes(b"PK\x03\x04 cut")
  out = ["--out", str(tmp_path / "out")]
  for line, said in (
    ([str(tmp_path / "none"), *out], "does not exist"),
    ([str(tmp_path / "empty"), *out], "there is nothing to convert"),
    ([str(tmp_path / "empty"), "--out", str(words)], "exists already"),
    ([str(tmp_path / "other.safetensors"), *out], "--tokenizer FOLDER takes one"),
    (
      [str(tmp_path / "other.safetensors"), *out, "--tokenizer", str(tmp_path / "empty")],
      "vocab.json is missing",
    ),
    (
      [str(tmp_path / "other.safetensors"), *out, "--tokenizer", str(words)],
      "holds no whole Stable Diffusion",
    ),
    ([str(tmp_path / "cut.safetensors"), *out], "is truncated"),
    ([str(tmp_path / "cut.ckpt"), *out], "is truncated"),
  ):
    assert main(line) == 2
    told = capsys.readouterr().err
    assert said in told and told.count("\n") == 1
  assert not (tmp_path / "out").exists()
