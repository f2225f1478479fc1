"""Stage report: all rows as `results.jsonl`, and the page `report/index.html`. Both are derived from the products."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

from etils import epath

from synthjax.disk import checksums
from synthjax.disk.checksums import Fault
from synthjax.labels.spaces import LabelSpace
from synthjax.pages import report, study_page
from synthjax.pages.inputs import Asked
from synthjax.products.base import (
  DONE,
  MISSING,
  REFUSED,
  STALE,
  Product,
  Status,
  Study,
  file_faults,
  status_or_refusal,
)
from synthjax.products.derived_page import DerivedPage, made_from, members
from synthjax.products.prompt_list import PromptList
from synthjax.spec.study import StudySpec
from synthjax.store import records

RESULTS = "results.jsonl"


class Report(DerivedPage):
  name, stage = "report", "report"

  def __init__(
    self,
    config: StudySpec,
    root: epath.Path,
    labels: LabelSpace,
    products: Sequence[Product],
    command: str,
    writers: Mapping[str, str],
  ):
    super().__init__(root, RESULTS, products)
    self._config, self._labels, self._command, self._writers = config, labels, command, writers

  @classmethod
  def wanted(cls, spec: StudySpec) -> Iterable[tuple[str, ...]]:
    """Of networks and prompt lists alone there is nothing to look at."""
    return [()] if spec.sets or spec.arms or spec.learners else []

  @classmethod
  def declare(cls, study: Study, *key: str) -> Self:
    del key
    writers = {one.list_name: one.writer for one in study.of(PromptList)}
    return cls(study.spec, study.root, study.labels, study.products, study.command, writers)

  def _all_rows(self) -> list[dict[str, Any]]:
    return [row for product in self.inputs for row in product.rows()]

  def _wanted(self, rows: Sequence[dict[str, Any]]) -> dict[str, str]:
    """What the finished page must have been rendered from."""
    settings = dict(study_page.settings(self._config, self._writers))
    return {"settings": records.digest(settings), "rows": records.digest(rows)}

  def _status(self) -> Status:
    if not self._state_file.exists():
      return Status(MISSING, unit="page")
    seen = [status_or_refusal(product).state for product in self.inputs]
    if REFUSED in seen:
      return Status(STALE, unit="page")  # it says so
    drawn = self._is_rendered_from(self._wanted(self._all_rows()))
    if set(seen) != {DONE}:
      return Status(STALE, unit="page")
    again = (
      "" if drawn else "rendered by another release, or for other fields or results; it is rendered again"
    )
    return Status(DONE if drawn else STALE, unit="page", why=again)

  def _finish(self) -> dict[str, str]:
    rows = self._all_rows()
    checksums.replace(self.table, records.to_lines(rows))
    self.render(refresh_seconds=0)
    return self._wanted(rows)

  def _files(self, refresh_seconds: int) -> Mapping[epath.Path, bytes]:
    seen = members([(p.name, p) for p in self.inputs], list(self._config.tests)[:1])
    runs = [
      p for p, m in zip(self.inputs, seen, strict=True) if m.about.run and study_page.has_line(m.about.run)
    ]
    about = {id(p): m.about for p, m in zip(self.inputs, seen, strict=True)}
    used = [about[id(p)] for p in made_from(runs or self.inputs)]
    body = study_page.assemble(
      self._config, self._labels, seen, used, self._command, refresh_seconds, self._writers
    )
    return {self.page: report.render(body).encode()}

  def faults(self) -> list[Fault]:
    """The rows are also held against what the finished page was drawn from, whatever release wrote them."""
    found, file, is_finished = file_faults(self.folder), self.table, self._state_file.exists()
    if (is_finished or file.exists() or checksums.is_covered(file)) and (why := checksums.fault(file)):
      return [*found, Fault(why, file)]
    if found or not is_finished:
      return found
    try:
      rows = [json.loads(line) for line in file.read_bytes().splitlines()]
    except ValueError:
      rows = []
    if records.digest(rows) != checksums.read_json(self._state_file, "report", dict).get("rows"):
      return [Fault(f"{file} holds other rows than the page shows; remove it and run again", file)]
    return []

  def summary(self) -> list[str]:
    """One line an arm or a learner."""
    tests = tuple(self._config.tests)
    runs = [product.about(Asked(results=tests)).run for product in self.inputs if product.about().run]
    return study_page.summary([run for run in runs if run and study_page.has_line(run)], tests)
