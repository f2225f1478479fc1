"""Every field a study has, its default, and what happens when it changes.

A field is of one kind:
  identity  another value is another product; under an existing name it is refused, with both values;
  growth    may grow, and only what is missing is made;
  runtime   how, where and how fast; recorded, never refused.

A config file holds `get_config(arg="")`, which starts from `study_config()` and names what differs.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from typing import Any

from ml_collections import ConfigDict, config_dict

from synthjax.errors import UserError, nearest

IDENTITY, GROWTH, RUNTIME = "identity", "growth", "runtime"


@dataclasses.dataclass(frozen=True)
class Field:
  kind: str
  default: Any


def identity(default: Any) -> Field:
  return Field(IDENTITY, default)


def growth(default: Any) -> Field:
  return Field(GROWTH, default)


def runtime(default: Any) -> Field:
  return Field(RUNTIME, default)


# A prompt list: what one strategy asks for.
PROMPTS = {
  "strategy": identity("B"),  # B, templates, LE or file
  "template": identity(""),  # with {} for the class name; "" = the label space's own
  "file": identity(""),  # for strategy file: .jsonl, .tsv or .txt with class id, prompt, repeat count
  "writer": identity("grammar"),  # for LE: who writes the sentences
  "draws": identity(250),  # for LE: sentences drawn a class, before exact repeats are dropped
  "per_class": identity(200),  # for LE: sentences kept a class
  "seed": identity(0),  # for LE
}

# Drawing an image set. `config.sets.NAME` may override any of these for one set.
SAMPLING = {
  "generator": identity(""),  # a folder in diffusers' layout, or random:ARCHITECTURE for random weights
  "images_per_class": growth(100),
  "steps": identity(50),
  "guidance": identity(2.0),  # 7.5, the aesthetic default, narrows the images and trains worse (Fan et al.)
  "eta": identity(0.0),  # DDIM: 0 = deterministic, 1 = as much fresh noise as the ancestral sampler
  "size": identity(0),  # pixels the generator draws at; 0 = its native size
  "stored_size": identity(0),  # pixels kept on disk; 0 = as drawn
  "jpeg_quality": identity(90),
  "mark": identity(True),  # an XMP packet in each JPEG: made by a trained model
  "dtype": identity("float32"),  # bfloat16 on accelerators
  "seed": identity(0),
  "cpu_group": identity(8),  # on CPUs, images computed at once: with it no byte depends on the batch size
  "long_prompts": identity("refuse"),  # a prompt longer than the text encoder takes: refuse, or cut
  "images_per_shard": identity(512),  # the unit of claiming and of loss at a kill
  "per_device_batch": runtime(16),
  "preview": runtime(0),  # > 0: only the first n images a class, and their contact sheet
}

# How this process works; nothing here changes a byte of a product.
RUNTIME_FIELDS = {
  "encode_threads": runtime(0),  # JPEG encoders; 0 = one a core, at most 8
  "heartbeat_seconds": runtime(5.0),
  "stale_seconds": runtime(60.0),  # a claim whose owner has not been heard of for so long is re-taken
  "grace_seconds": runtime(20.0),  # after SIGTERM: the shard in hand is finished if it fits in here
  "compile_cache": runtime("~/.cache/synthjax/xla"),  # "" = off
  "save_seconds": runtime(300.0),  # between checkpoints of a training
  "log_seconds": runtime(30.0),  # a note in a log; on a terminal the line moves by itself
}

# Training one of the small world's own networks.
NETWORK = {
  "task": identity("contrast"),  # contrast (CLIP), autoencode, denoise (latent diffusion)
  "styles": identity("all"),  # of the pictures learnt from; familiar = all but scans
  "pictures": identity(40_000),  # rendered once, before the first step
  "autoencoder": identity(""),  # for denoise: the network of this study whose latents are denoised
  "batch": identity(128),
  "steps": growth(1000),
  "learning_rate": identity(1e-3),
  "warmup": identity(200),
  "weight_decay": identity(0.0),
  "ema": identity(0.0),  # decay of the averaged weights, which are then the result; 0 = off
  "seed": identity(0),
}

# Measuring instead of making; with rounds > 0 the sets are not drawn.
BENCHMARK = {
  "rounds": runtime(0),
  "batches": runtime(16),  # a round
}


def _group(fields: dict[str, Field]) -> ConfigDict:
  return ConfigDict({name: field.default for name, field in fields.items()})


def study_config(labels: str = "digits") -> ConfigDict:
  """The defaults of every study; `config.prompts` and `config.sets` are for the study to fill."""
  config = ConfigDict()
  config.labels = labels  # digits, glyphs, or a YAML/JSON file of your own
  config.prompts = ConfigDict()  # name -> prompt_list(...)
  config.sets = ConfigDict()  # name -> image_set(...)
  config.networks = ConfigDict()  # name -> network(...)
  config.sampling = _group(SAMPLING)
  config.runtime = _group(RUNTIME_FIELDS)
  config.benchmark = _group(BENCHMARK)
  return config


def prompt_list(strategy: str, **fields: Any) -> ConfigDict:
  """A prompt list for `config.prompts`."""
  return _override(_group(PROMPTS), dict(strategy=strategy, **fields), "prompt_list")


def network(task: str, **fields: Any) -> ConfigDict:
  """One of the small world's networks, for `config.networks`."""
  return _override(_group(NETWORK), dict(task=task, **fields), "network")


