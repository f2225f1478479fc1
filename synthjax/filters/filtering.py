"""A filter at work on an image set: which images it sees, round by round, and which of them stay."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from etils import epath

from synthjax.data.selection import rank
from synthjax.filters.choose import Choice, choose, is_by_prefix, prefix, visible
from synthjax.filters.rule import Embedded, Rule
from synthjax.filters.scored_images import ScoredImages
from synthjax.filters.scoring import Scoring
from synthjax.spec.fields import Filter
from synthjax.store.plan import Plan

Array = np.ndarray


@dataclasses.dataclass(frozen=True)
class Filtering:
  rule: Rule
  fields: Filter
  n_classes: int
  begin: int  # images of each class that the first round sees
  draws_more: bool  # whether the set can be asked for more of them

  @property
  def most(self) -> int:
    """Images of a class that further rounds may come to; 0 = there are none."""
    return round(self.fields.max_drawn * self.fields.kept_per_class)

  def choose(self, scores: Array, labels: Array) -> Choice:
    fill = self.fields.when_short == "top" and self.rule.may_fill
    return choose(scores, labels, self.n_classes, self.rule.must_exceed, self.fields.kept_per_class, fill)

  def score(
    self, folder: epath.Path, embedded: Sequence[Embedded], scoring: Scoring
  ) -> tuple[list[Array], ScoredImages | None]:
    """(how many images of each class it wants to see, round by round; the images of the last round, None: not all are drawn).

    `embedded`: all images in the set in `folder`, by each encoder of the rule. `scoring` knows those that were scored before.
    """
    labels, scored = embedded[0].labels, []
    samples, there = rank(labels), np.bincount(labels, minlength=self.n_classes)

    def look(reach: list[Array]) -> Choice | None:
      if self.draws_more and (there < reach[-1]).any():
        return None
      places = visible(samples, labels, reach)
      scores, evidence = scoring.score(folder, embedded, places)
      choice = self.choose(scores, labels[places])
      scored[:] = [ScoredImages(places, embedded[0], scores, evidence, choice)]
      return choice

    reach, choice = self._prefix(look)
    return reach, scored[0] if choice else None

  def _prefix(self, look: Callable[[list[Array]], Choice | None]) -> tuple[list[Array], Choice | None]:
    quota, rounds = self.fields.kept_per_class, self.fields.max_rounds if self.draws_more else 0
    begin = np.full(self.n_classes, self.begin)
    return prefix(begin, look, quota, self.most, rounds)

  def is_replayed(self, scored: Mapping[str, Array], plan: Plan, asked_by: str) -> bool:
    """Whether a list of an older release is what this filter gives.

    `scored`: its scores. It had seen what the set was asked for, and what was drawn for itself, marked by `asked_by`.
    """
    labels, own = plan.labels(), np.char.startswith(plan.asked_by(), asked_by)
    return is_by_prefix(scored, labels, own | (rank(labels) < self.begin), self._prefix, self.choose)
