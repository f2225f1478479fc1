"""Learners that would fail late, or would not be what was meant."""

from __future__ import annotations

from ml_collections import ConfigDict

from synthjax.runtime.errors import UserError
from synthjax.spec import config as fields_of
from synthjax.spec.checks import DTYPES, at_least, known, pattern

_COUNTS = dict(
  size=1, stored_size=0, images_per_class=0, ratio=0, steps=0, epochs=0, examples=0, batch=1, weight_decay=0, clip_norm=0,
  accumulate=1, crop=0, jitter=0, randaugment=0, rotate=0, shift=0, stretch=0, shear=0, elastic=0, mixup=0, cutmix=0,
  neighbours=1, evaluate_steps=0, keep_steps=0, ahead=0, per_device_batch=1,
)  # fmt: skip
_SHARES = ("share", "warmup", "cooldown", "ema", "smoothing", "drop_path", "hue", "grey", "blur", "erasing")
_CHOICES = dict(
  task=("classify",),
  norm=("shared", "auxiliary"),
  test_norm=("main", "auxiliary"),
  optimizer=("adamw", "sgd"),
  schedule=("cosine", "step", "wsd", "constant"),
  dtype=DTYPES,
)


def check_learner(config: ConfigDict, name: str) -> None:
  where, own = f"config.learners.{name}", config.learners[name]
  fields = fields_of.learner_fields(config, name)
  for field, low in _COUNTS.items():
    at_least(f"{where}: {field}", fields[field], low)
  for field in _SHARES:
    if not 0 <= fields[field] <= 1:
      raise UserError(f"{where}: {field} is between 0 and 1, not {fields[field]}")
  for field, choices in _CHOICES.items():
    known(f"{where}: {field}", fields[field], choices)
  for field in ("crop", "momentum"):
    if not 0 <= fields[field] <= 1:
      raise UserError(f"{where}: {field} is between 0 and 1, not {fields[field]}")
  for drop in fields["drops"]:
    if not isinstance(drop, int | float) or not 0 <= drop <= 1:
      raise UserError(f"{where}: drops are shares of the steps, between 0 and 1, not {drop!r}")
  if not fields["learning_rate"] > 0:
    raise UserError(f"{where}: learning_rate is above 0, not {fields['learning_rate']}")
  if sum(bool(fields[unit]) for unit in ("steps", "epochs", "examples")) != 1:
    raise UserError(f"{where}: say how long it learns in one of steps, epochs and examples")
  if fields["batch"] % fields["accumulate"]:
    raise UserError(
      f"{where}: batch {fields['batch']} is not a multiple of accumulate {fields['accumulate']}"
    )
  _check_data(config, where, own, fields)
  _check_init(config, where, fields["init"])
  for test in filter(None, fields["subset_tests"].split(",")):
    known(f"{where}: subset_tests", test, config.tests)
  pattern(f"{where}: freeze", fields["freeze"])


def _check_data(config: ConfigDict, where: str, own: ConfigDict, fields: dict) -> None:
  drawn, _, chosen = (own.images or "").partition("/")
  if drawn:
    known(f"{where}: image set", drawn, config.sets)
  if chosen:
    known(f"{where}: filter", chosen, config.filters)
  for field in ("real", "probe"):
    if fields[field]:
      known(f"{where}: {field}", fields[field], config.real)
  if not drawn and not fields["real"]:
    raise UserError(f"{where} has nothing to learn from: give it images, the name of a set, or real")
  if fields["ratio"] and not (drawn and fields["real"]):
    raise UserError(f"{where}: ratio counts synthetic images by the real ones; it needs both")
  if fields["norm"] == "auxiliary" and not (drawn and fields["real"]):
    raise UserError(f"{where}: norm auxiliary keeps real and synthetic images apart; it needs both")
  if fields["test_norm"] == "auxiliary" and fields["norm"] != "auxiliary":
    raise UserError(f"{where}: test_norm auxiliary needs norm auxiliary")
  synthetic = round(fields["share"] * fields["batch"])
  if drawn and fields["real"] and not 0 < synthetic < fields["batch"]:
    part = "real" if synthetic else "synthetic"
    raise UserError(
      f"{where}: share {fields['share']:g} of a batch of {fields['batch']} leaves no {part} image in it; change share "
      f"or batch, or leave out {'real' if synthetic else 'images'}"
    )
  if drawn and (labels := fields_of.set_labels(config, drawn)) and fields["real"]:
    raise UserError(
      f"{where}: set {drawn} is of the classes of {labels}, the real images are of {config.labels}"
    )


def _check_init(config: ConfigDict, where: str, init: str) -> None:
  scheme, _, rest = init.partition(":")
  if init and scheme not in ("learner", "folder"):
    raise UserError(f"{where}: init {init!r}: it is learner:NAME or folder:PATH")
  seen = [where.rpartition(".")[2]]
  while scheme == "learner":
    known(f"{where}: init learner", rest, config.learners)
    if rest in seen:
      raise UserError(f"{where}: init goes round in a circle: {' <- '.join([*seen, rest])}")
    seen.append(rest)
    scheme, _, rest = fields_of.learner_fields(config, rest)["init"].partition(":")
