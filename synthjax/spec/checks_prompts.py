"""Prompt lists: what they name of the study is there."""

from __future__ import annotations

from synthjax.runtime.errors import UserError, known
from synthjax.spec import fields
from synthjax.spec.checks import check_knows_classes
from synthjax.spec.study import StudySpec


def check_prompts(where: str, own: fields.Prompts, study: StudySpec) -> None:
  if own.described_by:
    known(f"{where}: described_by: prompt list", own.described_by, study.prompts)
    _check_chain(where, own.described_by, study)
    if study.prompts[own.described_by].labels != own.labels:
      raise UserError(
        f"{where}: described_by is {own.described_by}, whose classes are others; give both the same labels"
      )
  if own.fits:
    known(f"{where}: fits: encoder", own.fits, study.encoders)
    check_knows_classes(where, own.fits, study)
  if own.real:
    known(f"{where}: real images", own.real, study.real)
  if own.strategy == "LAR" and own.real:
    known(f"{where}: encoder", own.encoder, study.encoders)
    check_knows_classes(where, own.encoder, study)
  if own.strategy == "mix":
    lists = mixed(own)
    if len(lists) < 2:
      raise UserError(f"{where}: strategy mix takes two lists or more; set lists='CD,SD'")
    for name in lists:
      known(f"{where}: lists: prompt list", name, study.prompts)
      _check_chain(where, name, study)
      if study.prompts[name].labels != own.labels:
        raise UserError(f"{where}: lists has {name}, whose classes are others; give all the same labels")


def mixed(own: fields.Prompts) -> tuple[str, ...]:
  """The lists that a list of strategy mix is made of."""
  return tuple(name.strip() for name in own.lists.split(",") if name.strip())


def _check_chain(where: str, name: str, study: StudySpec, above: tuple[str, ...] = ()) -> None:
  """Lists are made from others, never in a circle."""
  if name in above:
    raise UserError(
      f"{where}: {' -> '.join((*above, name))}: prompt lists are made from one another in a circle"
    )
  own = study.prompts.get(name)
  if own is None:
    return
  of_mix = mixed(own) if own.strategy == "mix" else ()
  for needed in (*of_mix, *((own.described_by,) if own.described_by else ())):
    _check_chain(where, needed, study, (*above, name))
