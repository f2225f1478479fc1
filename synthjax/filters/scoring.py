"""Scores of the images that a filter sees, round by round: each further round begins with those of the round before."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from etils import epath

from synthjax.filters.rule import Embedded, Evidence, Images, Rule, ScoreRule

Array = np.ndarray


class Scoring:
  """Of one rule and one set, for as long as a list is being made."""

  def __init__(self, rule: Rule):
    self._rule, self._at_once = rule, rule.at_once if isinstance(rule, ScoreRule) else 0
    self._places, self._scores = np.zeros(0, int), np.zeros(0)

  def score(
    self, folder: epath.Path, embedded: Sequence[Embedded], places: Array
  ) -> tuple[Array, Evidence | None]:
    """Of the images at `places` of the set in `folder`."""
    if not self._at_once:
      return self._rule.score(Images(folder, places, [one.at(places) for one in embedded]))
    known = self._known(places)
    parts = [self._scores[:known]]
    for start in range(known, len(places), self._at_once):
      block = places[start : start + self._at_once]
      parts.append(self._rule.score(Images(folder, block, [one.at(block) for one in embedded]))[0])
    self._places, self._scores = places, np.concatenate(parts)
    return self._scores, None

  def _known(self, places: Array) -> int:
    """How many scores hold: those of whole blocks, as the rounding of a matrix product may follow from the number of its rows."""
    n = min(len(places), len(self._places))
    differs = np.flatnonzero(places[:n] != self._places[:n])
    same = int(differs[0]) if len(differs) else n
    if same == len(places) == len(self._places):
      return same
    return same // self._at_once * self._at_once
