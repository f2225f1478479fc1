"""What a filter has scored and chosen, as the files of a keep-list and as lines for the user."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from synthjax.disk import workdir
from synthjax.filters.choose import Choice
from synthjax.filters.rule import Embedded, Evidence
from synthjax.store.kept import IDS, PAIRS, SCORES, SUMMARY

COUNTS = ("drawn", "passed", "kept", "filled")


@dataclasses.dataclass(frozen=True)
class ScoredImages:
  """Images of a set and their scores, in the order in which they were scored."""

  places: np.ndarray  # in the set
  of_set: Embedded
  scores: np.ndarray
  evidence: Evidence | None
  choice: Choice

  def staying(self) -> np.ndarray:
    """Places in the set of what stays, in plan order."""
    return np.sort(self.places[self.choice.stays_N])

  def summary(self, class_ids: Sequence[str]) -> dict[str, Any]:
    return {"classes": rows(class_ids, self.choice)} | (self.evidence.counts() if self.evidence else {})

  def files(self, summary: dict[str, Any]) -> dict[str, bytes]:
    """All but the sheet; arrays in plan order."""
    order = np.argsort(self.places)
    places, stays, buffer = self.places[order], self.choice.stays_N[order], io.BytesIO()
    ids, labels = self.of_set.ids.at(places), self.of_set.labels[places]
    np.savez(buffer, ids=ids.as_texts(), labels=labels, scores=self.scores[order], stays=stays)
    found = {IDS: ids.at(np.flatnonzero(stays)).as_lines(), SCORES: buffer.getvalue()}
    found[SUMMARY] = workdir.to_json(summary)
    if self.evidence:
      found[PAIRS] = self.evidence.to_csv()
    return found

  def lines(self, name: str, summary: dict[str, Any], found: str, quota: int) -> list[str]:
    """For the terminal. `found`: what the rule says of its evidence."""
    lines = []
    if self.evidence:
      lines.append(f"{name}: {found}; {PAIRS} names them")
      lines += [f"{name}: note: {self.evidence.note}"] if self.evidence.note else []
    return lines + _shortfalls(name, summary["classes"], quota)


def rows(class_ids: Sequence[str], choice: Choice) -> list[dict[str, Any]]:
  """By class."""
  columns = (getattr(choice, name).tolist() for name in COUNTS)
  return [
    {"id": c, "drawn": d, "passed": p, "kept": k, "filled": f, "acceptance": p / d if d else None}
    for c, d, p, k, f in zip(class_ids, *columns, strict=True)
  ]


def _shortfalls(name: str, rows: list[dict[str, Any]], quota: int) -> list[str]:
  lines = []
  none = [row["id"] for row in rows if not row["passed"]]
  filled = sum(row["filled"] for row in rows)
  short = [row["id"] for row in rows if row["kept"] < quota]
  if none:
    lines.append(f"{name}: no image of {len(none)} classes passed ({', '.join(none[:5])})")
  if filled:
    lines.append(
      f"{name}: {filled} images that did not pass fill up classes that missed the quota of {quota}"
    )
  if short:
    lines.append(f"{name}: {len(short)} classes have fewer than {quota} images ({', '.join(short[:5])})")
  return lines
