"""Filters: what each rule may set, and by which encoders."""

from __future__ import annotations

import math

from synthjax.runtime.errors import UserError, known
from synthjax.spec import fields, group
from synthjax.spec.checks import check_knows_classes
from synthjax.spec.study import StudySpec

_SHIPPED = ("clip", "real", "unlike")


def check_filter(where: str, own: fields.Filter, study: StudySpec) -> None:
  known(f"{where}: encoder", own.encoder, study.encoders)
  if (
    own.rule not in _SHIPPED
  ):  # whether it is registered, filters/registry.py says; its fields mean what it likes
    if own.against:
      known(f"{where}: against", own.against, [*study.tests, *study.real])
    return
  if own.rule == "clip":
    check_knows_classes(where, own.encoder, study)
  if own.rule == "real":
    known(f"{where}: against: real images", own.against, study.real)
    if not math.isfinite(own.margin):
      raise UserError(f"{where}: margin is a number, not {own.margin}")
    if own.threshold:
      raise UserError(f"{where}: rule real has a margin, not a threshold; set it to 0")
  elif own.against:
    known(f"{where}: against", own.against, study.tests)
    if own.rule != "unlike":
      raise UserError(f"{where}: against belongs to rules unlike and real, not to {own.rule}; set it to ''")
  _check_copies(where, own, study)
  if not 0 <= own.threshold < 1:
    raise UserError(
      f"{where}: threshold is a probability, or a similarity, from 0 (= the rule's own) to below 1, not {own.threshold}"
    )


def _check_copies(where: str, own: fields.Filter, study: StudySpec) -> None:
  """What a filter of rule unlike may set: mirror images, and a second encoder."""
  for name in ("mirrored", "second_encoder", "second_threshold"):
    if getattr(own, name) and own.rule != "unlike":
      default = group.fields(fields.Filter)[name].default
      raise UserError(f"{where}: {name} belongs to rule unlike, not to {own.rule}; set it to {default!r}")
  if own.second_encoder:
    known(f"{where}: second_encoder", own.second_encoder, study.encoders)
    if own.second_encoder == own.encoder:
      raise UserError(f"{where}: second_encoder {own.encoder!r} is the first one too; name another, or none")
  elif own.second_threshold:
    raise UserError(f"{where}: second_threshold needs a second_encoder; name one, or set it to 0")
  if not 0 <= own.second_threshold < 1:
    raise UserError(
      f"{where}: second_threshold is a similarity, from 0 (= 0.95) to below 1, not {own.second_threshold}"
    )
  names = [name for name in (own.encoder, own.second_encoder) if name]
  if own.mirrored and all(study.encoders[name].weights != fields.THUMBNAIL for name in names):
    raise UserError(
      f"{where}: mirrored is for thumbnails, and encoder {own.encoder!r} makes none; name an "
      "encoder('thumbnail'), or set mirrored to False"
    )
