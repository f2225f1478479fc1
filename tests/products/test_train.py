"""The small world's networks: trained, exported in the layouts of real checkpoints, and used like them."""

import json
from pathlib import Path

import numpy as np
import pytest
from etils import epath
from safetensors.numpy import load_file

from synthjax import study
from synthjax.labels import spaces
from synthjax.learning import metrics
from synthjax.products.network import Network
from synthjax.runtime.errors import UserError
from synthjax.small_world import world
from synthjax.spec import config as fields_of
from synthjax.spec import validation
from synthjax.spec.command import Command
from synthjax.spec.study import resolve

pytestmark = pytest.mark.slow  # three networks are compiled for four devices: minutes


@pytest.fixture(scope="module", autouse=True)
def shallow():
  """Networks with the fewest layers that have every kind of part: compiling them is what takes the time."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setitem(world.TEXT, "num_hidden_layers", 1)
    patch.setitem(world.CLIP["vision_config"], "num_hidden_layers", 1)
    patch.setitem(world.AUTOENCODER, "down_block_types", ["DownEncoderBlock2D"] * 2)
    patch.setitem(world.AUTOENCODER, "up_block_types", ["UpDecoderBlock2D"] * 2)
    patch.setitem(world.AUTOENCODER, "block_out_channels", [16, 32])
    patch.setitem(world.UNET, "sample_size", 16)
    patch.setitem(
      world.UNET, "down_block_types", ["DownBlock2D"]
    )  # the block in the middle attends to the text
    patch.setitem(world.UNET, "up_block_types", ["UpBlock2D"])
    patch.setitem(world.UNET, "block_out_channels", [64])
    yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Path, object]:
  folder = tmp_path_factory.mktemp("world")
  config = fields_of.study_config(labels="digits")
  short = dict(pictures=60, steps=3, batch=8, warmup=1)
  config.networks.generator = fields_of.network(
    "denoise", autoencoder="vae", text_encoder="clip", ema=0.9, **short
  )
  config.networks.clip = fields_of.network("contrast", styles="familiar", **(short | {"batch": 20}))
  config.networks.vae = fields_of.network("autoencode", **short)
  config.runtime.compile_cache = ""
  run(config, folder)
  return folder, config


def run(config, folder, **kwargs) -> None:
  validation.check(config)
  study.run(Command(config, str(folder), **kwargs))


def test_a_finished_world_is_left_alone_and_growth_goes_on(trained, capsys):
  folder, config = trained
  run(config, folder, plan=True)
  assert "nothing is missing" in capsys.readouterr().out
  config.networks.generator.steps = 5  # nothing is made from it: what is would be refused
  run(config, folder, plan=True)
  assert "networks/generator" in (out := capsys.readouterr().out) and "stale" in out and "3/5" in out
  run(config, folder)
  import etils.epath

  rows = metrics.read(etils.epath.Path(folder / "networks/generator"))
  assert [r["step"] for r in rows] == [3, 5]  # the last step of each run
  assert json.loads((folder / "networks/generator/result.json").read_text()) == {"steps": 5}


def test_a_batch_holds_whole_rows_of_one_look(trained):
  pictures = world.pictures(30, spaces.load("digits"), world.CLIP_STYLES, seed=0, in_rows=True)
  corners = pictures.pixels[:, :3, :3].astype(float).mean((1, 2, 3)).reshape(3, 10)
  assert corners.std(axis=1).max() < 0.5 * corners.mean(axis=1).std()  # one ground a row
  _, config = trained
  config.networks.odd = fields_of.network("contrast", batch=15, pictures=60, steps=1)
  with pytest.raises(UserError, match="batch 15 is not a multiple of the 10 classes"):
    run(config, trained[0])
  del config.networks.odd


def test_a_generator_waits_for_the_autoencoder_that_another_process_trains(trained, tmp_path):
  from etils import epath

  from synthjax.runtime.stopping import Stop

  network = Network(resolve(trained[1]), epath.Path(tmp_path), "generator", spaces.load("digits"))
  assert not network.make(Stop())
  assert not (tmp_path / "networks").exists()  # no record that names an autoencoder which is not there


def test_a_generator_begins_with_the_text_tower_it_is_told_to_and_reads_its_tokens(trained):
  weights = [trained[0] / "networks" / name / "weights" for name in ("clip", "generator")]
  assert (weights[0] / "vocab.json").read_bytes() == (weights[1] / "tokenizer" / "vocab.json").read_bytes()
  clip, text = (
    load_file(weights[0] / "model.safetensors"),
    load_file(weights[1] / "text_encoder/model.safetensors"),
  )
  name = "text_model.embeddings.token_embedding.weight"
  begun, learnt = clip[name].astype(float).ravel(), text[name].astype(float).ravel()
  assert np.corrcoef(begun, learnt)[0, 1] > 0.99  # three steps on from there; two random ones would be at 0


def test_networks_come_after_what_they_are_made_from(trained):
  workdir, config = trained
  assert [*config.networks] == ["generator", "clip", "vae"]
  order = [network.name for network in study.design(config, epath.Path(workdir)).of(Network)]
  assert order[2] == "networks/generator" and len(order) == 3


@pytest.mark.parametrize(
  "fields, said",
  [
    (dict(autoencoder="clip"), "autoencoder 'clip' is none of config.networks of task autoencode"),
    (
      dict(autoencoder="vae", text_encoder="vae"),
      "text_encoder 'vae' is none of config.networks of task contrast",
    ),
    (
      dict(autoencoder="vae", begin_with="generator"),
      "config.networks.generator: it would be made from itself: generator <- generator; change begin_with",
    ),
  ],
)
def test_what_a_generator_cannot_be_made_from_is_told(trained, fields, said):
  folder, config = trained
  before = config.networks.generator.copy_and_resolve_references()
  config.networks.generator.update(dict(text_encoder="") | fields)
  try:
    with pytest.raises(UserError) as e:
      run(config, folder)
    assert said in str(e.value)
  finally:
    config.networks.generator.update(before)


def test_another_identity_is_refused(trained):
  folder, config = trained
  before = config.networks.clip.learning_rate
  config.networks.clip.learning_rate = 0.5
  config.networks.clip.steps = 9
  with pytest.raises(
    UserError, match=r"networks/clip: learning_rate was 0\.001 when it was made and is 0\.5 now"
  ):
    run(config, folder)
  config.networks.clip.learning_rate = before


def test_the_generator_draws(trained, tmp_path):
  folder, _ = trained
  config = fields_of.study_config(labels="digits")
  config.prompts.LE = fields_of.prompt_list("LE", per_class=2, draws=4)
  config.sets.LE = fields_of.image_set(
    "LE", generator=str(folder / "networks/generator/weights"), steps=2, images_per_class=1
  )
  config.runtime.compile_cache = ""
  run(config, tmp_path / "w")
  assert (tmp_path / "w/images/LE/contact_sheet.png").exists()


@pytest.mark.parity
def test_clip_is_a_clip_that_transformers_can_read(torch, trained):
  """Features of the exported folder, by PyTorch's class, equal those of the trained Flax module."""
  import jax
  from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

  from synthjax.learning.contrast import normalise
  from synthjax.models.flax_classes import FlaxCLIPModule
  from synthjax.weights import read

  weights = trained[0] / "networks/clip/weights"
  model = CLIPModel.from_pretrained(weights, dtype=torch.float32).eval()
  pixels = world.pictures(4, spaces.load("digits"), world.CLIP_STYLES, seed=5).pixels
  texts = [
    "a photo of a digit 3",
    "handwritten digit 7, in red on grey paper",
    "digit 0",
    "a scan of a digit 1",
  ]
  ids = CLIPTokenizer.from_pretrained(weights)(
    texts, padding="max_length", max_length=32, return_tensors="np"
  ).input_ids
  x = np.asarray(normalise(pixels))
  with torch.no_grad():
    theirs = model(input_ids=torch.tensor(ids), pixel_values=torch.tensor(x.transpose(0, 3, 1, 2)))
  module = FlaxCLIPModule(CLIPConfig.from_pretrained(weights))
  positions = np.broadcast_to(np.arange(32), ids.shape)
  shapes = jax.eval_shape(lambda k: module.init(k, ids, x, np.ones_like(ids), positions), jax.random.key(0))[
    "params"
  ]
  params = read.read_params(weights, "model", shapes, lambda a: np.asarray(a, np.float32))
  ours = module.apply({"params": params}, ids, x, np.ones_like(ids), positions)
  for name in ("image_embeds", "text_embeds"):
    a, b = np.asarray(ours[name]), theirs[name].numpy()
    assert np.linalg.norm(a - b) / np.linalg.norm(b) <= 1e-4


