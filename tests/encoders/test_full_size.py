"""Networks of the published sizes compute what PyTorch computes from the same files."""

import json

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from synthjax.encoders.clip import Clip
from synthjax.encoders.layouts import OPENCLIP
from synthjax.encoders.preprocess import FILE, Preprocess
from synthjax.encoders.random_weights import ARCHITECTURES
from synthjax.runtime import devices

SIDE, VOCABULARY, LENGTH, END = 224, 49408, 77, 49407


def pictures(n: int, seed: int = 0) -> np.ndarray:
  """With large areas as well as grain, which alone would leave all pictures alike."""
  rng = np.random.default_rng(seed)
  coarse = rng.integers(0, 200, (n, 7, 7, 3)).repeat(32, 1).repeat(32, 2)
  return (coarse + rng.integers(0, 56, (n, SIDE, SIDE, 3))).astype(np.uint8)


def texts(n: int) -> np.ndarray:
  rng = np.random.default_rng(1)
  ids = rng.integers(0, END - 1, (n, LENGTH))
  for row, length in zip(ids, rng.integers(3, LENGTH, n), strict=True):
    row[0], row[length:] = END - 1, END
  return ids.astype(np.int32)


def loaded(folder):
  encoder = Clip(folder)
  return encoder, encoder.load_params(devices.local_mesh(jax.local_devices()[:1]))


def seen(torch, preprocess, images):
  """As the networks of PyTorch take them."""
  return torch.tensor(np.asarray(preprocess.normalise(images)).transpose(0, 3, 1, 2))


def error(ours, theirs) -> float:
  theirs = theirs.detach().numpy()
  return float(np.linalg.norm(np.asarray(ours) - theirs) / np.linalg.norm(theirs))


@pytest.mark.parity
def test_rn50(torch, tmp_path):
  from tests.encoders import clip_torch

  torch.manual_seed(0)
  sizes = dict(text_width=512, text_layers=12, vocabulary=VOCABULARY, length=LENGTH)
  model = clip_torch.CLIP(1024, (3, 4, 6, 3), 64, SIDE, **sizes)
  clip_torch.scatter(model, seen(torch, Preprocess(), pictures(4, seed=1)))
  (tmp_path / OPENCLIP).write_text(json.dumps(dict(model_cfg=ARCHITECTURES["clip-rn50"])))
  save_file({k: v.numpy() for k, v in model.state_dict().items()}, tmp_path / "open_clip_model.safetensors")
  (encoder, params), images, ids = loaded(tmp_path), pictures(2), texts(2)
  pixels = seen(torch, encoder.preprocess, images)
  with torch.no_grad():
    want, want_text = model.visual(pixels), model.text(torch.tensor(ids).long())
    want_trained = model.train().visual(pixels)
  trained, statistics = jax.jit(encoder.image_features_in_training)(params, images)
  last = model.visual.layer4[2].bn3  # behind all others
  ours = statistics["visual"]["layer4_2"]["bn3"]
  errors = {
    "image": error(jax.jit(encoder.image_features)(params, images), want),
    "text": error(jax.jit(encoder.text_features)(params, ids), want_text),
    "in training": error(trained, want_trained),
    "running mean": error(ours["mean"], last.running_mean),
    "running variance": error(ours["var"], last.running_var),
  }
  print(f"\nRN50: {errors}; features spread {want.std():.2f}, texts {want_text.std():.2f}")
  assert 0.3 < want.std() < 3 and 0.3 < want_text.std() < 3
  assert error(want[:1], want[1:]) > 0.1  # else any constant would do
  assert max(errors.values()) <= 1e-4


