# Written by `python -m synthjax.spec.stubs` from synthjax/spec/fields.py; do not edit.
from collections.abc import Iterable, Iterator
from typing import Any, Literal

from ml_collections import ConfigDict

from synthjax.runtime.errors import UserError as UserError

BY_SHOTS: float

def study_config(labels: str = "digits") -> Any: ...  # a ConfigDict, whose groups are attributes
def matrix(studies: dict[str, Any]) -> Any: ...
def sweep(**axes: Iterable[Any]) -> Iterator[dict[str, Any]]: ...
def grid(
  images: str = "",
  *,
  real: str = "",
  learner: str = "",
  combine: Literal["product", "around"] = "product",
  **given: Any,
) -> ConfigDict: ...
def log(low: int, high: int, count: int) -> tuple[int, ...]: ...
def prompt_list(
  strategy: str,
  *,
  template: str = ...,
  file: str = ...,
  writer: str = ...,
  draws: int = ...,
  per_class: int = ...,
  seed: int = ...,
  labels: str = ...,
  hypernyms: int = ...,
  model: str = ...,
  t5_input: str = ...,
  temperature: float = ...,
  top_k: int = ...,
  top_p: float = ...,
  max_tokens: int = ...,
  dtype: Literal["float32", "bfloat16", "float16"] = ...,
  reasks: int = ...,
  when_missing: Literal["refuse", "basic"] = ...,
  described_by: str = ...,
  per_request: int = ...,
  items: int = ...,
  styles: int = ...,
  meanings: int = ...,
  encoder: str = ...,
  real: str = ...,
  lists: str = ...,
  share: float = ...,
  class_column: str = ...,
  caption_column: str = ...,
  names_class: bool = ...,
  overlap: float = ...,
  fits: str = ...,
  banned: str = ...,
  per_device_batch: int = ...,
) -> ConfigDict:
  """A prompt list for `config.prompts`."""

def image_set(
  prompts: str,
  *,
  generator: str = ...,
  images_per_class: int = ...,
  sampler: Literal["ddim", "dpmpp_2m", "euler", "euler_ancestral", "lcm"] = ...,
  steps: int = ...,
  guidance: float = ...,
  negative_prompt: str = ...,
  parents: str = ...,
  strength: float = ...,
  eta: float = ...,
  size: int = ...,
  stored_size: int = ...,
  jpeg_quality: int = ...,
  mark: bool = ...,
  dtype: Literal["float32", "bfloat16", "float16"] = ...,
  seed: int = ...,
  cpu_group: int = ...,
  long_prompts: Literal["refuse", "cut"] = ...,
  images_per_shard: int = ...,
  per_device_batch: int = ...,
  decode_batch: int = ...,
  preview: int = ...,
) -> ConfigDict:
  """An image set for `config.sets`: a prompt list sampled by `config.sampling` and what is overridden here."""

def imported_set(
  source: str,
  *,
  images_per_class: int = ...,
  stored_size: int = ...,
  jpeg_quality: int = ...,
  images_per_shard: int = ...,
) -> ConfigDict:
  """An image set for `config.sets` whose images exist already: they are imported, not sampled."""

def real_images(
  source: str,
  *,
  shots: int = ...,
  fraction: float = ...,
  imbalance: float = ...,
  draw: int = ...,
) -> ConfigDict:
  """Real images to learn from, for `config.real`."""

def network(
  task: str,
  *,
  labels: str = ...,
  tower: Literal["vit", "resnet"] = ...,
  styles: Literal["all", "familiar"] = ...,
  pictures: int = ...,
  autoencoder: str = ...,
  text_encoder: str = ...,
  begin_with: str = ...,
  batch: int = ...,
  steps: int = ...,
  learning_rate: float = ...,
  warmup: int = ...,
  weight_decay: float = ...,
  ema: float = ...,
  seed: int = ...,
) -> ConfigDict:
  """One of the small world's networks, for `config.networks`."""

def encoder(
  weights: str = "embedded:clip",
  *,
  ensemble: bool = ...,
  dtype: Literal["float32", "bfloat16", "float16"] = ...,
  resize: Literal["bicubic", "bilinear"] = ...,
  per_device_batch: int = ...,
) -> ConfigDict:
  """An encoder for `config.encoders`."""

def image_filter(
  rule: str,
  *,
  encoder: str = ...,
  threshold: float = ...,
  against: str = ...,
  mirrored: bool = ...,
  second_encoder: str = ...,
  second_threshold: float = ...,
  metric: Literal["cosine", "euclidean"] = ...,
  margin: float = ...,
  kept_per_class: int = ...,
  when_short: Literal["top", "fewer"] = ...,
  max_rounds: int = ...,
  max_drawn: float = ...,
  write: bool = ...,
) -> ConfigDict:
  """A filter for `config.filters`."""

def set_metrics(
  encoder: str = "clip",
  *,
  metrics: str = ...,
  sets: str = ...,
  real: str = ...,
  subsample: int = ...,
  seed: int = ...,
  neighbours: int = ...,
  classifier: str = ...,
  lpips: str = ...,
  lpips_network: Literal["alex", "vgg"] = ...,
  pairs: int = ...,
  size: int = ...,
  real_jpeg: int = ...,
) -> ConfigDict:
  """What is measured of image sets by one encoder, for `config.metrics`."""

