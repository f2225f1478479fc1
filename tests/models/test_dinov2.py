"""DINOv2's class token is PyTorch's, at the stored size of pictures and at others."""

import json

import jax
import numpy as np
import pytest

from synthjax.runtime.errors import UserError
from synthjax.weights import dinov2

RNG = np.random.default_rng(8)


def saved(torch, folder, **kind):
  from safetensors.torch import save_file
  from transformers import Dinov2Config, Dinov2Model

  torch.manual_seed(0)
  sizes = dict(hidden_size=48, num_hidden_layers=3, num_attention_heads=4, image_size=42, patch_size=7)
  model = Dinov2Model(Dinov2Config(**sizes | kind)).eval()
  with torch.no_grad():
    for value in model.parameters():  # norms and scales too, so that a swap of two shows
      value.copy_(
        torch.randn_like(value) * (0.3 if value.ndim > 1 else 0.2) + (1.0 if value.ndim == 1 else 0.0)
      )
  folder.mkdir(exist_ok=True)
  save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / "model.safetensors")
  model.config.save_pretrained(folder)
  return model


@pytest.mark.parity
@pytest.mark.parametrize("kind", [{}, {"use_swiglu_ffn": True, "qkv_bias": False, "hidden_size": 40}])
def test_the_class_token_equals_pytorchs(torch, tmp_path, kind):
  model = saved(torch, tmp_path, **kind)
  module, variables = dinov2.read_dinov2(tmp_path)
  for size in ((42, 42), (28, 28), (63, 35), (45, 30)):
    x = RNG.normal(size=(2, *size, 3)).astype(np.float32)
    with torch.no_grad():
      theirs = model(torch.tensor(x.transpose(0, 3, 1, 2))).pooler_output.numpy()
    with jax.default_matmul_precision("highest"):
      ours = np.asarray(jax.jit(module.apply)(variables, x))
    assert theirs.std() > 0.5
    assert np.linalg.norm(ours - theirs) / np.linalg.norm(theirs) <= 1e-5, size


@pytest.mark.parity
def test_folders_that_are_something_else_are_refused(torch, tmp_path):
  saved(torch, tmp_path)
  file = tmp_path / "config.json"
  body = json.loads(file.read_text())
  for changed, why in (
    ({"hidden_act": "relu"}, "hidden_act='relu', and only 'gelu' is computed here"),
    ({"num_attention_heads": 5}, "its heads do not divide its width"),
    ({"patch_size": "7"}, "patch_size='7', which is no int"),
    ({"num_hidden_layers": 4}, "missing: encoder.layer.3"),
    ({"num_hidden_layers": 2}, "extra: encoder.layer.2"),
    ({"use_swiglu_ffn": True}, "missing: encoder.layer.0.mlp.weights_in"),
  ):
    file.write_text(json.dumps(body | changed))
    with pytest.raises(UserError, match=why):
      dinov2.read_dinov2(tmp_path)
