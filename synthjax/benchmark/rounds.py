"""Measuring in turn, because machines are noisy and shared: a slow minute is slow for all, and ratios hold."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

from synthjax.runtime.stopping import Stop

Spread = dict[str, float]


def interleaved(
  measures: Mapping[str, Callable[[], float]], rounds: int, stop: Stop
) -> dict[str, list[float]]:
  """Each measurement once a round, in turn."""
  found: dict[str, list[float]] = {name: [] for name in measures}
  for _ in range(rounds):
    for name, measure in measures.items():
      stop.check()
      found[name].append(measure())
  return found


def seconds(work: Callable[[], object]) -> float:
  start = time.perf_counter()
  work()
  return time.perf_counter() - start


def spread(values: Sequence[float]) -> Spread | None:
  """None of nothing."""
  if not values:
    return None
  return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
  """Round by round; nothing where one of the two was not measured."""
  return [a / b for a, b in zip(above, below, strict=True)] if above and below else []
