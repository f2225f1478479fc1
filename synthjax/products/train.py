"""Stage train: the small world's own networks, as `networks/<name>`, with `weights/` in the layout of real checkpoints.

contrast     a CLIP            config.json, model.safetensors, vocab.json, merges.txt, preprocessor_config.json
             tower=resnet      open_clip_config.json, open_clip_model.safetensors, vocab.json, merges.txt
autoencode   an autoencoder    config.json, diffusion_pytorch_model.safetensors
denoise      a generator       text_encoder/ unet/ vae/ tokenizer/ scheduler/, over an autoencoder

What a generator is made from are networks of this study, or parts of the one that ships: `embedded:generator`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import numpy as np
from etils import epath

from synthjax.data.order import indices
from synthjax.disk import checksums, workdir
from synthjax.disk.checksums import Fault
from synthjax.encoders import layouts
from synthjax.encoders.clip import Clip
from synthjax.encoders.preprocess import Preprocess
from synthjax.encoders.towers import STATISTICS, Towers
from synthjax.generators.schedule import read_schedule
from synthjax.labels import spaces
from synthjax.labels.spaces import LabelSpace
from synthjax.learning import contrast
from synthjax.learning.autoencode import Autoencode
from synthjax.learning.denoise import Denoise
from synthjax.learning.loop import BatchAt, Pace, State, Task, train
from synthjax.learning.optimizer import Recipe
from synthjax.models.flax_classes import (
  CLIPConfig,
  CLIPTextConfig,
  FlaxCLIPTextModule,
  FlaxUNet2DConditionModel,
)
from synthjax.pages.inputs import Described
from synthjax.products.product import DONE, MISSING, STALE, Status, file_faults, owner_of
from synthjax.runtime import devices, residents
from synthjax.runtime.errors import UserError
from synthjax.runtime.stopping import Stop
from synthjax.small_world import weights as embedded
from synthjax.small_world import world
from synthjax.spec.fields import OF_NETWORKS
from synthjax.spec.study import StudySpec
from synthjax.store import corrections, records
from synthjax.weights import clean_text, openclip, read, tokenizer
from synthjax.weights.write import write_params

Array = np.ndarray
_RESULT = "result.json"
_SHIPPED = "embedded:"


class Network(Described):
  stage = "train"

  def __init__(
    self,
    config: StudySpec,
    root: epath.Path,
    name: str,
    labels: LabelSpace,
    networks: Mapping[str, Network] = MappingProxyType({}),
  ):
    """`networks` has those that it may be made from."""
    self.name, self.folder = f"networks/{name}", root / "networks" / name
    self._root, self._runtime = root, config.runtime
    self._fields = config.networks[name]
    self._labels = spaces.load(self._fields.labels) if self._fields.labels else labels
    self.inputs: tuple[Network, ...] = tuple(
      networks[name] for f in self._made_from if (name := getattr(self._fields, f)) in networks
    )

  @property
  def weights(self) -> Path:
    return Path(self.folder / "weights")

  def _other(self, field: str) -> Path | None:
    """The weights of the network that a field names."""
    name = getattr(self._fields, field)
    if name.startswith(_SHIPPED):
      return embedded.folder(name) / ("vae" if field == "autoencoder" else "")
    return Path(self._root / "networks" / name / "weights") if name else None

  @property
  def _made_from(self) -> tuple[str, ...]:
    """The fields that name other networks."""
    return OF_NETWORKS if self._fields.task == "denoise" else ()

  @property
  def _others(self) -> dict[str, Path]:
    """All networks that this one is made from, by the fields that name them."""
    return {f: path for f in self._made_from if (path := self._other(f))}

  def _is_ready(self) -> bool:
    """Weights of another network that is to be trained further are not those to begin with."""
    return all(network.status().state == DONE for network in self.inputs) and all(
      path.exists() for path in self._others.values()
    )

  def _record(self) -> records.Record:
    identity = self._fields.identity()
    del identity["labels"]  # the classes themselves say it
    for field in ("text_encoder", "begin_with"):  # the inputs say it
      del identity[field]
    identity |= {"class_ids": self._labels.ids, "class_names": self._labels.names}
    reads = self._fields.task != "autoencode"  # captions, in which nothing but the names is the user's
    is_altered = reads and any(map(clean_text.is_altered, self._labels.names))
    identity |= corrections.applied(clean_text=is_altered)
    inputs = {
      name
      if (name := getattr(self._fields, field)).startswith(_SHIPPED)
      else f"networks/{name}": read.folder_digest(path, (".", "unet", "text_encoder"))
      for field, path in self._others.items()
    }
    return records.Record(self.name, identity, growth={"steps": self._fields.steps}, inputs=inputs)

  def _finished_steps(self) -> int:
    """Without its weights a network is to be written again, from its last checkpoint."""
    path = self.folder / _RESULT
    whole = path.exists() and self.weights.is_dir()
    return checksums.read_json(path, "result", {"steps": int})["steps"] if whole else 0

  def status(self) -> Status:
    begun, done, want = (self.folder / "record.json").exists(), self._finished_steps(), self._fields.steps
    if begun and (grown := next((n for n in self.inputs if n.status().state == STALE), None)):
      raise UserError(
        f"{self.name} was made from {grown.name}, which is to be trained further; put its steps back, or give it or "
        f"{self.name} another name, or remove {self.folder}"
      )
    if begun and self._is_ready():
      records.compare(self.folder, self._record())
    return Status(DONE if done >= want else STALE if done else MISSING, min(done, want), want, "steps")

  def make(self, stop: Stop) -> bool:
    if self.status().state == DONE:
      return True
    if not self._is_ready():
      return False  # another process is still training what this one is made from
    with owner_of(self.folder, self._runtime) as owner, owner.making(stop):
      if not owner.take("run"):
        return False
      records.settle(self.folder, self._record())
      residents.begin(self.stage)
      fields = self._fields
      task, batch_at, export = _TASKS[fields.task](self)
      recipe = Recipe(
        steps=fields.steps,
        learning_rate=fields.learning_rate,
        warmup=fields.warmup,
        weight_decay=fields.weight_decay,
        ema=fields.ema,
        seed=fields.seed,
      )
      pace = Pace(save_seconds=self._runtime.save_seconds, log_seconds=self._runtime.log_seconds)
      state = train(
        task, batch_at, recipe, self.folder, name=self.name, batch_size=fields.batch, pace=pace, stop=stop
      )
      draft = workdir.draft_of(self.weights)
      export(state, draft)
      for path in checksums.files(epath.Path(draft)):
        checksums.cover(path)
      for path in checksums.files(self.folder / "tokenizer"):
        checksums.cover(path)
      stop.look()
      workdir.replace_folder(epath.Path(draft), epath.Path(self.weights))
      records.update(self.folder, self._record())
      # Last: nobody looks at a network again that has its result.
      checksums.replace(self.folder / _RESULT, workdir.to_json({"steps": recipe.steps}))
    return True

  def faults(self) -> list[Fault]:
    """Without its result a network is exported again, from its last checkpoint."""
    found = [Fault(fault, *{*fault.files, self.folder / _RESULT}) for fault in file_faults(self.folder)]
    if self._is_ready():
      records.compare(self.folder, self._record())
    return found

  # --- what the tasks share ------------------------------------------------------------------------

  def _pictures(self, in_rows: bool = False) -> world.Pictures:
    fields = self._fields
    styles = world.CLIP_STYLES if fields.styles == "familiar" else world.ALL_STYLES
    return world.pictures(fields.pictures, self._labels, styles, fields.seed, in_rows)

  def _batches(self, columns: dict[str, Array], row: int = 1) -> BatchAt:
    """Batches of whole rows: of `row` examples that follow each other."""
    fields, rows = self._fields, len(next(iter(columns.values()))) // row
    if fields.batch % row:
      raise UserError(
        f"{self.name}: batch {fields.batch} is not a multiple of the {row} classes, whose pictures share a look"
      )

    def batch_at(step: int) -> dict[str, Array]:
      first = indices(step, fields.batch // row, rows, fields.seed) * row
      chosen = (first[:, None] + np.arange(row)).ravel()
      return {k: v[chosen] for k, v in columns.items()}

    return batch_at

  def _tokenizer(
    self, folder: Path, of: Path | None = None
  ) -> tuple[Callable[[list[str]], Array], dict[str, int]]:
    """(captions -> ids, what a text config says of the vocabulary); the files are written to `folder`.

    It is that of the network in folder `of`, or one of the world's words.
    """
    if of is None:
      size = tokenizer.write(folder, world.words(self._labels))
    else:
      of = of / "tokenizer" if (of / "tokenizer").is_dir() else of
      folder.mkdir(parents=True, exist_ok=True)
      for name in ("vocab.json", "merges.txt"):
        shutil.copyfile(of / name, folder / name)
      size = len(read.read_json(folder / "vocab.json"))
    words = tokenizer.read(folder, "transformers")

    def to_ids(texts: list[str]) -> Array:
      return tokenizer.tokenize(words, texts, world.MAX_TOKENS).ids

    return to_ids, dict(vocab_size=size, bos_token_id=size - 2, eos_token_id=size - 1, pad_token_id=size - 1)


Export = Callable[[State, Path], None]


def _contrast(network: Network) -> tuple[Task, BatchAt, Export]:
  pictures = network._pictures(in_rows=True)
  to_ids, vocabulary = network._tokenizer(Path(network.folder / "tokenizer"))
  numbers = {text: i for i, text in enumerate(dict.fromkeys(pictures.captions))}
  batch_at = network._batches(
    {
      "pixels": pictures.pixels,
      "ids": to_ids(pictures.captions),
      "caption": np.array([numbers[text] for text in pictures.captions], np.int32),
    },
    row=len(network._labels),
  )
  if network._fields.tower == "resnet":
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
    network._tokenizer(folder)

  return contrast.Contrast(config), batch_at, export


def _residual(network: Network, words: int, batch_at: BatchAt) -> tuple[Task, BatchAt, Export]:
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
    network._tokenizer(folder)

  return contrast.ResidualContrast(towers), batch_at, export


def _autoencode(network: Network) -> tuple[Task, BatchAt, Export]:
  pixels = network._pictures().pixels
  task = Autoencode(world.AUTOENCODER)

  def export(state: State, folder: Path) -> None:
    params = _learnt(state)
    spread = float(np.std(_latents(task, params, pixels[:4096])))
    write_params(folder / "diffusion_pytorch_model.safetensors", params, "float16")
    _write_json(folder / "config.json", world.AUTOENCODER | {"scaling_factor": 1 / spread})

  return task, network._batches({"pixels": pixels}), export


def _denoise(network: Network) -> tuple[Task, BatchAt, Export]:
  pictures, vae, begin = network._pictures(), network._other("autoencoder"), {}
  assert vae is not None
  if clip := network._other("text_encoder"):
    begin["text_encoder"] = _text_tower(clip)
  to_ids, vocabulary = network._tokenizer(Path(network.folder / "tokenizer"), clip)
  text = world.TEXT | vocabulary
  if sketch := network._other("begin_with"):
    begin["unet"] = _unet(sketch)
  encoder = Autoencode(read.read_json(vae / "config.json"))
  shapes = jax.eval_shape(lambda key: encoder.init(key, {}), jax.random.key(0))["params"]
  params = read.read_params(vae, "diffusion_pytorch_model", shapes, lambda a: jax.numpy.asarray(a, "float32"))
  latents = _latents(encoder, params, pictures.pixels) * read.read_json(vae / "config.json")["scaling_factor"]
  task = Denoise(world.UNET, text, read_schedule(world.SCHEDULER).alpha_bar, to_ids([""])[0], begin=begin)

  def export(state: State, folder: Path) -> None:
    learnt = _learnt(state)
    write_params(folder / "unet" / "diffusion_pytorch_model.safetensors", learnt["unet"], "float16")
    write_params(folder / "text_encoder" / "model.safetensors", learnt["text_encoder"], "float16")
    for part, config in (("unet", world.UNET), ("text_encoder", text)):
      _write_json(folder / part / "config.json", config)
    _write_json(folder / "scheduler" / "scheduler_config.json", world.SCHEDULER)
    network._tokenizer(folder / "tokenizer", clip)
    shutil.copytree(vae, folder / "vae")

  return task, network._batches({"latents": latents, "ids": to_ids(pictures.captions)}), export


_TASKS = {"contrast": _contrast, "autoencode": _autoencode, "denoise": _denoise}


def _text_tower(clip: Path) -> Any:
  """Of a CLIP, in the shape of a text encoder of its own; or a generator's."""
  if (own := clip / "text_encoder").is_dir():
    config = CLIPTextConfig(**read.read_json(own / "config.json"))
    module, ids = FlaxCLIPTextModule(config), np.zeros((1, 4), np.int32)
    shapes = jax.eval_shape(module.init, jax.random.key(0), ids, np.ones_like(ids), np.arange(4)[None])
    return read.read_params(own, "model", shapes["params"], lambda a: jax.numpy.asarray(a, "float32"))
  encoder = Clip(clip)
  return {"text_model": encoder.load_params(devices.local_mesh(jax.local_devices()[:1]))["text_model"]}


