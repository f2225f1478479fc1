"""Rows of results, as a run's rows.jsonl and the study's results.jsonl hold them: one a metric."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from synthjax.evaluation.accuracy import Tally

Row = dict[str, Any]
TOP1 = "top1"
_NOTHING: Mapping[str, Any] = MappingProxyType({})


def rows(
  tally: Tally,
  before: Mapping[str, Any],
  after: Mapping[str, Any] = _NOTHING,
  measure: str = TOP1,
  top5: bool = False,
) -> list[Row]:
  """The keys of `before`, the metric and its value, the keys of `after`. A probe's name as `measure` has its accuracy alone."""
  metrics = tally.metrics(top5) if measure == TOP1 else {measure: tally.metrics()["top1"]}
  return [{**before, "metric": name, "value": value, **after} for name, value in metrics.items()]