def image_set(prompts: str, **fields: Any) -> ConfigDict:
  """An image set for `config.sets`: a prompt list drawn by `config.sampling` and what is overridden here."""
  empty = {name: config_dict.placeholder(type(field.default)) for name, field in SAMPLING.items()}
  return _override(ConfigDict(dict(prompts=prompts, **empty)), fields, "image_set")


def _override(config: ConfigDict, fields: dict[str, Any], where: str) -> ConfigDict:
  for name, value in fields.items():
    if name not in config:
      raise UserError(f"{where} has no field {name!r}{nearest(name, config)}")
    try:
      config[name] = value
    except TypeError:
      raise UserError(f"{where}: {name} is a {type(config[name]).__name__}, not {value!r}") from None
  return config


def set_fields(config: ConfigDict, name: str) -> dict[str, Any]:
  """The sampling fields of one image set: its own where given, else `config.sampling`'s."""
  own = config.sets[name]
  return {k: config.sampling[k] if own[k] is None else own[k] for k in SAMPLING}


def of_kind(fields: dict[str, Field], kind: str) -> tuple[str, ...]:
  return tuple(name for name, field in fields.items() if field.kind == kind)


# --- what the types cannot say ------------------------------------------------------------------

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+-]{0,99}")


def check_name(name: str, what: str) -> str:
  """A name from a config may become a folder's name: nothing else in this package does."""
  if not _NAME.fullmatch(name):
    raise UserError(f"{what} {name!r}: a name takes letters, digits, and _ + - inside, at most 100")
  return name


def check(config: ConfigDict) -> None:
  """Values that would fail late, or make a study that nobody meant."""
  _complete("config", config, study_config())
  _complete("config.sampling", config.sampling, SAMPLING)
  _complete("config.runtime", config.runtime, RUNTIME_FIELDS)
  _complete("config.benchmark", config.benchmark, BENCHMARK)
  for name, own in config.prompts.items():
    check_name(name, "prompt list")
    _complete(f"config.prompts.{name}", own, PROMPTS, "prompt_list(...)")
  for name, own in config.networks.items():
    check_name(name, "network")
    _complete(f"config.networks.{name}", own, NETWORK, "network(...)")
    _check_network(f"config.networks.{name}", own, config.networks)
  for name, own in config.sets.items():
    check_name(name, "image set")
    _complete(f"config.sets.{name}", own, ("prompts", *SAMPLING), "image_set(...)", may_be_none=True)
    if own.prompts not in config.prompts:
      raise UserError(
        f"set {name!r} draws prompt list {own.prompts!r}, which config.prompts lacks{nearest(own.prompts, config.prompts)}"
      )
    _check_set(f"config.sets.{name}", set_fields(config, name))
  for name, low in {
    "heartbeat_seconds": 0.1,
    "encode_threads": 0,
    "grace_seconds": 0,
    "save_seconds": 0,
    "log_seconds": 0,
  }.items():
    _at_least(f"config.runtime.{name}", config.runtime[name], low)
  _at_least("config.benchmark.batches", config.benchmark.batches, 1)
  if config.benchmark.rounds and not config.sets:
    raise UserError("config.benchmark needs at least one set in config.sets to measure")
  _at_least(
    "config.runtime.stale_seconds (3 heartbeats)",
    config.runtime.stale_seconds,
    3 * config.runtime.heartbeat_seconds,
  )


def _check_network(where: str, own: ConfigDict, networks: ConfigDict) -> None:
  for name, known in {"task": ("contrast", "autoencode", "denoise"), "styles": ("all", "familiar")}.items():
    if own[name] not in known:
      raise UserError(f"{where}: {name} {own[name]!r}{nearest(own[name], known)}")
  for name in ("pictures", "batch", "steps"):
    _at_least(f"{where}: {name}", own[name], 1)
  if own.task == "denoise" and own.autoencoder not in networks:
    raise UserError(
      f"{where}: autoencoder {own.autoencoder!r} is none of config.networks{nearest(own.autoencoder, networks)}"
    )


def _complete(
  where: str, given: Any, known: Iterable[str], maker: str = "study_config()", may_be_none: bool = False
) -> None:
  """Every known field, and no other."""
  if not isinstance(given, ConfigDict):
    raise UserError(f"{where} is {given!r}; make it with {maker}")
  for name in given:
    if name not in known:
      raise UserError(f"{where} has no field {name!r}{nearest(name, known)}")
  for name in known:
    if name not in given:
      raise UserError(f"{where} lacks the field {name!r}; make it with {maker}")
    if given[name] is None and not may_be_none:
      raise UserError(f"{where}.{name} is None; it needs a value")


def _check_set(where: str, fields: dict[str, Any]) -> None:
  for name, low in dict(
    images_per_class=1,
    steps=1,
    cpu_group=1,
    size=0,
    stored_size=0,
    images_per_shard=1,
    per_device_batch=1,
    preview=0,
    guidance=0,
  ).items():
    _at_least(f"{where}: {name}", fields[name], low)
  if not 0 <= fields["eta"] <= 1:
    raise UserError(f"{where}: eta is between 0 and 1, not {fields['eta']}")
  if not 1 <= fields["jpeg_quality"] <= 100:
    raise UserError(f"{where}: jpeg_quality is between 1 and 100, not {fields['jpeg_quality']}")
  for name, known in dict(dtype=("float32", "bfloat16", "float16"), long_prompts=("refuse", "cut")).items():
    if fields[name] not in known:
      raise UserError(f"{where}: {name} {fields[name]!r}{nearest(fields[name], known)}")


def _at_least(what: str, value: float, low: float) -> None:
  if not value >= low:  # so that nan is told too
    raise UserError(f"{what} is at least {low}, not {value}")
