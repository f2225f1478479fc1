"""OpenAI's TorchScript archives: the same tensors as PyTorch's, and nothing that a file holds is run."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from synthjax.weights import archive, openai_clip
from synthjax.weights.convert import convert

pytestmark = pytest.mark.parity


def clip(torch, vision):
  """A module with the published names; what it computes is of no matter here."""
  from torch import nn

  def bag(**own):
    module = nn.Module()
    for name, value in own.items():
      setattr(module, name, nn.Parameter(value) if isinstance(value, torch.Tensor) else value)
    return module

  def blocks(n, width):
    def block():
      mlp = bag(c_fc=nn.Linear(width, 4 * width), c_proj=nn.Linear(4 * width, width))
      attention = nn.MultiheadAttention(width, width // 64)
      return bag(attn=attention, ln_1=nn.LayerNorm(width), mlp=mlp, ln_2=nn.LayerNorm(width))

    return bag(resblocks=nn.Sequential(*[block() for _ in range(n)]))

  def bottleneck(width):
    convs = {f"conv{i}": nn.Conv2d(width, width, 1, bias=False) for i in (1, 2, 3)}
    return bag(**convs, **{f"bn{i}": nn.BatchNorm2d(width) for i in (1, 2, 3)})

  width = 128
  if vision == "vit":
    visual = bag(
      conv1=nn.Conv2d(3, width, 8, bias=False),
      class_embedding=torch.randn(width),
      positional_embedding=torch.randn(17, width),
      ln_pre=nn.LayerNorm(width),
      transformer=blocks(2, width),
      ln_post=nn.LayerNorm(width),
      proj=torch.randn(width, 48),
    )
  else:
    pool = bag(positional_embedding=torch.randn(5, 64), q_proj=nn.Linear(64, 64))
    stages = {
      f"layer{i + 1}": nn.Sequential(*[bottleneck(8) for _ in range(n)]) for i, n in enumerate((1, 2, 1, 3))
    }
    visual = bag(conv1=nn.Conv2d(3, 4, 3, bias=False), bn1=nn.BatchNorm2d(4), **stages, attnpool=pool)

  class Clip(nn.Module):
    def __init__(self):
      super().__init__()
      self.visual, self.transformer = visual, blocks(3, 64)
      self.token_embedding, self.ln_final = nn.Embedding(600, 64), nn.LayerNorm(64)
      self.positional_embedding = nn.Parameter(torch.randn(7, 64))
      self.text_projection = nn.Parameter(torch.randn(64, 48))
      self.logit_scale = nn.Parameter(torch.tensor(4.6))
      self.register_buffer("input_resolution", torch.tensor(32))
      self.register_buffer("context_length", torch.tensor(7))
      self.register_buffer("vocab_size", torch.tensor(600))

    def forward(self, x):
      return self.logit_scale * x

  return Clip().eval()


@pytest.mark.parametrize("vision", ["vit", "resnet"])
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_an_archive_of_openais(torch, tmp_path, words, vision):
  model = clip(torch, vision).half()
  model.ln_final.float()  # as published: norms in 32 bits beside the rest in 16
  torch.jit.trace(model, torch.ones(2).half(), check_trace=False).save(str(tmp_path / "clip.pt"))
  convert(tmp_path / "clip.pt", tmp_path / "out", words)
  found = load_file(tmp_path / "out/open_clip_model.safetensors")
  facts = ("input_resolution", "context_length", "vocab_size")
  reference = {n: t.numpy() for n, t in model.state_dict().items() if n not in facts}
  assert found.keys() == reference.keys()
  for name, tensor in reference.items():
    assert found[name].dtype == tensor.dtype
    np.testing.assert_array_equal(found[name], tensor, err_msg=name)
  body = json.loads((tmp_path / "out/open_clip_config.json").read_text())
  towers = {
    "vit": {"image_size": 32, "layers": 2, "width": 128, "patch_size": 8},
    "resnet": {"image_size": 64, "layers": [1, 2, 1, 3], "width": 8, "patch_size": None},
  }
  text = {"context_length": 7, "vocab_size": 600, "width": 64, "heads": 1, "layers": 3}
  assert body["model_cfg"] == {
    "embed_dim": 48,
    "quick_gelu": True,
    "vision_cfg": towers[vision],
    "text_cfg": text,
  }
  assert body["preprocess_cfg"] == openai_clip.PREPROCESSING
  assert (tmp_path / "out/merges.txt").exists()


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_views_and_every_dtype_of_an_archive(torch, tmp_path):
  class Views(torch.nn.Module):
    def __init__(self):
      super().__init__()
      base = torch.arange(24.0).reshape(4, 6)
      self.register_buffer("turned", base.T)
      self.register_buffer("cut", base[1:3, ::2])
      self.register_buffer("empty", torch.zeros(0, 3))
      for dtype in (torch.float64, torch.float16, torch.int64, torch.uint8, torch.bool):
        self.register_buffer(str(dtype)[6:], base.to(dtype))

    def forward(self, x):
      return x

  module = Views()
  torch.jit.script(module).save(str(tmp_path / "v.pt"))
  found = archive.read_archive(tmp_path / "v.pt")
  for name, tensor in module.state_dict().items():
    np.testing.assert_array_equal(found[name], tensor.numpy())
    assert found[name].dtype == tensor.numpy().dtype
