"""Which layout a folder has, and what its config asks for."""

import json

import jax
import numpy as np
import pytest
from PIL import Image

from synthjax.encoders.clip import Clip
from synthjax.encoders.layouts import OPENCLIP, TRANSFORMERS, read_folder
from synthjax.encoders.preprocess import FILE, Preprocess
from synthjax.models.clip_resnet import ResNetConfig
from synthjax.models.pixels import MEAN, STD
from synthjax.runtime.errors import UserError
from synthjax.weights import names, openclip, tokenizer


def body(**model) -> dict:
  vision = dict(image_size=32, layers=2, width=64, head_width=16, patch_size=8)
  text = dict(context_length=40, vocab_size=600, width=32, heads=2, layers=1)
  return dict(model_cfg=dict(embed_dim=24, vision_cfg=vision, text_cfg=text) | model)


def write(folder, content) -> None:
  folder.mkdir(exist_ok=True)
  (folder / OPENCLIP).write_text(json.dumps(content))


def read(folder, content=None):
  write(folder, body() if content is None else content)
  return read_folder(folder)


# --- what is computed --------------------------------------------------------------------------------


def test_a_transformer_of_patches(tmp_path):
  content = body(quick_gelu=True)
  content["model_cfg"]["vision_cfg"]["mlp_ratio"] = 4.3637
  found = read(tmp_path, content)
  vision, text = found.architecture.vision, found.architecture.text
  assert (vision.num_attention_heads, vision.intermediate_size, vision.hidden_act) == (4, 279, "quick_gelu")
  assert (text.intermediate_size, text.max_position_embeddings, text.hidden_act) == (128, 40, "quick_gelu")
  assert found.architecture.width == 24
  assert found.preprocess == Preprocess(32, 32, True, 3, MEAN, STD, torchvision=True)


def test_gelu_unless_the_config_says_otherwise(tmp_path):
  assert {read(tmp_path).architecture.text.hidden_act} == {"gelu"}
  assert read(tmp_path, body(quick_gelu=False)).architecture.vision.hidden_act == "gelu"


def test_a_residual_tower(tmp_path):
  layers = dict(image_size=288, layers=[4, 6, 10, 6], width=80, patch_size=None)
  vision = read(tmp_path, body(vision_cfg=layers)).architecture.vision
  assert vision == ResNetConfig((4, 6, 10, 6), 80, 288) and vision.heads == 40


def test_what_later_versions_write_out_changes_nothing(tmp_path):
  content = body(init_logit_bias=None, custom_text=False)
  content["model_cfg"]["vision_cfg"] |= dict(
    ls_init_value=None, patch_dropout=0.5, attentional_pool=False, attn_pooler_queries=256, pool_type="tok"
  )
  content["model_cfg"]["text_cfg"] |= dict(pool_type="argmax", pad_id=0, proj_type="linear", act_kwargs={})
  content["model_cfg"]["text_cfg"] |= dict(tokenizer_kwargs=dict(clean="lower"))
  assert read(tmp_path, content).architecture.width == 24


def test_preprocessing_by_the_config(tmp_path):
  own = dict(mean=[0.5, 0.4, 0.3], std=[0.5, 0.25, 0.125], interpolation="bilinear", resize_mode="squash")
  view = read(tmp_path, body() | dict(preprocess_cfg=own | dict(size=[99, 99]))).preprocess
  assert view == Preprocess(32, (32, 32), False, 2, (0.5, 0.4, 0.3), (0.5, 0.25, 0.125), torchvision=True)
  assert view.pixels(Image.new("RGB", (50, 20))).shape == (32, 32, 3)


@pytest.mark.parametrize("stem", ["open_clip_model", "open_clip_pytorch_model"])
def test_either_name_of_the_weights(tmp_path, stem):
  write(tmp_path, body())
  (tmp_path / f"{stem}.safetensors").touch()
  assert (found := read_folder(tmp_path)).stem == stem and found.layout is openclip


def test_a_folder_of_both_layouts(tmp_path):
  """As LAION's and timm's are: the config.json of another library is passed over, and that without its weights."""
  write(tmp_path, body())
  (tmp_path / "open_clip_model.safetensors").touch()
  (tmp_path / TRANSFORMERS).write_text(json.dumps(dict(architecture="vit_base_patch16_clip_224")))
  (tmp_path / "model.safetensors").touch()
  assert read_folder(tmp_path).layout is openclip
  small = dict(hidden_size=48, num_attention_heads=4, intermediate_size=96)
  clip = dict(model_type="clip", text_config=small, vision_config=small | dict(image_size=32, patch_size=8))
  (tmp_path / TRANSFORMERS).write_text(json.dumps(clip))
  (tmp_path / FILE).write_text(json.dumps(dict(size=32, crop_size=32)))
  assert read_folder(tmp_path).layout is names
  (tmp_path / "model.safetensors").unlink()
  assert read_folder(tmp_path).layout is openclip


