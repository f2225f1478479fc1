"""Stage predict, on request: a tuned classifier names images, as a CSV of file, class id, class name and probability.

A name that a spreadsheet would take for a formula has an apostrophe before it (store/csv_file.py).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from synthjax import devices, workdir
from synthjax.data.feeding import Readable
from synthjax.data.sources import open_source
from synthjax.encoders import clip
from synthjax.encoders.clip import Clip
from synthjax.errors import UserError, nearest
from synthjax.stages.tune import Arm
from synthjax.store import csv_file
from synthjax.training import head
from synthjax.weights import hub


def predict(config: ConfigDict, root: epath.Path, arms: Sequence[Arm]) -> epath.Path:
  """Writes the CSV and returns where it lies. Images that cannot be read are named, and have an empty row."""
  fields = config.predict
  if not fields.images:
    raise UserError("--stages predict needs images: --config.predict.images=folder:PATH")
  out = epath.Path(fields.output).expanduser() if fields.output else root / "predictions.csv"
  if not Path(out).parent.is_dir():
    raise UserError(f"config.predict.output {out}: its folder does not exist")
  source = open_source(fields.images, None)
  classifier = head.read(_folder(fields, arms))
  encoder = _encoder(classifier, root)
  images = Readable(source, encoder.preprocess)
  params = head.changed(encoder.load_params(devices.local_mesh()), classifier.tower)
  features = clip.embed(encoder, params, images)
  for fault in images.faults:
    print(f"predict: left without a name, cannot be read: {fault}", file=sys.stderr)
  named = dict.fromkeys(source.keys, ("", "", ""))
  for place, share in zip(images.places, _softmax(classifier.logits(features)), strict=True):
    best = int(share.argmax())
    named[source.keys[place]] = (
      classifier.class_ids[best],
      classifier.class_names[best],
      f"{share[best]:.6f}",
    )
  columns = ("file", "class_id", "class_name", "probability")
  workdir.replace_bytes(
    out, csv_file.to_bytes(columns, ([key, *named[key]] for key in source.keys), line_end="\r\n")
  )
  return out


def _softmax(logits_NxK: np.ndarray) -> np.ndarray:
  shares = np.exp(logits_NxK.astype(np.float64) - logits_NxK.max(axis=1, keepdims=True))
  return shares / shares.sum(axis=1, keepdims=True)


def _folder(fields: ConfigDict, arms: Sequence[Arm]) -> epath.Path:
  """The classifier of an arm of this study, or any folder that holds one."""
  if fields.arm.startswith("folder:"):
    return epath.Path(fields.arm.removeprefix("folder:")).expanduser()
  by_name = {arm.arm: arm for arm in arms}
  if not by_name:
    raise UserError(
      "the study has no arms to predict with; config.predict.arm=folder:PATH takes a classifier's folder"
    )
  name = fields.arm or list(by_name)[-1]
  if name not in by_name:
    raise UserError(f"config.predict.arm {name!r}{nearest(name, by_name)}")
  arm = by_name[name]
  if not 0 <= fields.seed < arm.seeds:
    raise UserError(f"config.predict.seed {fields.seed}: arm {name} has seeds 0 to {arm.seeds - 1}")
  if not arm.is_learnt(fields.seed):
    raise UserError(f"arm {name} is not trained yet; run the study first")
  return arm.classifier_folder(fields.seed)


def _encoder(classifier: head.Classifier, root: epath.Path) -> Clip:
  """The encoder that the classifier was tuned on, and no other."""
  about = classifier.encoder
  encoder = Clip(hub.locate(about["reference"], root), about["dtype"])
  if encoder.digest != about["encoder"]:
    raise UserError(
      f"the weights at {about['reference']} are not those that the classifier was tuned on; put these back"
    )
  return encoder
