"""The JSON of a downloaded folder may ask for anything: a network that is built, or one line. Never a traceback or a hang."""

import json
import shutil

import pytest

from synthjax.encoders.clip import Clip
from synthjax.generators.stable_diffusion import StableDiffusion
from synthjax.small_world import weights as embedded
from tests.conftest import said_of

LONG = 10**40


def _spoil(folder, file, change):
  path = folder / file
  path.write_text(json.dumps((json.loads(path.read_text()) if path.exists() else {}) | change))


@pytest.mark.parametrize(
  ("file", "change", "said"),
  [
    (
      "unet",
      {"layers_per_block": [1, 1]},
      "layers_per_block=[1, 1]: it must be a whole number from 1 to 100 for all",
    ),
    ("unet", {"layers_per_block": 0}, "layers_per_block=0"),
    ("unet", {"transformer_layers_per_block": 10**9}, "transformer_layers_per_block=1000000000"),
    ("unet", {"attention_head_dim": "2"}, "attention_head_dim='2'"),
    ("unet", {"attention_head_dim": [2]}, "it must be a count, or a list of 2, as block_out_channels is"),
    ("unet", {"block_out_channels": []}, "block_out_channels=[]"),
    ("unet", {"block_out_channels": LONG}, "it must be a list of a count for each block"),
    ("unet", {"down_block_types": 0}, "it must be a list of 2 names of blocks"),
    ("unet", {"sample_size": "8"}, "sample_size='8'"),
    ("unet", {"sample_size": LONG}, "sample_size=1000"),
    ("vae", {"norm_num_groups": 7}, "no network can be built as the configs of"),
    ("vae", {"out_channels": 2.5}, "out_channels=2.5"),
    ("text_encoder", {"num_hidden_layers": 10**9}, "num_hidden_layers=1000000000"),
    ("text_encoder", {"num_attention_heads": 3}, "no network can be built as the configs of"),
    ("text_encoder", {"hidden_act": 3}, "no network can be built as the configs of"),
    ("text_encoder", {"eos_token_id": "end"}, "eos_token_id='end'"),
  ],
)
def test_a_generators_config(tmp_path, weights, file, change, said):
  shutil.copytree(weights, tmp_path / "w")
  _spoil(tmp_path / "w", f"{file}/config.json", change)
  assert said in said_of(lambda: StableDiffusion(tmp_path / "w").param_shapes())


@pytest.mark.parametrize(
  ("part", "change", "said"),
  [
    ("vision_config", {"image_size": 10**8}, "image_size=100000000 is no count from 1 to 8192"),
    ("text_config", {"max_position_embeddings": LONG}, "is no count from 1 to 100000"),
    ("text_config", {"num_hidden_layers": 10**9}, "is no count from 1 to 200"),
    ("text_config", {"eos_token_id": "end"}, "no network can be built as the configs of"),
  ],
)
def test_an_encoders_config(tmp_path, part, change, said):
  shutil.copytree(embedded.folder("embedded:clip"), tmp_path / "w")
  file = tmp_path / "w" / "config.json"
  body = json.loads(file.read_text())
  body[part] |= change
  file.write_text(json.dumps(body))
  assert said in said_of(lambda: Clip(tmp_path / "w").param_shapes())


@pytest.mark.parametrize(
  ("file", "change"),
  [
    ("tokenizer_config.json", {"model_max_length": "77"}),
    ("tokenizer_config.json", {"model_max_length": [77]}),
    ("tokenizer_config.json", {"pad_token": 3}),
  ],
)
def test_a_tokenizers_config(tmp_path, weights, file, change):
  shutil.copytree(weights, tmp_path / "w")
  _spoil(tmp_path / "w" / "tokenizer", file, change)
  said = said_of(lambda: StableDiffusion(tmp_path / "w").tokenize(["a photo"]))
  assert "tokenizer is not readable" in said


@pytest.mark.parametrize(
  "change", [{"num_train_timesteps": 10**9}, {"trained_betas": [10**400]}, {"beta_end": 10**400}]
)
def test_a_schedulers_config(tmp_path, weights, change):
  shutil.copytree(weights, tmp_path / "w")
  _spoil(tmp_path / "w", "scheduler/scheduler_config.json", change)
  assert f"scheduler_config.json has {next(iter(change))}=" in said_of(
    lambda: StableDiffusion(tmp_path / "w")
  )
