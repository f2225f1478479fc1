"""Stage predict, on request: an arm's classifier or a learner names images, as a CSV of file, class id, class name and probability.

A name that a spreadsheet would take for a formula has an apostrophe before it (store/csv_file.py).
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import numpy as np
from etils import epath
from PIL import Image

from synthjax.data.feeding import Readable
from synthjax.data.source import Source
from synthjax.data.sources import open_source
from synthjax.data.squares import square
from synthjax.disk import drafts, workdir
from synthjax.encoders import clip
from synthjax.encoders.clip import Clip
from synthjax.encoders.encoder import with_changes
from synthjax.evaluation.predictions import predicted_in_order
from synthjax.learning import head
from synthjax.products.arm import Arm
from synthjax.products.base import DONE
from synthjax.products.learner import Learner
from synthjax.runtime import devices, sharding
from synthjax.runtime.errors import UserError, nearest
from synthjax.spec.study import StudySpec
from synthjax.store import csv_file
from synthjax.weights import hub, image_networks


@dataclasses.dataclass(frozen=True)
class Predictions:
  """Logits of the images that can be read."""

  images: Readable
  logits_NxK: np.ndarray
  class_ids: Sequence[str]
  class_names: Sequence[str]


@dataclasses.dataclass(frozen=True)
class _Squared:
  """What a learner is tested on."""

  size: int

  def pixels(self, image: Image.Image) -> np.ndarray:
    return square(image, self.size)


def predict(
  config: StudySpec, root: epath.Path, arms: Sequence[Arm], learners: Sequence[Learner] = ()
) -> epath.Path:
  """Writes the CSV and returns where it lies. Images that cannot be read are named, and have an empty row."""
  fields = config.predict
  if not fields.images:
    raise UserError("--stages predict needs images: --config.predict.images=folder:PATH")
  out = epath.Path(fields.output).expanduser() if fields.output else root / "predictions.csv"
  if fields.output and not Path(out).parent.is_dir():
    raise UserError(f"config.predict.output {out}: its folder does not exist")
  drafts.sweep_drafts(out.parent, workdir.now(out.parent) - config.runtime.stale_seconds, of=out.name)
  source = open_source(fields.images, None)
  found = _chosen(config, root, arms, learners)(source)
  for fault in found.images.faults:
    print(f"predict: skipped, cannot be read: {fault}", file=sys.stderr)
  named: dict[str, tuple[str, str, str]] = dict.fromkeys(source.keys, ("", "", ""))
  for place, share in zip(found.images.places, _softmax(found.logits_NxK), strict=True):
    best = int(share.argmax())
    named[source.keys[place]] = (found.class_ids[best], found.class_names[best], f"{share[best]:.6f}")
  columns = ("file", "class_id", "class_name", "probability")
  workdir.replace_bytes(
    out, csv_file.to_bytes(columns, ([key, *named[key]] for key in source.keys), line_end="\r\n")
  )
  return out


def _by_classifier(folder: epath.Path, source: Source, root: epath.Path) -> Predictions:
  classifier = head.read(folder)
  encoder = _encoder(classifier, root)
  images = Readable(source, encoder.preprocess)
  params = with_changes(encoder.load_params(devices.local_mesh()), classifier.tower)
  logits = classifier.logits(clip.embed(encoder, params, images))
  return Predictions(images, logits, classifier.class_ids, classifier.class_names)


def _by_learner(learner: Learner, seed: int, source: Source, fsdp: int) -> Predictions:
  """By the weights, the pictures and the batches of its tests; on this process's devices, as only one predicts."""
  mesh = sharding.training_mesh(fsdp, jax.local_devices() if devices.is_joined() else None)
  everywhere = devices.place(mesh, devices.REPLICATED)
  variables = image_networks.on_devices(learner.learnt_file(seed), learner.name, everywhere)
  images = Readable(source, _Squared(learner.fields.size))
  logits = predicted_in_order(
    learner.task,
    variables,
    images,
    len(source),
    mesh=mesh,
    per_device_batch=learner.fields.per_device_batch,
  )
  return Predictions(images, logits, learner.labels.ids, learner.labels.names)


def _softmax(logits_NxK: np.ndarray) -> np.ndarray:
  shares = np.exp(logits_NxK.astype(np.float64) - logits_NxK.max(axis=1, keepdims=True))
  return shares / shares.sum(axis=1, keepdims=True)


def _chosen(
  config: StudySpec, root: epath.Path, arms: Sequence[Arm], learners: Sequence[Learner]
) -> Callable[[Source], Predictions]:
  """By the classifier of an arm of this study, by a learner of it, or by any folder that holds a classifier."""
  fields, seed = config.predict, config.predict.seed
  if fields.arm.startswith("folder:"):
    folder = epath.Path(fields.arm.removeprefix("folder:")).expanduser()
    return lambda source: _by_classifier(folder, source, root)
  of_learners, of_arms = {x.learner: x for x in learners}, {x.arm: x for x in arms}
  known = [*dict.fromkeys((*of_learners, *of_arms))]
  if not known:
    raise UserError(
      "the study has no arms and no learners to predict with; or set config.predict.arm=folder:PATH to a classifier's folder"
    )
  name = fields.arm or known[-1]
  if name in of_arms:
    arm = of_arms[name]
    _check_seed(f"arm {name}", seed, arm.seeds, arm.is_learnt)
    return lambda source: _by_classifier(arm.classifier_folder(seed), source, root)
  if name not in of_learners:
    raise UserError(f"config.predict.arm {name!r}{nearest(name, known)}")
  learner = of_learners[name]
  _check_seed(f"learner {name}", seed, learner.seeds, lambda _: learner.status().state == DONE)
  return lambda source: _by_learner(learner, seed, source, config.runtime.fsdp)


def _check_seed(run: str, seed: int, seeds: int, is_learnt: Callable[[int], bool]) -> None:
  if not 0 <= seed < seeds:
    raise UserError(f"config.predict.seed {seed}: {run} has seeds 0 to {seeds - 1}")
  if not is_learnt(seed):
    raise UserError(f"{run} is not trained yet; run the study first")


def _encoder(classifier: head.Classifier, root: epath.Path) -> Clip:
  """The encoder that the classifier was tuned on, and no other."""
  about = classifier.encoder
  encoder = Clip(hub.locate(about["reference"], root), about["dtype"])
  if encoder.digest != about["encoder"]:
    raise UserError(
      f"the weights at {about['reference']} are not those that the classifier was tuned on; put these back"
    )
  return encoder
