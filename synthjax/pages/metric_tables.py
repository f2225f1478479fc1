"""Metrics of image sets as tables of a page: one for each name in config.metrics, a row a set."""

from __future__ import annotations

from collections.abc import Sequence

from synthjax.pages import page
from synthjax.pages.inputs import SetMetrics

# What a number does not say, where its name makes one think that it does.
_BLIND = {
  "frechet": "sees means and covariances alone, and depends on the number of images",
  "cmmd": "is nearly 10 |difference of the means|^2: it hardly sees how diverse a set is",
  "spread": "says nothing of whether images are of their class",
  "vendi": "says nothing of whether images are of their class, and grows with the number of images",
  "lpips": "says nothing of whether images are of their class",
  "recognizability_top1": "is high of images that are all alike",
  "clip_score": "is high of images that are all alike, and trusts the encoder that compares",
  "precision": "is high of images that are all alike; one stray real image makes it larger",
}


def tables(found: Sequence[SetMetrics]) -> tuple[page.SetMetrics, ...]:
  """Of what is there; a set that lacks a metric has an empty cell."""
  there = [one for one in found if one.numbers]
  return tuple(
    _table([one for one in there if one.name == name]) for name in dict.fromkeys(o.name for o in there)
  )


def _table(sets: Sequence[SetMetrics]) -> page.SetMetrics:
  first = sets[0]
  metrics = tuple(dict.fromkeys(metric for one in sets for metric, _, _ in one.numbers))
  rows = []
  for one in sets:
    values = {metric: value for metric, value, _ in one.numbers}
    images = max(n for _, _, n in one.numbers)
    rows.append((one.images, images, tuple(values.get(metric) for metric in metrics)))
  against = f", against {first.real}" if first.real else ""
  note = f"By encoder {first.encoder}{against}. metrics.json of each set has the numbers of each class."
  return page.SetMetrics(
    first.name, note, metrics, tuple(rows), tuple((m, _BLIND[m]) for m in metrics if m in _BLIND)
  )
