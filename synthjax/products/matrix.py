"""Stage report of a matrix: encoders x data sets x {zero-shot, tuned on set X}, as `matrix.csv` and `report/index.html`.

A cell is an arm of one of the studies, on one of its tests. Both files are derived, and grow cell by cell.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Self

from etils import epath

from synthjax.disk import checksums
from synthjax.disk.checksums import Fault
from synthjax.pages import matrix as page
from synthjax.pages import matrix_cells, provenance, published
from synthjax.pages.inputs import Member
from synthjax.products.arm import Arm
from synthjax.products.base import DONE, MISSING, STALE, Product, Status, Study, file_faults
from synthjax.products.derived_page import DerivedPage, made_from, members
from synthjax.spec.study import StudySpec

CSV = "matrix.csv"


class Matrix(DerivedPage):
  name, stage, alone = "matrix", "report", True

  def __init__(
    self, config: StudySpec, root: epath.Path, studies: Mapping[str, Sequence[Product]], command: str
  ):
    super().__init__(root, CSV, [arm for arms in studies.values() for arm in arms])
    self._config, self._studies, self._command = config, studies, command

  @classmethod
  def wanted(cls, spec: StudySpec) -> Iterable[tuple[str, ...]]:
    return [()] if spec.studies else []

  @classmethod
  def declare(cls, study: Study, *key: str) -> Self:
    del key
    arms = {name: own.of(Arm) for name, own in study.studies.items()}
    return cls(study.spec, study.root, arms, study.command)

  def _members(self) -> dict[str, list[Member]]:
    """The arms of each study."""
    return {
      study: members([(f"{study}/{arm.name}", arm) for arm in arms], self._config.studies[study].tests)
      for study, arms in self._studies.items()
    }

  def _cells(self, arms: Mapping[str, Sequence[Member]]) -> list[page.Cell]:
    """One an arm and test, measured or not."""
    studies = self._config.studies
    return [cell for study, own in arms.items() for cell in matrix_cells.cells(study, studies[study], own)]

  def _status(self) -> Status:
    cells = self._cells(self._members())
    have, want = sum(bool(cell.top1) for cell in cells), len(cells)
    if not self._state_file.exists():
      return Status(MISSING, have, want, "cells")
    drawn = self._is_rendered_from(matrix_cells.basis(cells))
    return Status(DONE if drawn and have == want else STALE, have, want, "cells")

  def _status_without(self) -> Status:
    want = sum(len(arms) * len(self._config.studies[s].tests) for s, arms in self._studies.items())
    return Status(MISSING, 0, want, "cells")

  def _finish(self) -> dict[str, str]:
    self.render(refresh_seconds=0)
    return matrix_cells.basis(self._cells(self._members()))

  def _files(self, refresh_seconds: int) -> Mapping[epath.Path, bytes]:
    arms = self._members()
    cells = self._cells(arms)
    caveat = provenance.caveat(
      [
        network
        for study, own in self._studies.items()
        for network in provenance.networks(
          self._config.studies[study], [product.about() for product in made_from(own)]
        )
      ]
    )
    drawn = page.Page(
      title=f"{self._config.study or 'Matrix'}: encoders and data sets",
      cells=tuple(cells),
      source=published.source(),
      studies=tuple(self._studies),
      reproduce=self._command,
      refresh_seconds=refresh_seconds,
      caveat=caveat,
      outdated=provenance.outdated([member for own in arms.values() for member in own]),
    )
    return {self.table: matrix_cells.to_csv(cells), self.page: page.render(drawn).encode()}

  def faults(self) -> list[Fault]:
    found, file = file_faults(self.folder), self.table
    is_drawn = self._state_file.exists() or file.exists() or checksums.is_covered(file)
    return [*found, Fault(why, file)] if is_drawn and (why := checksums.fault(file)) else found

  def summary(self) -> list[str]:
    cells = self._cells(self._members())
    return [f"{self.table}: {sum(bool(c.top1) for c in cells)} of {len(cells)} cells"]
