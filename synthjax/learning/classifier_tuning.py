"""Classifiers of an arm: zero-shot, tuned on features or through the encoder, or Tip-Adapter-F.

With synthetic images and real ones:

order  mix                  every batch holds synthetic images and real ones; an arm with one kind learns from that alone
       real-synthetic       a phase on each, the second from where the first ended
       synthetic-real       likewise
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from synthjax.data.feeding import Readable
from synthjax.data.order import indices
from synthjax.data.pictures import Pictures
from synthjax.data.source import Source
from synthjax.encoders.encoder import Encoder
from synthjax.evaluation.accuracy import Tally
from synthjax.learning import adapter, tune_images
from synthjax.learning.adapter import TipAdapter
from synthjax.learning.feature_batches import batches_of
from synthjax.learning.head import Classifier, Memory
from synthjax.learning.optimizer import Recipe
from synthjax.learning.training import Training
from synthjax.learning.tune import Tune, factor
from synthjax.learning.tune_images import TuneImages
from synthjax.learning.views import Views
from synthjax.spec.fields import MIX, REAL_FIRST, Tuning
from synthjax.store.features import Features

Array = np.ndarray
_REAL_ORDER = 2**20  # real images go through an order of their own


@dataclasses.dataclass(frozen=True)
class Learnt:
  """Of one seed: a classifier, and what has become of the encoder; {} = it stayed as it was."""

  W_KxD: Array
  b_K: Array
  memory: Memory | None = None
  tower: dict[str, Array] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Images:
  """What an arm learns from, by domain: synthetic, real, or both. Read when a way of learning asks for it."""

  features: Callable[[], Mapping[str, Features]]
  pictures: Callable[[], Mapping[str, Source]]
  validation: Callable[[], Features] | None  # of real images, for Tip-Adapter


def goes_through_images(fields: Tuning) -> bool:
  """Whether images pass the encoder at every step, because a part of it learns or its batch norms follow them."""
  return bool(fields.learns) or fields.batch_norm != "frozen"


def check(fields: Tuning, encoder: Encoder) -> None:
  """What of the encoder cannot learn, before anything is drawn."""
  if goes_through_images(fields):
    tune_images.check(encoder.clip, fields.batch_norm)
    tune_images.chosen(encoder.clip.param_shapes(), fields.learns)


def tuned_percent(fields: Tuning, encoder: Encoder) -> float:
  """Of the parameters of image tower and linear classifier, those that learn."""
  if fields.adapter:
    return 0.0
  shapes = encoder.clip.param_shapes()
  paths = tune_images.chosen(shapes, fields.learns)
  return tune_images.share(shapes, paths, len(encoder.labels) * (encoder.clip.width + 1))


def tune(
  fields: Tuning, encoder: Encoder, images: Images | None, seeds: Sequence[int], training: Training
) -> list[Learnt]:
  """One classifier a seed. Without images it is the zero-shot classifier, of one seed."""
  zero_shot = encoder.zero_shot
  if images is None:
    return [Learnt(zero_shot, np.zeros(len(zero_shot), np.float32))]
  if fields.adapter:
    assert images.validation  # the spec asks for it
    validation, real, views = images.validation(), images.features()["real"], None
    if fields.views:
      views = Views(
        encoder, images.pictures()["real"], real.ids, training.name, training.runtime, training.stop
      )
    return tip_adapter(fields, zero_shot, real, validation, seeds, training, views)
  if goes_through_images(fields):
    return through_images(fields, encoder, images.pictures(), seeds, training)
  return linear(fields, zero_shot, images.features(), seeds, training)


@dataclasses.dataclass(frozen=True)
class Phase:
  domains: tuple[str, ...]
  sizes: tuple[int, ...]  # of each batch
  steps: int
  folder: str


def phases(fields: Tuning, counts: Mapping[str, int]) -> list[Phase]:
  """One, or two with `order`. An epoch is a pass over the synthetic images while the real ones cycle."""

  def phase(domains: Sequence[str], folder: str = "") -> Phase:
    sizes = {"synthetic": fields.batch, "real": fields.real_batch}
    if domains == ("real",):  # a batch of them holds none twice
      sizes["real"] = min(sizes["real"], counts["real"])
    first = domains[0]
    steps = fields.steps or math.ceil(fields.epochs * counts[first] / sizes[first])
    return Phase(tuple(domains), tuple(sizes[d] for d in domains), steps, folder)

  there = tuple(d for d in ("synthetic", "real") if counts.get(d))
  if len(there) < 2 or fields.order == MIX:
    return [phase(there)]
  order = ("real", "synthetic") if fields.order == REAL_FIRST else ("synthetic", "real")
  return [phase((domain,), f"phase-{i}") for i, domain in enumerate(order)]


def recipe_of(fields: Tuning, steps: int, copies: bool = False) -> Recipe:
  return Recipe(
    steps=steps,
    learning_rate=fields.learning_rate,
    weight_decay=fields.weight_decay,
    decay_all=True,
    clip_norm=fields.clip_norm,
    epsilon=fields.epsilon,
    copies=copies,
  )


def _places(phase: Phase, step: int, counts: Mapping[str, int], seed: int) -> dict[str, Array]:
  return {
    d: indices(step, size, counts[d], seed + (_REAL_ORDER if d == "real" else 0))
    for d, size in zip(phase.domains, phase.sizes, strict=True)
  }


# --- on features -------------------------------------------------------------------------------------


def linear(
  fields: Tuning,
  zero_shot: Array,
  parts: Mapping[str, Features],
  seeds: Sequence[int],
  training: Training,
) -> list[Learnt]:
  """Several seeds side by side: every one goes through the images in orders of its own."""
  counts, state = {d: len(f) for d, f in parts.items()}, None
  pick = batches_of(parts, training.runtime.device_memory_gb)
  task = Tune(zero_shot, len(seeds), fields.loss == "SCE", fields.temperature, factor(fields.real_weight))
  for phase in phases(fields, counts):

    def batch_at(step: int, phase: Phase = phase) -> dict[str, Any]:
      of = [_places(phase, step, counts, seed) for seed in seeds]
      return pick({d: np.stack([places[d] for places in of]) for d in phase.domains})

    size, recipe = sum(phase.sizes) * len(seeds), recipe_of(fields, phase.steps, copies=True)
    init = state.variables if state else None
    state = training.run(task, batch_at, recipe, phase.folder, size, init)
  assert state is not None
  heads = {k: np.asarray(v) for k, v in state.variables["params"].items()}
  return [Learnt(heads["W"][place], heads["b"][place]) for place in range(len(seeds))]


def tip_adapter(
  fields: Tuning,
  zero_shot: Array,
  real: Features,
  validation: Features,
  seeds: Sequence[int],
  training: Training,
  views: Views | None = None,
) -> list[Learnt]:
  """Ratio and sharpness are those that name most validation images which are not learnt from.

  With `views`, keys begin as the mean of so many random views of each image, and every epoch learns from a further one.
  """
  unseen = validation.at(np.flatnonzero(~np.isin(validation.ids, real.ids)))
  values = np.eye(len(zero_shot), dtype=np.float32)[real.labels]
  (phase,), learnt = phases(fields, {"real": len(real)}), []
  sharpnesses, ratios = map(adapter.grid, fields.search_scale, fields.search_step)
  for seed in seeds:
    keys = views.mean(seed, fields.views) if views else real.features

    def batch_at(step: int, seed: int = seed) -> dict[str, Any]:
      at = _places(phase, step, {"real": len(real)}, seed)["real"]
      features = _viewed(views, fields.views, seed, step, at) if views else real.features[at]
      return {"real": {"features": features, "labels": real.labels[at]}}

    task = TipAdapter(zero_shot, keys, real.labels, fields.init_alpha, fields.init_beta)
    recipe = recipe_of(fields, phase.steps)
    state = training.run(task, batch_at, recipe, f"adapter-{seed}", phase.sizes[0], None)
    keys = np.asarray(state.variables["params"]["keys"])
    ratio, sharpness, _ = adapter.search(
      zero_shot, keys, values, unseen.features, unseen.labels, ratios, sharpnesses
    )
    learnt.append(
      Learnt(zero_shot, np.zeros(len(zero_shot), np.float32), Memory(keys, values, ratio, sharpness))
    )
  return learnt


def _viewed(views: Views, first: int, seed: int, step: int, at: Array) -> Array:
  """Features of the images of a batch, each in the view of its epoch."""
  epochs = (step * len(at) + np.arange(len(at))) // len(views)
  return np.stack([views.features(seed, first + int(epoch))[i] for epoch, i in zip(epochs, at, strict=True)])


# --- through the images ------------------------------------------------------------------------------


def through_images(
  fields: Tuning,
  encoder: Encoder,
  parts: Mapping[str, Source],
  seeds: Sequence[int],
  training: Training,
) -> list[Learnt]:
  """One seed after the other; what has changed of the encoder is learnt too."""
  view, params = encoder.clip.preprocess, encoder.params
  pictures = {d: Pictures(source, view.side, view.pixels) for d, source in parts.items()}
  counts = {d: len(p) for d, p in pictures.items()}
  paths = tune_images.chosen(params, fields.learns)
  task = TuneImages(
    encoder.clip,
    len(encoder.labels),
    paths,
    fields.batch_norm == "unfrozen",
    fields.loss == "SCE",
    fields.temperature,
    factor(fields.real_weight),
  )
  learnt = []
  for seed in seeds:
    variables = jax.tree.map(
      np.array, task.initial_params(params, encoder.zero_shot)
    )  # training gives its buffers away
    for phase in phases(fields, counts):

      def batch_at(step: int, phase: Phase = phase, seed: int = seed) -> dict[str, Any]:
        chosen = _places(phase, step, counts, seed)
        return {
          d: {"pixels": pictures[d].at(at), "labels": pictures[d].labels[at]} for d, at in chosen.items()
        }

      folder = "-".join(filter(None, [f"images-{seed}", phase.folder]))
      recipe, size = recipe_of(fields, phase.steps), sum(phase.sizes)
      variables = training.run(task, batch_at, recipe, folder, size, variables).variables
    after: dict[str, Any] = traverse_util.flatten_dict(task.encoder_params(variables), sep="/")
    before: dict[str, Any] = traverse_util.flatten_dict(dict(params), sep="/")
    tower = {p: np.asarray(x) for p, x in after.items() if not np.array_equal(x, before[p])}
    head = variables["params"]
    learnt.append(Learnt(np.asarray(head["W"]), np.asarray(head["b"]), tower=tower))
  return learnt


# --- testing it --------------------------------------------------------------------------------------


def tested(classifier: Classifier, encoder: Encoder, features: Features, source: Source) -> Tally:
  """On the features of a test, or, where the encoder has learnt, on its images."""
  if classifier.tower:
    images = Readable(source, encoder.preprocess)
    features = dataclasses.replace(features, features=encoder.embed(images, classifier.tower))
  logits = classifier.logits(features.features)
  return Tally.empty(len(encoder.labels)).update(logits, features.labels)