def test_texts_end_where_the_network_reads(tmp_path):
  size = tokenizer.write(tmp_path)
  text = dict(context_length=40, vocab_size=size, width=32, heads=2, layers=1)
  write(tmp_path, body(text_cfg=text))
  encoder = Clip(tmp_path)
  assert (encoder.tokenize(["a", ""]).ids.argmax(1) == [2, 1]).all()
  write(tmp_path, body(text_cfg=text | dict(vocab_size=100)))
  with pytest.raises(UserError, match=f"its {OPENCLIP} 100"):
    Clip(tmp_path).tokenize(["a"])


def test_every_parameter_has_a_name_of_its_own(tmp_path):
  """But for query, key and value, which share one."""
  write(tmp_path, body())
  flat = jax.tree_util.tree_leaves_with_path(Clip(tmp_path).param_shapes())
  found = [openclip.torch_names(tuple(k.key for k in path))[0] for path, _ in flat]
  packed = [name for name in found if "in_proj" in name]
  assert len(packed) == 3 * len(set(packed)) == 3 * 2 * 3
  rest = [name for name in found if "in_proj" not in name]
  assert len(rest) == len(set(rest))


def test_query_key_and_value_are_cut_from_one_tensor():
  path = ("text_model", "encoder", "layers", "3", "self_attn", "k_proj", "kernel")
  packed = np.arange(3 * 4 * 4).reshape(12, 4)
  assert openclip.torch_names(path) == ["transformer.resblocks.3.attn.in_proj_weight"]
  assert openclip.torch_shape(path, (4, 4)) == (12, 4)
  np.testing.assert_array_equal(openclip.to_flax(path, packed), packed[4:8].T)
  bias = (*path[:-1], "bias")
  assert openclip.torch_shape(bias, (4,)) == (12,)
  np.testing.assert_array_equal(openclip.to_flax(bias, packed[:, 0]), packed[4:8, 0])


# --- what is refused ---------------------------------------------------------------------------------


def _model(**change):
  return lambda b: b["model_cfg"].update(change)


def _vision(**change):
  return lambda b: b["model_cfg"]["vision_cfg"].update(change)


def _text(**change):
  return lambda b: b["model_cfg"]["text_cfg"].update(change)


@pytest.mark.parametrize(
  ("change", "said"),
  [
    (lambda b: b.pop("model_cfg"), "lacks 'model_cfg'"),
    (lambda b: b["model_cfg"].pop("text_cfg"), "lacks 'text_cfg'"),
    (_vision(timm_model_name="vit_large"), "has an image tower of timm ('vit_large')"),
    (_model(multimodal_cfg=dict(layers=12)), "model_cfg: multimodal_cfg={'layers': 12} is not computed here"),
    (_model(custom_text=True), "custom_text=True"),
    (_model(init_logit_bias=-10), "init_logit_bias=-10"),
    (_model(embed_dim="512"), "embed_dim='512' is no count"),
    (_vision(pool_type="avg"), "vision_cfg: pool_type='avg'"),
    (_vision(attentional_pool=True), "attentional_pool=True"),
    (_vision(ls_init_value=1e-5), "ls_init_value=1e-05"),
    (_vision(output_tokens=True), "output_tokens=True"),
    (_vision(no_ln_pre=True), "no_ln_pre=True"),
    (_vision(some_future_thing="on"), "some_future_thing='on'"),
    (_vision(patch_size=7), "vision_cfg: image_size 32 is no multiple of patch_size 7"),
    (_vision(head_width=60), "width 64 is no multiple of head_width 60"),
    (_vision(image_size=[32, 48]), "image_size=[32, 48] is no count"),
    (_vision(mlp_ratio="4"), "mlp_ratio='4' is no number"),
    (_vision(layers=[3, 4, 6]), "layers=[3, 4, 6]; a ResNet has four counts"),
    (_vision(layers=[3, 4, 6, 3], image_size=100), "image_size 100 is no multiple of stride 32"),
    (_text(hf_model_name="roberta-base"), "text_cfg: hf_model_name='roberta-base'"),
    (_text(hf_tokenizer_name="bert-base-uncased"), "hf_tokenizer_name='bert-base-uncased'"),
    (_text(pool_type="last"), "text_cfg: pool_type='last'"),
    (_text(tokenizer_kwargs=dict(clean="canonicalize")), "tokenizer_kwargs={'clean': 'canonicalize'} is not"),
    (_text(heads=5), "text_cfg: width 32 is no multiple of heads 5"),
    (lambda b: b.update(preprocess_cfg=dict(resize_mode="longest")), "resize_mode='longest'"),
    (
      lambda b: b.update(preprocess_cfg=dict(interpolation="cubic")),
      "interpolation='cubic' (did you mean 'bicubic'?)",
    ),
    (lambda b: b.update(preprocess_cfg=dict(std=[1, 1, 0])), "std=[1, 1, 0]; expected three numbers"),
  ],
)
def test_a_config_that_is_not_ours_to_encode_with(tmp_path, change, said):
  content = body()
  change(content)
  with pytest.raises(UserError) as e:
    read(tmp_path, content)
  assert said in str(e.value) and OPENCLIP in str(e.value) and "\n" not in str(e.value), str(e.value)


def test_neither_layout(tmp_path):
  with pytest.raises(
    UserError, match=r"config.json is missing; the folder must have transformers' layout, or OpenCLIP's"
  ):
    Clip(tmp_path)
