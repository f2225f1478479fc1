"""Image sets and real images that would fail late."""

from __future__ import annotations

from synthjax.runtime.errors import UserError, known
from synthjax.spec import fields
from synthjax.spec.entries import SampledSet
from synthjax.spec.study import StudySpec


def check_set(where: str, own: SampledSet | fields.Import, study: StudySpec) -> None:
  if isinstance(own, fields.Import):
    if not own.source:
      raise UserError(f"{where}: source is empty; name labelled images, as folder:PATH")
    return
  if not 0 <= own.strength <= 1 and own.strength != fields.BY_SHOTS:
    raise UserError(f"{where}: strength is between 0 and 1, not {own.strength}")
  if own.strength < 1 and not own.parents:
    raise UserError(
      f"{where}: strength {own.strength} needs images to start from; set parents, as folder:PATH"
    )
  if own.parents.startswith("real:"):
    known(f"{where}: parents: real images", own.real_parents, study.real)
  if own.strength == fields.BY_SHOTS:
    if not own.real_parents or not study.real[own.real_parents].shots:
      raise UserError(
        f"{where}: strength BY_SHOTS needs parents real:NAME, one of config.real with so many shots, not {own.parents!r}"
      )
    if own.sampler == "lcm":
      raise UserError(f"{where}: strength BY_SHOTS is not for sampler lcm; set a number")
  if own.eta and own.sampler != "ddim":
    raise UserError(f"{where}: eta belongs to sampler ddim, not to {own.sampler}; set it to 0")
  if own.generator.startswith("network:"):
    known(f"{where}: network", own.network, study.networks)


def check_real(where: str, own: fields.Real) -> None:
  if not own.source:
    raise UserError(f"{where}: source is empty; name real images, as folder:PATH")
