"""Stage report of a matrix: encoders x data sets x {zero-shot, tuned on set X}, as `matrix.csv` and `report/index.html`.

A cell is an arm of one of the studies, on one of its tests. Both files are derived, and grow cell by cell.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping, Sequence

import numpy as np
from etils import epath

from synthjax.disk import checksums, workdir
from synthjax.disk.checksums import Fault
from synthjax.pages import matrix as page
from synthjax.pages import published
from synthjax.pages.page import Outdated
from synthjax.products import comparisons, provenance
from synthjax.products.base import DONE, MISSING, REFUSED, STALE, Product, Status, Study, file_faults
from synthjax.products.plan_table import status_or_refusal
from synthjax.products.tune import Arm
from synthjax.runtime.stopping import Stop
from synthjax.spec.study import StudySpec
from synthjax.store import csv_file, records

CSV = "matrix.csv"
_COLUMNS = (
  "study", "dataset", "split", "encoder", "arm", "seeds", "images", "n", "top1", "top1_spread", "mean_class",
  "published_top1", "published_by", "top1_low", "top1_high", "gain", "gain_low", "gain_high", "p",
)  # fmt: skip


_DERIVED = ("interval", "difference")  # of a cell, from the rest and from its results


class Matrix(Product):
  name, stage, alone = "matrix", "report", True

  def __init__(self, config: StudySpec, root: epath.Path, studies: Mapping[str, Sequence[Arm]], command: str):
    self._config, self._root, self._studies, self._command = config, root, studies, command
    self._folder = root / "report"
    self.page = self.folder / "index.html"
    self.inputs = tuple(arm for arms in studies.values() for arm in arms)
    self._lock, self._is_final = threading.Lock(), False

  @classmethod
  def wanted(cls, spec):
    return [()] if spec.studies else []

  @classmethod
  def declare(cls, study: Study, *key: str):
    arms = {name: own.of(Arm) for name, own in study.studies.items()}
    return cls(study.spec, study.root, arms, study.command)

  def cells(self) -> list[page.Cell]:
    """One an arm and test, measured or not."""
    found = []
    for study, arms in self._studies.items():
      own = self._config.studies[study]
      refused = {arm for arm in arms if status_or_refusal(arm).state == REFUSED}
      for arm in arms:
        kind = kind_of(own, arm.arm)
        for test in own.tests:
          tallies = arm.tallies(test) if arm not in refused else []
          zero_shot = comparisons.reference_of(arm, [a for a in arms if a not in refused])
          metrics = [t.metrics() for t in tallies]
          found.append(
            page.Cell(
              study=study,
              dataset=test,
              split=arm.source(test).split,
              encoder=arm.encoder_name,
              arm=kind,
              top1=tuple(m["top1"] for m in metrics),
              mean_class=tuple(m["mean_class"] for m in metrics),
              n=tallies[0].n if tallies else 0,
              images=arm.images if tallies else 0,
              published=published.value(arm.encoder_name, test, kind),
              interval=comparisons.interval(tallies),
              difference=comparisons.difference(arm, tallies, zero_shot, test) if zero_shot else None,
            )
          )
    return found

  @property
  def _state_file(self) -> epath.Path:
    return self.folder / "state.json"

  def _status(self) -> Status:
    cells = self.cells()
    have, want = sum(bool(cell.top1) for cell in cells), len(cells)
    if not self._state_file.exists():
      return Status(MISSING, have, want, "cells")
    drawn = checksums.read_json(self._state_file, "matrix") == _wanted(cells)
    drawn &= self.page.exists() and (self._root / CSV).exists()
    return Status(DONE if drawn and have == want else STALE, have, want, "cells")

  def make(self, stop: Stop) -> bool:
    stop.check()
    if any(arm.status().state != DONE for arm in self.inputs):
      return False
    self.draw(refresh_seconds=0)
    checksums.replace(self._state_file, workdir.to_json(_wanted(self.cells())))
    return True

  def faults(self) -> list[Fault]:
    found, file = file_faults(self.folder), self._root / CSV
    is_drawn = self._state_file.exists() or file.exists() or checksums.is_covered(file)
    return [*found, Fault(why, file)] if is_drawn and (why := checksums.fault(file)) else found

  def draw(self, refresh_seconds: int) -> None:
    """As far as it is measured; with seconds to refresh, the page says that the studies are running."""
    with self._lock:  # the study and the thread that draws meanwhile
      if self._is_final:
        return
      self.page.parent.mkdir(parents=True, exist_ok=True)
      if refresh_seconds:
        checksums.forget(self._state_file)  # the page there is not the finished one
      cells = self.cells()
      checksums.replace(self._root / CSV, _csv(cells))
      drawn = page.Page(
        title=f"{self._config.study or 'Matrix'}: encoders and data sets",
        cells=tuple(cells),
        source=published.source(),
        studies=tuple(self._studies),
        reproduce=self._command,
        refresh_seconds=refresh_seconds,
        caveat=self._caveat(),
        outdated=self._outdated(),
      )
      checksums.replace(self.page, page.render(drawn).encode())
      self._is_final = not refresh_seconds

  def _caveat(self) -> str:
    of_studies = (
      provenance.networks(self._config.studies[study], provenance.made_from(arms))
      for study, arms in self._studies.items()
    )
    return provenance.caveat([network for networks in of_studies for network in networks])

  def _outdated(self) -> tuple[Outdated, ...]:
    return provenance.outdated(
      {f"{study}/{arm.name}": status_or_refusal(arm) for study, arms in self._studies.items() for arm in arms}
    )

  def summary(self) -> list[str]:
    cells = self.cells()
    return [f"{self._root / CSV}: {sum(bool(c.top1) for c in cells)} of {len(cells)} cells"]


def _wanted(cells: Sequence[page.Cell]) -> dict[str, str]:
  """What the finished page must have been drawn from."""
  rows = [dataclasses.asdict(cell) for cell in cells]
  return {"cells": records.digest([{k: v for k, v in row.items() if k not in _DERIVED} for row in rows])}


def kind_of(config: StudySpec, arm: str) -> str:
  """What an arm is in the papers' words, without its encoder: zero-shot, B+CE, LE+CF+SCE."""
  own = config.arms[arm]
  if not own.images:
    return "zero-shot"
  kind = f"{str(own.images).replace('/', '+')}+{own.loss}"
  return f"{kind}-{own.images_per_class}" if own.images_per_class else kind


def _csv(cells: Sequence[page.Cell]) -> bytes:
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