def test_a_residual_clip_is_written_as_openclip_writes_and_reads_as_it_was_trained(tmp_path, monkeypatch):
  import jax

  from synthjax.encoders.clip import Clip
  from synthjax.encoders.towers import STATISTICS
  from synthjax.products import network as stage
  from synthjax.runtime import devices

  config, ended, trains = fields_of.study_config(labels="digits"), [], stage.train
  config.networks.rn = fields_of.network(
    "contrast", tower="resnet", pictures=60, steps=3, batch=20, warmup=1, learning_rate=1e-2
  )
  config.runtime.compile_cache = ""
  monkeypatch.setattr(
    stage, "train", lambda *args, **kwargs: ended.append(trains(*args, **kwargs)) or ended[0]
  )
  run(config, tmp_path)
  encoder, trained = Clip(tmp_path / "networks/rn/weights"), ended[0].variables
  trained = dict(trained["params"]) | {STATISTICS: trained[STATISTICS]}
  read = encoder.load_params(devices.local_mesh(jax.local_devices()[:1]))
  pixels = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), np.uint8)
  ids = encoder.tokenize(["a photo of a digit 3", "digit 0"]).ids
  for features, given in ((encoder.image_features, pixels), (encoder.text_features, ids)):
    ours, theirs = (np.asarray(jax.jit(features)(p, given)) for p in (read, trained))
    assert np.linalg.norm(ours - theirs) / np.linalg.norm(theirs) < 5e-3  # written in 16 bits
  followed = np.asarray(read[STATISTICS]["visual"]["bn1"]["mean"])
  assert np.abs(followed).max() > 1e-3  # statistics have followed the pictures
