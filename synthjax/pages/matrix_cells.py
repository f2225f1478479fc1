"""The cells of a matrix, from what the arms of its studies say of themselves, and its table."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from synthjax.pages import comparisons, published
from synthjax.pages.inputs import Member
from synthjax.pages.matrix import Cell
from synthjax.spec.study import StudySpec
from synthjax.store import csv_file, records

_COLUMNS = (
  "study", "dataset", "split", "encoder", "arm", "seeds", "images", "n", "top1", "top1_spread", "mean_class",
  "published_top1", "published_by", "top1_low", "top1_high", "gain", "gain_low", "gain_high", "p",
)  # fmt: skip
_DERIVED = ("interval", "difference")  # of a cell, from the rest and from its results


def cells(study: str, config: StudySpec, arms: Sequence[Member]) -> Iterator[Cell]:
  """Of one study: one an arm and test, measured or not."""
  runs = [m.about.run for m in arms if m.about.run]
  shown = [m.about.run for m in arms if m.about.run and not m.is_refused]
  for run in runs:
    kind, zero_shot = kind_of(config, run.name), comparisons.reference_of(run, shown)
    for test in config.tests:
      tallies = run.tallies(test)
      metrics = [t.metrics() for t in tallies]
      yield Cell(
        study=study,
        dataset=test,
        split=run.tests[test].split,
        encoder=run.encoder,
        arm=kind,
        top1=tuple(m["top1"] for m in metrics),
        mean_class=tuple(m["mean_class"] for m in metrics),
        n=tallies[0].n if tallies else 0,
        images=run.images,
        published=published.value(run.encoder, test, kind),
        interval=comparisons.interval(tallies),
        difference=comparisons.difference(run, tallies, zero_shot, test) if zero_shot else None,
      )


def basis(cells: Sequence[Cell]) -> dict[str, str]:
  """What the finished page must have been rendered from."""
  rows = [dataclasses.asdict(cell) for cell in cells]
  return {"cells": records.digest([{k: v for k, v in row.items() if k not in _DERIVED} for row in rows])}


def kind_of(config: StudySpec, arm: str) -> str:
  """What an arm is in the papers' words, without its encoder: zero-shot, B+CE, LE+CF+SCE."""
  own = config.arms[arm]
  if not own.images:
    return "zero-shot"
  kind = f"{str(own.images).replace('/', '+')}+{own.loss}"
  return f"{kind}-{own.images_per_class}" if own.images_per_class else kind


def to_csv(cells: Sequence[Cell]) -> bytes:
  """A line a cell; what is not measured yet is empty. Means over seeds, in percent; intervals and p of each cell alone."""
  rows = []
  for cell in cells:
    row = {name: getattr(cell, name) for name in ("study", "dataset", "split", "encoder", "arm")}
    if cell.top1:
      row |= dict(seeds=len(cell.top1), images=cell.images, n=cell.n, top1=f"{np.mean(cell.top1):.4f}")
      row |= dict(mean_class=f"{np.mean(cell.mean_class):.4f}")
    if len(cell.top1) > 1:
      row |= dict(top1_spread=f"{np.std(cell.top1, ddof=1):.4f}")
    if cell.interval:
      row |= {f"top1_{end}": f"{x:.4f}" for end, x in zip(("low", "high"), cell.interval, strict=True)}
    if d := cell.difference:
      row |= dict(gain=f"{d.points:.4f}", gain_low=f"{d.low:.4f}", gain_high=f"{d.high:.4f}", p=f"{d.p:.3g}")
    if cell.published is not None:
      row |= dict(published_top1=cell.published, published_by=published.source())
    rows.append([row.get(column, "") for column in _COLUMNS])
  return csv_file.to_bytes(_COLUMNS, rows)
