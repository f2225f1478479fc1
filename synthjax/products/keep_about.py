"""What a keep-list says of itself for pages."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from synthjax.pages import scores
from synthjax.pages.inputs import About, Asked, Counts, Keep


class Readable(Protocol):
  """What is read of a keep-list."""

  set_name: str
  filter: str
  encoder_name: str

  @property
  def rule(self) -> str: ...

  @property
  def how(self) -> str: ...

  def summary(self) -> Mapping[str, Any] | None: ...

  def load(self) -> Mapping[str, np.ndarray]: ...

  def pairs_sheet(self) -> bytes: ...


def about(keep: Readable, asked: Asked | None) -> About:
  """Once there is a list, what it did to each class, and what is asked for of its images."""
  unread = Keep(keep.set_name, keep.filter, keep.encoder_name, scores.meaning(keep.rule))
  summary = keep.summary() if asked else None
  if asked is None or summary is None:
    return About(keep=unread)
  classes = tuple(Counts(row["id"], *(row[c] for c in Counts._fields[1:])) for row in summary["classes"])
  read = dataclasses.replace(
    unread,
    how=keep.how,
    classes=classes,
    rounds=summary["rounds"],
    scored=scores.of_images(keep.load(), classes, asked.scores) if asked.scores else {},
    pairs=keep.pairs_sheet() if asked.pairs else b"",
  )
  return About(keep=read)
