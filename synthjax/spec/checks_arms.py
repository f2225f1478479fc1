"""Arms that would fail late, or would not be what was meant."""

from __future__ import annotations

from synthjax.runtime.errors import UserError, known
from synthjax.spec import fields, group
from synthjax.spec.checks import check_knows_classes, pattern
from synthjax.spec.entries import Arm
from synthjax.spec.study import StudySpec

_OF_ADAPTER = ("init_alpha", "init_beta", "search_scale", "search_step", "views")


def check_arm(study: StudySpec, name: str) -> None:
  where, own = f"config.arms.{name}", study.arms[name]
  known(f"{where}: encoder", own.encoder, study.encoders)
  check_knows_classes(where, own.encoder, study)
  if own.images and (labels := study.labels_of(own.images.set)):
    raise UserError(
      f"{where}: set {own.images.set} is of the classes of {labels}; an arm names those of config.labels"
    )
  _check_arm_of_real(where, own, study)
  if not own.images:
    return
  n, available = own.images_per_class, study.sets[own.images.set].images_per_class
  if own.images.filter:
    available = study.filters[own.images.filter].kept_per_class or available
  if n > available > 0:  # of an imported set it is known only once it is there
    quota = f"config.filters.{own.images.filter}.kept_per_class"
    raise UserError(
      f"{where}: images_per_class {n}, but {own.images} has {available}; raise "
      f"{quota if own.images.filter else 'config.sampling.images_per_class'}"
    )


def _check_arm_of_real(where: str, own: Arm, study: StudySpec) -> None:
  """What bears on real images, and on the encoder."""
  for name, real in dict(real=own.real, validation=own.validation).items():
    if real:
      known(f"{where}: {name}", real, study.real)
  _check_adapter(where, own)
  if own.adapter and (own.images or not own.real or not own.validation):
    raise UserError(
      f"{where}: adapter tip learns from real images alone and needs others to choose by; set real and validation, and no images"
    )
  pattern(f"{where}: learns", own.learns)
  through = own.learns or own.batch_norm == "unfrozen"
  if through and (own.adapter or not (own.images or own.real)):
    raise UserError(f"{where}: learns and batch_norm need images or real ones to learn from, and no adapter")
  if own.loss == "SCE" and own.real and not own.images:
    raise UserError(f"{where}: loss SCE is for synthetic images, and it has none; set loss to CE")


def _check_adapter(where: str, own: Arm) -> None:
  """The fields of Tip-Adapter, which no other arm has a use for."""
  if not own.adapter:
    for name in _OF_ADAPTER:
      if getattr(own, name) != group.fields(fields.Tuning)[name].default:
        raise UserError(f"{where}: {name} belongs to adapter tip; set adapter, or leave {name} out")
    return
  for name, pair, kind, low in (
    ("search_scale", own.search_scale, (int, float), 0.1),
    ("search_step", own.search_step, int, 1),
  ):
    if len(pair) != 2 or not all(isinstance(value, kind) and value >= low for value in pair):
      raise UserError(f"{where}: {name} is two numbers from {low} on, of beta and of alpha, not {pair}")
