"""ResNets and ViTs compute what transformers' PyTorch classes do on the same weights, read from their files."""

import re

import jax
import numpy as np
import pytest

from synthjax.models import networks
from synthjax.runtime.errors import UserError
from synthjax.weights import image_networks

X = np.random.default_rng(0).standard_normal((16, 64, 64, 3)).astype(np.float32)


def resnet(torch, depths, kind="bottleneck"):
  from transformers import ResNetConfig, ResNetForImageClassification

  sizes = [256, 512, 1024, 2048] if kind == "bottleneck" else [64, 128, 256, 512]
  return ResNetForImageClassification(
    ResNetConfig(depths=depths, hidden_sizes=sizes, layer_type=kind, num_labels=7)
  )


def vit(torch, width=384, heads=6):
  from transformers import ViTConfig, ViTForImageClassification

  config = ViTConfig(
    hidden_size=width, intermediate_size=4 * width, num_attention_heads=heads, image_size=64, num_labels=7, layer_norm_eps=1e-6,
    hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
  )  # fmt: skip
  return ViTForImageClassification(config)


MODELS = {
  "resnet50": lambda torch: resnet(torch, [3, 4, 6, 3]),
  "resnet18": lambda torch: resnet(torch, [2, 2, 2, 2], "basic"),
  "vit-s16": vit,
  "vit-b16": lambda torch: vit(torch, 768, 12),
}


def randomised(torch, model):
  """Norms too, so that a swap of two of them shows."""
  torch.manual_seed(0)
  with torch.no_grad():
    for name, value in model.state_dict().items():
      if name.endswith(("running_mean", "bias")):
        value.copy_(0.1 * torch.randn_like(value))
      elif value.ndim == 1 and value.dtype.is_floating_point:
        value.copy_(1 + 0.2 * torch.rand_like(value))
  return model


def saved(folder, tensors):
  from safetensors.torch import save_file

  folder.mkdir(exist_ok=True)
  save_file({k: v.detach().contiguous().clone() for k, v in tensors.items()}, folder / "model.safetensors")
  return folder


def ours(name, classes, x=X):
  module = networks.build(name, classes)
  return module, jax.eval_shape(lambda k: module.init(k, x), jax.random.key(0))


def as_timm(torch, tensors):
  """transformers' names to timm's, by rules written for this test alone."""
  found, qkv = {}, {}
  for name, value in tensors.items():
    if match := re.search(r"layer\.(\d+)\.attention\.attention\.(query|key|value)\.(\w+)", name):
      qkv.setdefault((match[1], match[3]), {})[match[2]] = value
      continue
    for pattern, new in (
      (r"vit\.embeddings\.cls_token", "cls_token"),
      (r"vit\.embeddings\.position_embeddings", "pos_embed"),
      (r"vit\.embeddings\.patch_embeddings\.projection", "patch_embed.proj"),
      (r"vit\.encoder\.layer\.(\d+)\.attention\.output\.dense", r"blocks.\1.attn.proj"),
      (r"vit\.encoder\.layer\.(\d+)\.intermediate\.dense", r"blocks.\1.mlp.fc1"),
      (r"vit\.encoder\.layer\.(\d+)\.output\.dense", r"blocks.\1.mlp.fc2"),
      (r"vit\.encoder\.layer\.(\d+)\.layernorm_before", r"blocks.\1.norm1"),
      (r"vit\.encoder\.layer\.(\d+)\.layernorm_after", r"blocks.\1.norm2"),
      (r"vit\.layernorm", "norm"),
      (r"^classifier\.1\.", "fc."),
      (r"^classifier\.", "head."),
      (r"resnet\.embedder\.embedder\.convolution", "conv1"),
      (r"resnet\.embedder\.embedder\.normalization", "bn1"),
    ):
      name = re.sub(pattern, new, name)
    if match := re.fullmatch(r"resnet\.encoder\.stages\.(\d)\.layers\.(\d+)\.(.*)", name):
      rest = re.sub(r"layer\.(\d)\.convolution", lambda m: f"conv{int(m[1]) + 1}", match[3])
      rest = re.sub(r"layer\.(\d)\.normalization", lambda m: f"bn{int(m[1]) + 1}", rest)
      rest = rest.replace("shortcut.convolution", "downsample.0").replace(
        "shortcut.normalization", "downsample.1"
      )
      name = f"layer{int(match[1]) + 1}.{match[2]}.{rest}"
    found[name] = value
  for (layer, leaf), parts in qkv.items():
    found[f"blocks.{layer}.attn.qkv.{leaf}"] = torch.cat([parts[n] for n in ("query", "key", "value")])
  return found


