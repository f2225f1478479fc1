"""What a filter has seen and chosen, as the files of a keep-list and as lines for the user."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from synthjax.disk import workdir
from synthjax.filters.choose import Choice
from synthjax.store.features import Features
from synthjax.store.kept import IDS, PAIRS, PAIRS_SHEET, SCORES, SUMMARY

COUNTS = ("drawn", "passed", "kept", "filled")


class Evidence(Protocol):
  """Of a rule that holds images against others: what speaks against each that does not stay."""

  @property
  def scores(self) -> np.ndarray: ...

  @property
  def note(self) -> str: ...

  def count(self, threshold: float, /) -> dict[str, Any]: ...

  def to_csv(self, ids: np.ndarray, threshold: float, /) -> bytes: ...

  def sheet(self, threshold: float, title: str, /) -> bytes: ...


@dataclasses.dataclass(frozen=True)
class Judged:
  """What a filter has seen, in the order in which it saw it."""

  places: np.ndarray  # in the set
  features: Features
  scores: np.ndarray
  evidence: Evidence | None

  def staying(self, choice: Choice) -> np.ndarray:
    """Places in the set of what stays, in plan order."""
    return np.sort(self.places[choice.stays_N])

  def files(self, choice: Choice, summary: dict[str, Any], name: str) -> dict[str, bytes]:
    """All arrays in plan order."""
    order = np.argsort(self.places)
    ids, labels, stays = self.features.ids[order], self.features.labels[order], choice.stays_N[order]
    buffer = io.BytesIO()
    np.savez(buffer, ids=ids, labels=labels, scores=self.scores[order], stays=stays)
    found = {IDS: "".join(f"{i}\n" for i in ids[stays]).encode(), SCORES: buffer.getvalue()}
    found[SUMMARY] = workdir.to_json(summary)
    if self.evidence:
      found[PAIRS] = self.evidence.to_csv(self.features.ids, summary["threshold"])
      found[PAIRS_SHEET] = self.evidence.sheet(summary["threshold"], name)
    return found


def rows(class_ids: Sequence[str], choice: Choice) -> list[dict[str, Any]]:
  """By class."""
  columns = (getattr(choice, name).tolist() for name in COUNTS)
  return [
    {"id": c, "drawn": d, "passed": p, "kept": k, "filled": f, "acceptance": p / d if d else None}
    for c, d, p, k, f in zip(class_ids, *columns, strict=True)
  ]


def said(summary: dict[str, Any]) -> str:
  """By rules that hold images against others."""
  if "strayed" in summary:
    return f"{summary['strayed']} images are nearer to a real image of another class"
  by = ", ".join(f"{n} by {key}" for key, n in summary.get("near_by", {}).items())
  shares = f" ({by})" if len(summary.get("near_by", {})) > 1 else ""
  return f"{summary['exact']} images are repeats to the byte and {summary['near']} more are nearly so{shares}"


def shortfalls(name: str, rows: list[dict[str, Any]], quota: int) -> list[str]:
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
