"""How the small world's own networks are trained: their task, their batches, and how what is learnt is written as weights.

contrast     a CLIP            config.json, model.safetensors, vocab.json, merges.txt, preprocessor_config.json
             tower=resnet      open_clip_config.json, open_clip_model.safetensors, vocab.json, merges.txt
autoencode   an autoencoder    config.json, diffusion_pytorch_model.safetensors
denoise      a generator       text_encoder/ unet/ vae/ tokenizer/ scheduler/, over an autoencoder
"""

from __future__ import annotations

import dataclasses
import functools
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from synthjax.data.order import indices
from synthjax.encoders import layouts
from synthjax.encoders.clip import Clip
from synthjax.encoders.preprocess import Preprocess
from synthjax.encoders.towers import STATISTICS, Towers
from synthjax.generators.schedule import read_schedule
from synthjax.labels.spaces import LabelSpace
from synthjax.learning import contrast
from synthjax.learning.autoencode import Autoencode
from synthjax.learning.denoise import Denoise
from synthjax.learning.loop import BatchAt
from synthjax.learning.optimizer import Recipe
from synthjax.learning.step import State, Task
from synthjax.models.flax_classes import (
  CLIPConfig,
  CLIPTextConfig,
  FlaxCLIPTextModule,
  FlaxUNet2DConditionModel,
)
from synthjax.runtime import devices
from synthjax.runtime.errors import UserError
from synthjax.small_world import world
from synthjax.spec import fields as fields_of
from synthjax.weights import openclip, read, tokenizer
from synthjax.weights.write import write_params

Array = np.ndarray
Export = Callable[[State, Path], None]  # writes what is learnt to a folder, in the layout of real checkpoints
Parts = tuple[Task, BatchAt, Export]