@pytest.mark.parity
def test_vit_b16_in_both_layouts(torch, tmp_path):
  from transformers import CLIPConfig, CLIPModel

  torch.manual_seed(0)
  vision = dict(patch_size=16, image_size=SIDE)  # the rest of B/16 is the class's default
  model = CLIPModel(CLIPConfig(vision_config=vision)).eval()
  with torch.no_grad():
    for name, p in model.named_parameters():
      if p.ndim > 1 and "embedding" not in name.rsplit(".", 2)[-2]:
        p.normal_(std=p[0].numel() ** -0.5)
      elif p.ndim > 0:
        p.add_(0.1 * torch.randn_like(p))
    model.vision_model.embeddings.patch_embedding.weight.normal_(std=(3 * 16 * 16) ** -0.5)
  theirs, openclips = tmp_path / "transformers", tmp_path / "openclip"
  model.save_pretrained(theirs)
  (theirs / FILE).write_text("{}")
  openclips.mkdir()
  (openclips / OPENCLIP).write_text(json.dumps(dict(model_cfg=ARCHITECTURES["clip-b16"])))
  save_file(
    _in_openclips_names(load_file(theirs / "model.safetensors")),
    openclips / "open_clip_pytorch_model.safetensors",
  )
  (encoder, params), images, ids = loaded(theirs), pictures(2), texts(2)
  with torch.no_grad():
    want = model.get_image_features(seen(torch, encoder.preprocess, images))
    want_text = model.get_text_features(torch.tensor(ids))
  image, text = jax.jit(encoder.image_features)(params, images), jax.jit(encoder.text_features)(params, ids)
  errors = {"image": error(image, want), "text": error(text, want_text)}
  print(f"\nViT-B/16: {errors}; features spread {want.std():.2f}, texts {want_text.std():.2f}")
  assert 0.3 < want.std() < 3 and 0.3 < want_text.std() < 3
  assert error(want[:1], want[1:]) > 0.1 and error(want_text[:1], want_text[1:]) > 0.1
  assert max(errors.values()) <= 1e-4
  other, other_params = loaded(openclips)
  assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), params, other_params))
  np.testing.assert_array_equal(jax.jit(other.image_features)(other_params, images), image)
  np.testing.assert_array_equal(jax.jit(other.text_features)(other_params, ids), text)


def _in_openclips_names(tensors: dict) -> dict:
  """By hand, from transformers'."""
  out = {
    "logit_scale": tensors["logit_scale"],
    "text_projection": tensors["text_projection.weight"].T.copy(),
    "visual.proj": tensors["visual_projection.weight"].T.copy(),
    "visual.conv1.weight": tensors["vision_model.embeddings.patch_embedding.weight"],
    "visual.class_embedding": tensors["vision_model.embeddings.class_embedding"],
    "visual.positional_embedding": tensors["vision_model.embeddings.position_embedding.weight"],
    "positional_embedding": tensors["text_model.embeddings.position_embedding.weight"],
    "token_embedding.weight": tensors["text_model.embeddings.token_embedding.weight"],
  }
  norms = {
    "text_model.final_layer_norm": "ln_final",
    "vision_model.pre_layrnorm": "visual.ln_pre",
    "vision_model.post_layernorm": "visual.ln_post",
  }
  parts = {"self_attn.out_proj": "attn.out_proj", "layer_norm1": "ln_1", "layer_norm2": "ln_2"}
  parts |= {"mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}
  for ours, theirs in (("text_model", "transformer"), ("vision_model", "visual.transformer")):
    for n in range(12):
      block, place = f"{ours}.encoder.layers.{n}", f"{theirs}.resblocks.{n}"
      norms |= {f"{block}.{a}": f"{place}.{b}" for a, b in parts.items()}
      for leaf in ("weight", "bias"):
        three = [tensors[f"{block}.self_attn.{p}_proj.{leaf}"] for p in "qkv"]
        out[f"{place}.attn.in_proj_{leaf}"] = np.concatenate(three)
  return out | {
    f"{b}.{leaf}": tensors[f"{a}.{leaf}"] for a, b in norms.items() for leaf in ("weight", "bias")
  }