def _unet(generator: Path) -> Any:
  module = FlaxUNet2DConditionModel.from_config(read.read_json(generator / "unet" / "config.json"))
  assert isinstance(module, FlaxUNet2DConditionModel)
  shapes = jax.eval_shape(module.init_weights, jax.random.key(0))
  return read.read_params(
    generator / "unet", "diffusion_pytorch_model", shapes, lambda a: jax.numpy.asarray(a, "float32")
  )


def _learnt(state: State) -> Any:
  """The averaged weights where there are any."""
  return state.learnt["params"]


def _latents(task: Autoencode, params: Any, pixels: Array, batch: int = 256) -> Array:
  """Means of the latents, NCHW, unscaled."""
  encode = jax.jit(lambda p, x: task.encode(p, x).mean.transpose(0, 3, 1, 2))
  pad = -len(pixels) % batch
  padded = np.concatenate([pixels, pixels[:1].repeat(pad, axis=0)])
  done = [np.asarray(encode(params, padded[i : i + batch])) for i in range(0, len(padded), batch)]
  return np.concatenate(done)[: len(pixels)]


def _write_json(file: Path, body: Any) -> None:
  file.parent.mkdir(parents=True, exist_ok=True)
  file.write_text(json.dumps(body, indent=2, sort_keys=True), encoding="utf-8")
