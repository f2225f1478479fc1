"""Learners that would fail late, or would not be what was meant."""

from __future__ import annotations

from synthjax.runtime.errors import UserError, known
from synthjax.spec.checks import pattern
from synthjax.spec.entries import Learner
from synthjax.spec.fields import Classify
from synthjax.spec.study import StudySpec


def check_learner(study: StudySpec, name: str) -> None:
  own = study.learners[name]
  where = place(own, name)
  for drop in own.drops:
    if not isinstance(drop, int | float) or not 0 <= drop <= 1:
      raise UserError(f"{where}: drops are shares of the steps, between 0 and 1, not {drop!r}")
  if sum(map(bool, (own.steps, own.epochs, own.examples))) != 1:
    raise UserError(f"{where}: set exactly one of steps, epochs and examples")
  if own.batch % own.accumulate:
    raise UserError(f"{where}: batch {own.batch} is not a multiple of accumulate {own.accumulate}")
  if own.side_by_side > 1:
    _check_side_by_side(where, own, study)
  _check_data(where, own, study)
  _check_init(name, own, study)
  pattern(f"{where}: freeze", own.freeze)
  if own.drawn_from and own.drawn_from < own.images_per_class:
    raise UserError(
      f"{where}: images_per_class {own.images_per_class} cannot be drawn from {own.drawn_from}; raise drawn_from"
    )
  if own.drawn_from and not (own.images and (own.images_per_class or own.ratio)):
    raise UserError(
      f"{where}: drawn_from says what images_per_class, or ratio, of a set are drawn from; it needs both"
    )


def _check_side_by_side(where: str, own: Learner, study: StudySpec) -> None:
  if study.seeds % own.side_by_side:
    raise UserError(f"{where}: seeds {study.seeds} are no multiple of side_by_side {own.side_by_side}")
  if own.evaluate_steps:
    raise UserError(
      f"{where}: evaluate_steps is of runs that are trained alone; set it or side_by_side to its default"
    )
  if study.runtime.fsdp > 1:
    raise UserError(
      f"{where}: side_by_side puts each run on one device, and config.runtime.fsdp splits a run; leave one out"
    )


def place(own: Learner, name: str) -> str:
  """Where a config says it, for errors."""
  return f"config.scaling: point {name}" if own.axes else f"config.learners.{name}"


def _check_data(where: str, own: Learner, study: StudySpec) -> None:
  for field, real in dict(real=own.real, probe=own.probe).items():
    if real:
      known(f"{where}: {field}", real, study.real)
  if not own.images and not own.real:
    raise UserError(
      f"{where} has nothing to learn from: give it images, the name of a set, or real; or name it in a grid, as its recipe"
    )
  has_both = bool(own.images and own.real)
  if own.ratio and not has_both:
    raise UserError(f"{where}: ratio counts synthetic images by the real ones; it needs both")
  if isinstance(own, Classify):
    _check_classify(where, own, study, has_both)
  synthetic = round(own.share * own.batch)
  if has_both and not 0 < synthetic < own.batch:
    part = "real" if synthetic else "synthetic"
    raise UserError(
      f"{where}: share {own.share:g} of a batch of {own.batch} leaves no {part} image in it; change share "
      f"or batch, or leave out {'real' if synthetic else 'images'}"
    )


def _check_classify(where: str, own: Classify, study: StudySpec, has_both: bool) -> None:
  if own.norm == "auxiliary" and not has_both:
    raise UserError(f"{where}: norm auxiliary keeps real and synthetic images apart; it needs both")
  if own.test_norm == "auxiliary" and own.norm != "auxiliary":
    raise UserError(f"{where}: test_norm auxiliary needs norm auxiliary")
  for test in filter(None, own.subset_tests.split(",")):
    known(f"{where}: subset_tests", test, study.tests)


def _check_init(name: str, own: Learner, study: StudySpec) -> None:
  where, seen = place(own, name), [name]
  if own.init and own.init.partition(":")[0] not in ("learner", "folder"):
    raise UserError(f"{where}: init {own.init!r}: it is learner:NAME or folder:PATH")
  while own.init.startswith("learner:"):
    known(f"{where}: init learner", own.begins_with, study.learners)
    if own.begins_with in seen:
      raise UserError(f"{where}: init forms a cycle: {' <- '.join([*seen, own.begins_with])}")
    seen.append(own.begins_with)
    own = study.learners[own.begins_with]