def photograph_copies(
  *,
  encoder: str = ...,
  threshold: float = ...,
  against: str = ...,
  mirrored: bool = ...,
  second_encoder: str = ...,
  second_threshold: float = ...,
  metric: Literal["cosine", "euclidean"] = ...,
  margin: float = ...,
  kept_per_class: int = ...,
  when_short: Literal["top", "fewer"] = ...,
  max_rounds: int = ...,
  max_drawn: float = ...,
  write: bool = ...,
) -> ConfigDict:
  """A filter of rule unlike for `config.filters` that suits photographs, by an encoder of thumbnails: short for image_filter("unlike", threshold=0.8, mirrored=True, ...). Not for what is its own mirror image, as digits are."""

def arm(
  images: str = "",
  *,
  encoder: str = ...,
  loss: Literal["CE", "SCE"] = ...,
  images_per_class: int = ...,
  learning_rate: float = ...,
  weight_decay: float = ...,
  epochs: int = ...,
  batch: int = ...,
  clip_norm: float = ...,
  temperature: float = ...,
  real: str = ...,
  order: Literal["mix", "real-synthetic", "synthetic-real"] = ...,
  real_batch: int = ...,
  real_weight: float = ...,
  steps: int = ...,
  adapter: Literal["", "tip"] = ...,
  validation: str = ...,
  init_alpha: float = ...,
  init_beta: float = ...,
  search_scale: tuple[Any, ...] = ...,
  search_step: tuple[Any, ...] = ...,
  views: int = ...,
  epsilon: float = ...,
  batch_norm: Literal["frozen", "unfrozen"] = ...,
  learns: str = ...,
  method: str = ...,
) -> ConfigDict:
  """A line of the result, for `config.arms`: a set, or SET/FILTER for what a filter kept of it, and `config.tuning` but for what is overridden here. Without images it is the zero-shot classifier, and nothing is learnt."""

def learner(
  images: str = "",
  *,
  task: str = ...,
  model: str = ...,
  size: int = ...,
  stored_size: int = ...,
  decode: Literal["full", "scaled"] = ...,
  real: str = ...,
  images_per_class: int = ...,
  drawn_from: int = ...,
  ratio: float = ...,
  share: float = ...,
  init: str = ...,
  steps: int = ...,
  epochs: float = ...,
  examples: int = ...,
  batch: int = ...,
  side_by_side: int = ...,
  optimizer: Literal["adamw", "sgd"] = ...,
  learning_rate: float = ...,
  momentum: float = ...,
  nesterov: bool = ...,
  weight_decay: float = ...,
  decay_all: bool = ...,
  schedule: Literal["cosine", "step", "wsd", "constant"] = ...,
  warmup: float = ...,
  drops: tuple[Any, ...] = ...,
  drop_factor: float = ...,
  cooldown: float = ...,
  clip_norm: float = ...,
  accumulate: int = ...,
  freeze: str = ...,
  ema: float = ...,
  drop_path: float = ...,
  crop: float = ...,
  flip: bool = ...,
  jitter: float = ...,
  hue: float = ...,
  grey: float = ...,
  blur: float = ...,
  randaugment: float = ...,
  rotate: float = ...,
  shift: float = ...,
  stretch: float = ...,
  shear: float = ...,
  elastic: float = ...,
  erasing: float = ...,
  dtype: Literal["float32", "bfloat16", "float16"] = ...,
  probe: str = ...,
  neighbours: int = ...,
  remat: bool = ...,
  evaluate_steps: int = ...,
  keep_steps: int = ...,
  prefetch: int = ...,
  per_device_batch: int = ...,
  # of task classify
  norm: Literal["shared", "auxiliary"] = ...,
  test_norm: Literal["main", "auxiliary"] = ...,
  smoothing: float = ...,
  mixup: float = ...,
  cutmix: float = ...,
  subset_tests: str = ...,
) -> ConfigDict:
  """A network to train, for `config.learners`: on a set, or SET/FILTER, on `real` images, or on both; by `config.learning` but for what is overridden here."""

def sampling_case(
  generator: str,
  *,
  size: int = ...,
  steps: int = ...,
  guided: bool = ...,
  dtype: Literal["float32", "bfloat16", "float16"] = ...,
  per_device_batch: int = ...,
) -> ConfigDict:
  """A generator to time, for `config.benchmark.sampling`."""

def encoding_case(
  weights: str,
  *,
  dtype: Literal["float32", "bfloat16", "float16"] = ...,
  per_device_batch: int = ...,
) -> ConfigDict:
  """An encoder to time, for `config.benchmark.encoding`."""

def training_case(
  model: str,
  *,
  size: int = ...,
  stored_size: int = ...,
  classes: int = ...,
  norm: Literal["shared", "auxiliary"] = ...,
  remat: bool = ...,
  dtype: Literal["float32", "bfloat16", "float16"] = ...,
  per_device_batch: int = ...,
) -> ConfigDict:
  """A network to time while it learns, for `config.benchmark.training`."""
