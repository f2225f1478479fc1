"""What values of a config are held against, each reported in one line."""

from __future__ import annotations

import re
from collections.abc import Iterable

from synthjax.runtime.errors import UserError, nearest
from synthjax.spec import fields
from synthjax.spec.study import StudySpec


def known(what: str, value: str, among: Iterable[str]) -> None:
  if value not in among:
    raise UserError(f"{what} {value!r}{nearest(value, among)}")


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
  return weights != fields.THUMBNAIL


def check_knows_classes(where: str, encoder: str, study: StudySpec) -> None:
  if not knows_classes(study.encoders[encoder].weights):
    raise UserError(f"{where}: encoder {encoder!r} makes thumbnails, which know no classes; name a CLIP")