@pytest.mark.parity
@pytest.mark.parametrize("name", list(MODELS))
def test_both_modes_on_the_same_weights(torch, tmp_path, name):
  """In float64 there: with a batch's own statistics 50 random layers magnify what PyTorch rounds in float32 to 1.4e-4."""
  model = randomised(torch, MODELS[name](torch))
  folders = [saved(tmp_path / "transformers", model.state_dict())]
  folders.append(saved(tmp_path / "timm", as_timm(torch, model.state_dict())))
  module, shapes = ours(name, 7)
  x = torch.tensor(X.transpose(0, 3, 1, 2)).double()
  read = [image_networks.read_torch(folder, shapes) for folder in folders]
  jax.tree.map(np.testing.assert_array_equal, *read)
  with torch.no_grad():
    model = model.double()
    tested, trained = model.eval()(x).logits.numpy(), model.train()(x).logits.numpy()
  with jax.default_matmul_precision("highest"):
    assert error(module.apply(read[0], X, False), tested) <= 1e-4
    logits, updates = module.apply(read[0], X, True, mutable=["batch_stats"])
  assert error(logits, trained) <= 1e-4
  if "resnet" in name:
    after = saved(tmp_path / "after", model.float().state_dict())
    new = image_networks.read_torch(after, shapes)["batch_stats"]
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), dict(updates)["batch_stats"], new
    )


def error(ours, theirs):
  return np.linalg.norm(np.asarray(ours) - theirs) / np.linalg.norm(theirs)


@pytest.mark.parity
def test_other_classes_and_another_resolution(torch, tmp_path):
  folder = saved(tmp_path / "w", MODELS["vit-s16"](torch).state_dict())
  small = np.zeros((1, 32, 32, 3), np.float32)
  module = networks.build("vit-s16", 5)
  fresh = module.init(jax.random.key(0), small)
  variables = image_networks.read_torch(folder, fresh)
  assert variables["params"]["pos_embed"].shape == (1, 5, 384)
  np.testing.assert_array_equal(variables["params"]["head"]["kernel"], fresh["params"]["head"]["kernel"])
  assert module.apply(variables, small).shape == (1, 5)


@pytest.mark.parity
def test_a_tensor_that_belongs_to_nothing_is_told(torch, tmp_path):
  tensors = dict(resnet(torch, [2, 2, 2, 2], "basic").state_dict())
  tensors["resnet.extra.weight"] = torch.zeros(3)
  folder = saved(tmp_path / "w", tensors)
  with pytest.raises(UserError, match=r"1 extra: resnet\.extra\.weight"):
    image_networks.read_torch(folder, ours("resnet18", 7)[1])


@pytest.mark.parametrize(("name", "spread"), [("vit-ti16", 0.02), ("vit-mini", 0.1)])
def test_where_a_vit_begins(name, spread):
  """DeiT's sizes at DeiT's spread; the small one where the class token already tells images apart."""
  module = networks.build(name, 10)
  x = jax.random.normal(jax.random.key(1), (64, 16, 16, 3))
  variables = module.init(jax.random.key(0), x)
  block = variables["params"]["blocks_0"]
  assert abs(np.std(block["fc1"]["kernel"]) / spread - 1) < 0.05
  if name == "vit-mini":
    tokens = module.apply(variables, x, features=True)
    assert np.std(tokens, axis=0).mean() > 0.5  # of 1; at 0.02 it is 0.36
