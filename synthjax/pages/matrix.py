"""The page of a matrix: for each encoder a table of data sets by arms, each beside the papers' number where they gave one.

`render` is a function of the Page alone, as a study's report is; the policy in the page forbids scripts and requests.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence

import jinja2

from synthjax.pages import certainty, figures
from synthjax.pages.figures import Seeds
from synthjax.pages.page import Difference, Outdated
from synthjax.pages.report import environment


@dataclasses.dataclass(frozen=True)
class Cell:
  study: str
  dataset: str
  split: str
  encoder: str
  arm: str  # zero-shot, LE+CF+SCE
  top1: tuple[float, ...]  # percent, one a seed; () = not there yet
  mean_class: tuple[float, ...]
  n: int  # images it was measured on
  images: int  # learnt from
  published: float | None
  interval: tuple[float, float] | None = None  # 95 %, over test images
  difference: Difference | None = None  # from its encoder's zero-shot


@dataclasses.dataclass(frozen=True)
class Page:
  title: str
  cells: tuple[Cell, ...]
  source: str  # of the published numbers
  studies: tuple[str, ...]  # folders that hold a report of their own
  reproduce: str
  refresh_seconds: int  # 0 = finished
  caveat: str = ""  # what this can and cannot prove
  outdated: tuple[Outdated, ...] = ()


def render(page: Page) -> str:
  template: jinja2.Template = environment().get_template("matrix.html.jinja")
  encoders = list(dict.fromkeys(cell.encoder for cell in page.cells))
  tables = [_table(e, [c for c in page.cells if c.encoder == e]) for e in encoders]
  rows = [row for table in tables for row in table["rows"]]
  gains = [row["difference"] for row in rows]
  for row, p in zip(rows, certainty.corrected(gains), strict=True):
    row["p"] = p
  return template.render(
    page=page,
    have=sum(bool(cell.top1) for cell in page.cells),
    tables=tables,
    family=certainty.family(gains) if any(gains) else "",
    intervals=any(cell.interval for cell in page.cells),
  )


def _table(encoder: str, cells: Sequence[Cell]) -> dict:
  """A row a data set, a column an arm, and a figure of the way from zero-shot to the last arm, ours and theirs."""
  arms = list(dict.fromkeys(cell.arm for cell in cells))
  rows = []
  for study, dataset in dict.fromkeys((cell.study, cell.dataset) for cell in cells):
    own = {cell.arm: cell for cell in cells if (cell.study, cell.dataset) == (study, dataset)}
    values = [_value(own.get(arm)) for arm in arms]
    ends = (values[0], values[-1])
    steps = [tuple(v[k] for v in ends) for k in ("mean", "published")]
    rows.append(
      dict(
        dataset=dataset,
        study=study,
        n=max(cell.n for cell in own.values()),
        values=values,
        gains=[_gain(*step) for step in steps],
        difference=own[arms[-1]].difference if arms[-1] in own else None,
        figure=figures.steps(steps),
      )
    )
  gains = [[row["gains"][k] for row in rows if row["gains"][k] is not None] for k in (0, 1)]
  means = [statistics.fmean(g) if g else None for g in gains]
  return dict(encoder=encoder, arms=arms, rows=rows, means=means, counts=[len(g) for g in gains])


def _value(cell: Cell | None) -> dict:
  seeds = Seeds.of(cell.top1 if cell else ())
  interval = cell.interval if cell else None
  return dict(seeds=seeds, mean=seeds.mean, interval=interval, published=cell.published if cell else None)


def _gain(before: float | None, after: float | None) -> float | None:
  return None if before is None or after is None else after - before
