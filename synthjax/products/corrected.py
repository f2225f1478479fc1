"""Which learners a correction affects, and what is said where a result of the older rule still lies there.

A run's folder is named by its identity, so one of an older rule is neither read nor resumed: the run is made again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from etils import epath

from synthjax.learning import settings
from synthjax.products.base import DONE, Product
from synthjax.spec.fields import Learning
from synthjax.store import corrections


class Learner(Protocol):
  """What is asked of a learner here."""

  @property
  def stage(self) -> str: ...

  @property
  def learner(self) -> str: ...

  @property
  def inputs(self) -> Sequence[Product]: ...

  @property
  def identity(self) -> dict[str, Any]: ...

  @property
  def older_folder(self) -> epath.Path | None: ...


def of_learner(fields: Learning) -> dict[str, list[str]]:
  """What its identity gains."""
  return corrections.applied(decay=settings.decays_otherwise(fields))


def why(learner: Learner) -> str:
  """That the result of an older rule is there, and its run is made again; "" where none is."""
  if not _is_named(learner):
    return ""
  rule, older = _rule(learner), learner.older_folder
  if not rule or not older:
    return ""
  return f"an older result, runs/{older.name}, {rule}"


def _origin(learner: Learner) -> Learner | None:
  """The learner that it begins with."""
  return next((product for product in learner.inputs if product.stage == learner.stage), None)  # type: ignore[misc]


def _is_named(learner: Learner) -> bool:
  """Its identity can be read: the images are there. What it begins with need not have been trained."""
  images = [product for product in learner.inputs if product.stage != learner.stage]
  origin = _origin(learner)
  return all(p.status().state == DONE for p in images) and (origin is None or _is_named(origin))


def _rule(learner: Learner) -> str:
  if own := corrections.since({}, learner.identity):
    return f"was made before: {own}"
  origin = _origin(learner)
  rule = _rule(origin) if origin else ""
  return f"is initialised from learner {origin.learner}, which {rule}" if origin and rule else ""
