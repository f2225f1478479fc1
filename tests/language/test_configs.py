"""A config that asks for another network than ours is refused, by the name of what it asks."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from etils import epath
from safetensors.numpy import load_file, save_file

from synthjax.language import configs
from synthjax.language import model as language
from synthjax.weights.convert import convert
from tests.conftest import said_of
from tests.language import folders

# As published, but for the sizes.
FLAN = dict(
  architectures=["T5ForConditionalGeneration"], d_ff=96, d_kv=8, d_model=32, decoder_start_token_id=0, dropout_rate=0.1,
  eos_token_id=1, feed_forward_proj="gated-gelu", initializer_factor=1.0, is_encoder_decoder=True,
  layer_norm_epsilon=1e-6, model_type="t5", n_positions=512, num_decoder_layers=3, num_heads=4, num_layers=2,
  output_past=True, pad_token_id=0, relative_attention_max_distance=128, relative_attention_num_buckets=32,
  task_specific_params={"summarization": {"num_beams": 4}}, tie_word_embeddings=False, torch_dtype="float32",
  transformers_version="4.23.1", use_cache=True, vocab_size=300,
)  # fmt: skip
QWEN3 = dict(
  architectures=["Qwen3ForCausalLM"], attention_bias=False, attention_dropout=0.0, bos_token_id=151643, eos_token_id=45,
  head_dim=16, hidden_act="silu", hidden_size=48, initializer_range=0.02, intermediate_size=96,
  max_position_embeddings=40960, max_window_layers=28, model_type="qwen3", num_attention_heads=4, num_hidden_layers=2,
  num_key_value_heads=2, rms_norm_eps=1e-6, rope_scaling=None, rope_theta=1000000, sliding_window=None,
  tie_word_embeddings=True, torch_dtype="bfloat16", transformers_version="4.51.0", use_cache=True,
  use_sliding_window=False, vocab_size=300,
)  # fmt: skip


def read(folder: Path, body, generation=None) -> configs.Checkpoint:
  (folder / "config.json").write_text(json.dumps(body))
  if generation is not None:
    (folder / "generation_config.json").write_text(json.dumps(generation))
  return configs.read_checkpoint(folder, "float32")


def test_published_configs_are_read(tmp_path):
  t5 = read(tmp_path, FLAN)
  assert t5.network.config.gated and not t5.network.config.tied and t5.ends == (1,)
  qwen = read(tmp_path, QWEN3, {"eos_token_id": [45, 43], "temperature": 0.6, "top_k": 20})
  assert qwen.network.config.theta == 1e6 and qwen.ends == (45, 43)
  later = {k: v for k, v in QWEN3.items() if k not in ("rope_theta", "rope_scaling")}
  rope = {"rope_theta": 1e6, "rope_type": "default"}
  assert (
    read(tmp_path, later | {"rope_parameters": rope, "layer_types": ["full_attention"] * 2}).network.config
    == qwen.network.config
  )


@pytest.mark.parity
@pytest.mark.parametrize("body", [FLAN, QWEN3])
def test_configs_that_transformers_writes_are_read(tmp_path, body):
  from transformers import AutoConfig

  own = AutoConfig.for_model(**body)
  first = read(tmp_path, body).network.config
  assert read(tmp_path, own.to_dict()).network.config == first
  own.save_pretrained(tmp_path)
  assert configs.read_checkpoint(tmp_path, "float32").network.config == first


@pytest.mark.parametrize(
  ("body", "change", "said"),
  [
    (FLAN, {"model_type": "mt5"}, "has model_type='mt5'; language models are t5 or qwen3"),
    (FLAN, {"model_type": ["t5"]}, "has model_type=['t5']"),
    (FLAN, {"model_type": None}, "has model_type=None"),
    (QWEN3, {"model_type": "qwen3_moe"}, "has model_type='qwen3_moe'; language models are t5 or qwen3"),
    (
      QWEN3,
      {"architectures": ["Qwen3ForSequenceClassification"]},
      "is the config of 'Qwen3ForSequenceClassification'",
    ),
    (QWEN3, {"auto_map": {"AutoModel": "x.Y"}}, "names custom code (auto_map)"),
    (QWEN3, {"use_sliding_window": True}, "has use_sliding_window=True; only False can be computed"),
    (
      QWEN3,
      {"layer_types": ["full_attention", "sliding_attention"]},
      "has layer_types other than 2 times full_attention",
    ),
    (QWEN3, {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "has rope_scaling={'rope_type': 'yarn'"),
    (QWEN3, {"rope_parameters": {"rope_type": "linear", "factor": 2}}, "has rope_parameters="),
    (QWEN3, {"hidden_act": "gelu"}, "has hidden_act='gelu'; only 'silu'"),
    (
      QWEN3,
      {"quantization_config": {"bits": 4}},
      "has quantization_config={'bits': 4}, which no network of qwen3 has",
    ),
    (QWEN3, {"logit_softcapping": 30.0}, "has logit_softcapping=30.0, which no network of qwen3 has"),
    (QWEN3, {"num_key_value_heads": 3}, "has 4 heads of 16 and 3 of keys"),
    (QWEN3, {"head_dim": 15}, "has 4 heads of 15"),
    (QWEN3, {"rope_theta": 0}, "has rope_theta=0; it must be a number above 0"),
    (QWEN3, {"rms_norm_eps": float("nan")}, "has rms_norm_eps=nan"),
    (
      QWEN3,
      {"num_hidden_layers": 10**9},
      "has num_hidden_layers=1000000000: it must be a whole number from 1 to 200",
    ),
    (QWEN3, {"hidden_size": True}, "has hidden_size=True"),
    (QWEN3, {"vocab_size": "300"}, "has vocab_size='300'"),
    (QWEN3, {"vocab_size": None}, "lacks 'vocab_size'"),
    (QWEN3, {"eos_token_id": 300}, "have eos_token_id=300; it must be a token, below 300"),
    (QWEN3, {"eos_token_id": []}, "have eos_token_id=[]"),
    (QWEN3, {"tie_word_embeddings": "yes"}, "has tie_word_embeddings='yes'"),
    (QWEN3, {"attention_bias": 1}, "has attention_bias=1"),
    (
      FLAN,
      {"feed_forward_proj": "gated-silu"},
      "has feed_forward_proj='gated-silu'; only 'relu' or 'gated-gelu'",
    ),
    (FLAN, {"dense_act_fn": "gelu"}, "has dense_act_fn='gelu'; only 'gelu_new'"),
    (FLAN, {"is_gated_act": False}, "has is_gated_act=False; only True"),
    (FLAN, {"is_encoder_decoder": False}, "has is_encoder_decoder=False"),
    (FLAN, {"decoder_start_token_id": None}, "have decoder_start_token_id=None"),
    (FLAN, {"relative_attention_num_buckets": 3}, "has 3 buckets for distances up to 128"),
    (FLAN, {"relative_attention_max_distance": 16}, "has 32 buckets for distances up to 16"),
    (FLAN, {"scale_decoder_outputs": True}, "has scale_decoder_outputs=True"),
  ],
)
def test_another_network_is_refused(tmp_path, body, change, said):
  assert said in said_of(lambda: read(tmp_path, body | change))


def test_a_folder_that_is_none(tmp_path):
  line = said_of(lambda: language.load(str(tmp_path / "no"), epath.Path(tmp_path)))
  assert "is no folder; give one in transformers' layout, or the hub's org/name" in line
  assert language.to_fetch(str(tmp_path), epath.Path(tmp_path)) == []
  assert "config.json is missing" in said_of(lambda: language.load(str(tmp_path), epath.Path(tmp_path)))


# --- tensors -----------------------------------------------------------------------------------------


def loaded(folder: Path) -> language.LanguageModel:
  return language.load(str(folder), epath.Path(folder.parent))


def rewrite(folder: Path, change) -> None:
  tensors = load_file(folder / "model.safetensors")
  change(tensors)
  save_file(tensors, folder / "model.safetensors")


def test_tensors_that_are_tied_may_stand_twice(tmp_path):
  """As Qwen3-0.6B and the first T5 have them; a copy that differs would be lost in silence."""
  qwen, t5 = folders.qwen3(tmp_path / "q", tie_word_embeddings=True), folders.t5(tmp_path / "t")
  rewrite(qwen, lambda x: x.update({"lm_head.weight": x["model.embed_tokens.weight"].copy()}))
  unread = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
  rewrite(
    t5,
    lambda x: x.update(
      {"encoder.embed_tokens.weight": x["shared.weight"].copy(), unread: x["shared.weight"] + 1}
    ),
  )
  for folder in (qwen, t5):
    loaded(folder).read_params()
  rewrite(qwen, lambda x: x["lm_head.weight"].__setitem__((3, 4), 0.5))
  said = said_of(lambda: loaded(qwen).read_params())
  assert (
    "lm_head.weight of" in said
    and "differs from model.embed_tokens.weight, though config.json has them tied" in said
  )


@pytest.mark.parametrize(
  ("change", "said"),
  [
    (lambda x: x.pop("model.norm.weight"), "1 missing: model.norm.weight"),
    (lambda x: x.update({"lm_head.bias": x["model.norm.weight"]}), "1 extra: lm_head.bias"),
    (
      lambda x: x.update({"model.norm.weight": x["model.norm.weight"][:9]}),
      "1 wrong-shaped: model.norm.weight is (9,), not (64,)",
    ),
    (lambda x: x["model.norm.weight"].__setitem__(0, float("nan")), "model.norm.weight of"),
  ],
)
def test_tensors_that_do_not_fit(tmp_path, change, said):
  folder = folders.qwen3(tmp_path / "q")
  rewrite(folder, change)
  assert said in said_of(lambda: loaded(folder).read_params())


@pytest.mark.parity
def test_what_pytorch_wrote(torch, tmp_path):
  """The converter's folder has the tokenizer too, and tensors that shared memory."""
  folder, made = folders.t5(tmp_path / "t5"), tmp_path / "converted"
  want = loaded(folder).read_params()
  tensors = {name: torch.tensor(x) for name, x in load_file(folder / "model.safetensors").items()}
  tensors |= {f"{name}.embed_tokens.weight": tensors["shared.weight"] for name in ("encoder", "decoder")}
  torch.save(tensors | {"lm_head.weight": tensors["shared.weight"]}, folder / "pytorch_model.bin")
  (folder / "model.safetensors").unlink()
  (folder / "spiece.model").write_bytes(b"pieces")
  assert "pytorch_model.bin, a pickle" in said_of(lambda: loaded(folder).read_params())
  convert(folder, made)
  assert jax.tree.all(jax.tree.map(np.array_equal, loaded(made).read_params(), want))
  assert (made / "spiece.model").read_bytes() == b"pieces"


def test_parts_and_an_index(tmp_path):
  folder = folders.qwen3(tmp_path / "q")
  whole = loaded(folder)
  first, digest = whole.read_params(), whole.digest()
  tensors = load_file(folder / "model.safetensors")
  (folder / "model.safetensors").unlink()
  where = {name: f"model-0000{i % 2 + 1}-of-00002.safetensors" for i, name in enumerate(tensors)}
  for part in set(where.values()):
    save_file({name: x for name, x in tensors.items() if where[name] == part}, folder / part)
  (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
  again = loaded(folder)
  assert jax.tree.all(jax.tree.map(np.array_equal, again.read_params(), first)) and again.digest() != digest


def test_files_that_change_meanwhile(tmp_path):
  folder = folders.qwen3(tmp_path / "q")
  own = loaded(folder)
  rewrite(folder, lambda x: x.update({"model.norm.weight": x["model.norm.weight"] * 2}))
  assert "were changed while this command ran" in said_of(lambda: own.read_params())