@dataclasses.dataclass(frozen=True)
class SmallNetwork:
  """One that is to be trained, and what it is made from."""

  name: str
  fields: fields_of.Network
  labels: LabelSpace
  others: Mapping[str, Path]  # weights of other networks, by the fields that name them
  tokenizer: Path  # a folder for its files while it is trained

  def pictures(self, in_rows: bool = False) -> world.Pictures:
    fields = self.fields
    styles = world.CLIP_STYLES if fields.styles == "familiar" else world.ALL_STYLES
    return world.pictures(fields.pictures, self.labels, styles, fields.seed, in_rows)

  def batches(self, columns: Mapping[str, Array], row: int = 1) -> BatchAt:
    """Batches of whole rows: of `row` examples that follow each other."""
    fields, rows = self.fields, len(next(iter(columns.values()))) // row
    if fields.batch % row:
      raise UserError(
        f"{self.name}: batch {fields.batch} is not a multiple of the {row} classes, whose pictures share a look"
      )

    def batch_at(step: int) -> dict[str, Array]:
      first = indices(step, fields.batch // row, rows, fields.seed) * row
      chosen = (first[:, None] + np.arange(row)).ravel()
      return {k: v[chosen] for k, v in columns.items()}

    return batch_at

  def write_tokenizer(self, folder: Path) -> int:
    """That of the network whose text tower it begins with, or one of the world's words; the number of its tokens."""
    of = self.others.get("text_encoder")
    if of is None:
      return tokenizer.write(folder, world.words(self.labels))
    of = of / "tokenizer" if (of / "tokenizer").is_dir() else of
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("vocab.json", "merges.txt"):
      shutil.copyfile(of / name, folder / name)
    return len(read.read_json(folder / "vocab.json"))

  def reader(self) -> tuple[Callable[[list[str]], Array], dict[str, int]]:
    """(captions -> ids, what a text config says of the vocabulary)."""
    size = self.write_tokenizer(self.tokenizer)
    words = tokenizer.read(self.tokenizer, "transformers")

    def to_ids(texts: list[str]) -> Array:
      return tokenizer.tokenize(words, texts, world.MAX_TOKENS).ids

    return to_ids, dict(vocab_size=size, bos_token_id=size - 2, eos_token_id=size - 1, pad_token_id=size - 1)


def build(network: SmallNetwork) -> Parts:
  return _TASKS[network.fields.task](network)


def recipe(fields: fields_of.Network) -> Recipe:
  return Recipe(
    steps=fields.steps,
    learning_rate=fields.learning_rate,
    warmup=fields.warmup,
    weight_decay=fields.weight_decay,
    ema=fields.ema,
    seed=fields.seed,
  )


def _contrast(network: SmallNetwork) -> Parts:
  pictures = network.pictures(in_rows=True)
  to_ids, vocabulary = network.reader()
  numbers = {text: i for i, text in enumerate(dict.fromkeys(pictures.captions))}
  batch_at = network.batches(
    {
      "pixels": pictures.pixels,
      "ids": to_ids(pictures.captions),
      "caption": np.array([numbers[text] for text in pictures.captions], np.int32),
    },
    row=len(network.labels),
  )
  if network.fields.tower == "resnet":
    return _residual(network, vocabulary["vocab_size"], batch_at)
  shape: dict[str, Any] = world.CLIP | {"text_config": world.TEXT | vocabulary}
  config = CLIPConfig(**shape)

  def export(state: State, folder: Path) -> None:
    write_params(folder / "model.safetensors", _learnt(state), "float16")
    _write_json(folder / "config.json", config.to_dict())
    side = world.CLIP["vision_config"]["image_size"]
    preprocessing = dict(size={"shortest_edge": side}, crop_size={"height": side, "width": side}, resample=3)
    _write_json(
      folder / "preprocessor_config.json",
      preprocessing | dict(image_mean=contrast.MEAN, image_std=contrast.STD),
    )
    network.write_tokenizer(folder)

  return contrast.Contrast(config), batch_at, export


def _residual(network: SmallNetwork, words: int, batch_at: BatchAt) -> Parts:
  text = dict(
    context_length=world.MAX_TOKENS,
    vocab_size=words,
    width=world.TEXT["hidden_size"],
    heads=world.TEXT["num_attention_heads"],
    layers=world.TEXT["num_hidden_layers"],
    mlp_ratio=world.TEXT["intermediate_size"] / world.TEXT["hidden_size"],
  )
  model = world.RESIDUAL_CLIP | {"text_cfg": text}
  side = model["vision_cfg"]["image_size"]
  architecture = layouts.openclip_architecture(Path(layouts.OPENCLIP), model)
  towers = Towers(architecture, Preprocess(side, side))

  def export(state: State, folder: Path) -> None:
    learnt = dict(_learnt(state)) | {STATISTICS: state.learnt[STATISTICS]}
    write_params(folder / "open_clip_model.safetensors", learnt, "float16", openclip)
    preprocessing = dict(mean=contrast.MEAN, std=contrast.STD)
    _write_json(folder / layouts.OPENCLIP, dict(model_cfg=model, preprocess_cfg=preprocessing))
    network.write_tokenizer(folder)

  return contrast.ResidualContrast(towers), batch_at, export


def _autoencode(network: SmallNetwork) -> Parts:
  pixels = network.pictures().pixels
  task = Autoencode(world.AUTOENCODER)

  def export(state: State, folder: Path) -> None:
    params = _learnt(state)
    spread = float(np.std(_latents(task, params, pixels[:4096])))
    write_params(folder / "diffusion_pytorch_model.safetensors", params, "float16")
    _write_json(folder / "config.json", world.AUTOENCODER | {"scaling_factor": 1 / spread})

  return task, network.batches({"pixels": pixels}), export


def _denoise(network: SmallNetwork) -> Parts:
  pictures, vae, init = network.pictures(), network.others["autoencoder"], {}
  if clip := network.others.get("text_encoder"):
    init["text_encoder"] = _text_tower(clip)
  to_ids, vocabulary = network.reader()
  text = world.TEXT | vocabulary
  if sketch := network.others.get("begin_with"):
    init["unet"] = _unet(sketch)
  encoder = Autoencode(read.read_json(vae / "config.json"))
  shapes = jax.eval_shape(lambda key: encoder.init(key, {}), jax.random.key(0))["params"]
  params = read.read_params(vae, "diffusion_pytorch_model", shapes, _float32)
  latents = _latents(encoder, params, pictures.pixels) * read.read_json(vae / "config.json")["scaling_factor"]
  task = Denoise(world.UNET, text, read_schedule(world.SCHEDULER).alpha_bar, to_ids([""])[0], init=init)

  def export(state: State, folder: Path) -> None:
    learnt = _learnt(state)
    write_params(folder / "unet" / "diffusion_pytorch_model.safetensors", learnt["unet"], "float16")
    write_params(folder / "text_encoder" / "model.safetensors", learnt["text_encoder"], "float16")
    for part, config in (("unet", world.UNET), ("text_encoder", text)):
      _write_json(folder / part / "config.json", config)
    _write_json(folder / "scheduler" / "scheduler_config.json", world.SCHEDULER)
    network.write_tokenizer(folder / "tokenizer")
    shutil.copytree(vae, folder / "vae")

  return task, network.batches({"latents": latents, "ids": to_ids(pictures.captions)}), export


_TASKS = {"contrast": _contrast, "autoencode": _autoencode, "denoise": _denoise}


def _text_tower(clip: Path) -> Any:
  """Of a CLIP, in the shape of a text encoder of its own; or a generator's."""
  if (own := clip / "text_encoder").is_dir():
    config = CLIPTextConfig(**read.read_json(own / "config.json"))
    module, ids = FlaxCLIPTextModule(config), np.zeros((1, 4), np.int32)
    shapes = jax.eval_shape(module.init, jax.random.key(0), ids, np.ones_like(ids), np.arange(4)[None])
    return read.read_params(own, "model", shapes["params"], _float32)
  encoder = Clip(clip)
  return {"text_model": encoder.load_params(devices.local_mesh(jax.local_devices()[:1]))["text_model"]}


def _unet(generator: Path) -> Any:
  module = FlaxUNet2DConditionModel.from_config(read.read_json(generator / "unet" / "config.json"))
  assert isinstance(module, FlaxUNet2DConditionModel)
  shapes = jax.eval_shape(module.init_weights, jax.random.key(0))
  return read.read_params(generator / "unet", "diffusion_pytorch_model", shapes, _float32)


def _learnt(state: State) -> Any:
  """The averaged weights where there are any."""
  return state.learnt["params"]


def _latents(task: Autoencode, params: Any, pixels: Array, batch: int = 256) -> Array:
  """Means of the latents, NCHW, unscaled."""
  encode = _encoder(task)
  pad = -len(pixels) % batch
  padded = np.concatenate([pixels, pixels[:1].repeat(pad, axis=0)])
  done = [np.asarray(encode(params, padded[i : i + batch])) for i in range(0, len(padded), batch)]
  return np.concatenate(done)[: len(pixels)]


@functools.lru_cache(maxsize=8)
def _encoder(task: Autoencode) -> Callable[[Any, Array], jax.Array]:
  return jax.jit(lambda p, x: task.encode(p, x).mean.transpose(0, 3, 1, 2))


def _float32(values: Any) -> jax.Array:
  return jnp.asarray(values, "float32")


def _write_json(file: Path, body: Any) -> None:
  file.parent.mkdir(parents=True, exist_ok=True)
  file.write_text(json.dumps(body, indent=2, sort_keys=True), encoding="utf-8")
