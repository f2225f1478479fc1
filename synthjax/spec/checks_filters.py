"""What a filter of rule unlike may set: mirror images, and a second encoder."""

from __future__ import annotations

from ml_collections import ConfigDict

from synthjax.runtime.errors import UserError
from synthjax.spec import fields
from synthjax.spec.checks import known


def check_copies(where: str, own: ConfigDict, config: ConfigDict) -> None:
  for name in ("mirrored", "second_encoder", "second_threshold"):
    if own[name] and own.rule != "unlike":
      default = fields.FILTER[name].default
      raise UserError(f"{where}: {name} belongs to rule unlike, not to {own.rule}; set it to {default!r}")
  if own.second_encoder:
    known(f"{where}: second_encoder", own.second_encoder, config.encoders)
    if own.second_encoder == own.encoder:
      raise UserError(f"{where}: second_encoder {own.encoder!r} is the first one too; name another, or none")
  elif own.second_threshold:
    raise UserError(f"{where}: second_threshold needs a second_encoder; name one, or set it to 0")
  if not 0 <= own.second_threshold < 1:
    raise UserError(
      f"{where}: second_threshold is a similarity, from 0 (= 0.95) to below 1, not {own.second_threshold}"
    )
  names = [name for name in (own.encoder, own.second_encoder) if name]
  if own.mirrored and all(config.encoders[name].weights != fields.THUMBNAIL for name in names):
    raise UserError(
      f"{where}: mirrored is for thumbnails, and encoder {own.encoder!r} makes none; name an "
      "encoder('thumbnail'), or set mirrored to False"
    )
