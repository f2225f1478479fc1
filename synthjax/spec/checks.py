"""What values of a config are held against, each reported in one line."""

from __future__ import annotations

import re

from synthjax.runtime.errors import UserError
from synthjax.spec import fields
from synthjax.spec.references import named
from synthjax.spec.study import StudySpec


def pattern(what: str, value: str) -> None:
  try:
    re.compile(value)
  except re.error as e:
    raise UserError(f"{what} {value!r} is no pattern: {e}") from None


def at_least(what: str, value: float, low: float) -> None:
  if not value >= low:  # so that nan is refused too
    raise UserError(f"{what} is at least {low}, not {value}")


def knows_classes(weights: str) -> bool:
  """Whether an encoder has a text tower."""
  return weights != fields.THUMBNAIL and not image_network(weights)


def image_network(weights: str) -> str:
  """The scheme of weights of a network that sees images alone; "" of others."""
  return next((scheme for scheme in (fields.INCEPTION, fields.DINOV2) if named(scheme, weights)), "")


def check_encoder(where: str, own: fields.Encoder) -> None:
  scheme = image_network(own.weights)
  if own.weights in (f"{fields.INCEPTION}:", f"{fields.DINOV2}:"):
    raise UserError(f"{where}: weights {own.weights!r} names no folder; write {own.weights}FOLDER")
  if scheme and own.dtype != "float32":
    raise UserError(f"{where}: dtype {own.dtype}: {scheme} computes in float32 alone; set it to 'float32'")
  if own.resize != "bicubic" and scheme != fields.INCEPTION:
    raise UserError(
      f"{where}: resize belongs to inception:FOLDER, not to {own.weights!r}; set it to 'bicubic'"
    )


def check_knows_classes(where: str, encoder: str, study: StudySpec) -> None:
  weights = study.encoders[encoder].weights
  if scheme := image_network(weights):
    raise UserError(
      f"{where}: encoder {encoder!r} is of {scheme}, which sees images and knows no classes; name a CLIP"
    )
  if not knows_classes(weights):
    raise UserError(f"{where}: encoder {encoder!r} makes thumbnails, which know no classes; name a CLIP")
