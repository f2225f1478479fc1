"""Stage report of a study with grids: `scaling/index.html`, with its numbers as CSV files beside it. Derived from the runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np
from etils import epath

from synthjax.disk.checksums import Fault
from synthjax.labels.spaces import LabelSpace
from synthjax.pages import provenance, published, scaling, scaling_tables
from synthjax.pages.inputs import Asked, Member, Run
from synthjax.products.base import DONE, MISSING, STALE, Status, Study, file_faults
from synthjax.products.derived_page import DerivedPage, made_from, members
from synthjax.products.image_set import ImageSet
from synthjax.products.learner import Learner
from synthjax.products.set_metrics import SetMetrics
from synthjax.scaling import curves
from synthjax.scaling.curves import Point
from synthjax.spec.entries import Axes, SampledSet
from synthjax.spec.study import StudySpec
from synthjax.store import records

_TABLE = "scaling/curves.csv"
_RECOGNIZABILITY, _DIVERSITY = "recognizability_macro_f1", ("spread", "vendi", "lpips")
_ALL_TOGETHER = 8  # curves that one figure can hold


class Scaling(DerivedPage):
  name, stage = "scaling", "report"

  def __init__(
    self,
    config: StudySpec,
    root: epath.Path,
    labels: LabelSpace,
    runs: Sequence[Learner],
    metrics: Sequence[SetMetrics],
    command: str,
  ):
    super().__init__(root, _TABLE, [*runs, *metrics], folder="scaling")
    self._config, self._labels, self._command = config, labels, command
    self._learners, self._metrics = runs, metrics
    self._flops: dict[str, float] = {}

  @classmethod
  def wanted(cls, spec: StudySpec) -> Iterable[tuple[str, ...]]:
    return [()] if any(own.axes for own in spec.learners.values()) else []

  @classmethod
  def declare(cls, study: Study, *key: str) -> Self:
    del key
    runs = [p for p in study.of(Learner) if p.fields.axes]
    sets = {p.fields.images.set for p in runs}
    metrics = [p for p in study.of(SetMetrics) if p.set_name in sets]
    return cls(study.spec, study.root, study.labels, runs, metrics, study.command)

  def _wanted(self) -> dict[str, str]:
    """What the finished page must have been rendered from."""
    return {"rows": records.digest([row for p in self.inputs for row in p.rows()])}

  def _status(self) -> Status:
    have, want = sum(p.status().state == DONE for p in self._learners), len(self._learners)
    if not self._state_file.exists():
      return Status(MISSING, have, want, "runs")
    is_drawn = all(p.status().state == DONE for p in self.inputs) and self._is_rendered_from(self._wanted())
    return Status(DONE if is_drawn else STALE, have, want, "runs")

  def _status_without(self) -> Status:
    return Status(MISSING, 0, len(self._learners), "runs")

  def _finish(self) -> dict[str, str]:
    self.render(refresh_seconds=0)
    return self._wanted()

  def _files(self, refresh_seconds: int) -> Mapping[epath.Path, bytes]:
    seen = members([(p.name, p) for p in self._learners], self._config.tests)
    names = curves.names([dict(run.curve) for run in _runs(seen)])
    parts = self._parts(seen, names)
    used = [p.about() for p in made_from(self.inputs)]
    qualities = list(self._qualities(parts, {run.curve: names[run.curve] for run in _runs(seen)}))
    tables = scaling_tables.files(parts, {name: dict(key) for key, name in names.items()}, self._labels.ids)
    tables["metrics.csv"] = scaling_tables.of_rows([row for p in self._metrics for row in p.rows()])
    page = scaling.Page(
      title=f"{self._config.study or 'Study'}: errors against numbers of images",
      parts=tuple(parts),
      figures=tuple(_figures([dict(key) for key in names], list(names.values()))),
      have=sum(m.progress.state == DONE for m in seen),
      want=len(seen),
      seeds=self._config.seeds,
      draws=self._draws(),
      classes=len(self._labels),
      costs=self._costs(names),
      progress=tuple(m.progress for m in seen),
      reproduce=self._command,
      files=tuple(tables),
      caveat=provenance.caveat(provenance.networks(self._config, used)),
      refresh_seconds=refresh_seconds,
      outdated=provenance.outdated(seen),
      qualities=tuple(qualities),
    )
    found = {self.folder / name: data for name, data in tables.items()}
    return found | {self.page: scaling.render(page).encode()}

  def _parts(self, seen: Sequence[Member], names: Mapping[Any, str]) -> list[scaling.Part]:
    found, n_classes = [], len(self._labels)
    of_real = {names[run.curve] for run in _runs(seen) if not run.has_set}
    for test in self._config.tests:
      runs = [run for run in _runs(seen) if run.tests.get(test) and run.tests[test].tallies]
      points = [point for run in runs for point in _points(run, test, names[run.curve], n_classes)]
      for measure in curves.MEASURES if points else ():
        own = curves.of_points(points, measure)
        reference = next((c for c in own if c.fit and c.name in of_real), None)
        target = curves.target_of([c for c in own if c.fit])
        by_class = {c.name: curves.by_class(c.points) for c in own} if measure == curves.ERROR else {}
        found.append(
          scaling.Part(
            test=test,
            about=provenance.test(self._config, test, runs[0]),
            measure=measure,
            curves=tuple(own),
            reference=reference.name if reference else "",
            exchanges=tuple(curves.against(reference, own)) if reference else (),
            target=target,
            to_target=curves.to_target(own, target) if target else {},
            by_class={name: one for name, one in by_class.items() if one},
            published=self._published(test, seen, names) if measure == curves.LOSS else {},
          )
        )
    return found

  def _published(self, test: str, seen: Sequence[Member], names: Mapping[Any, str]) -> dict[str, float]:
    found = {}
    for run in _runs(seen):
      own = self._config.learners[run.name]
      images = self._config.sets.get(own.images.set)
      if isinstance(images, SampledSet) and not own.real:
        about = images.generator, self._config.prompts[images.prompts].strategy
      elif not own.images:
        about = "", ""
      else:
        continue
      if (k := published.exponent(self._config.tests[test], own.model, *about)) is not None:
        found[names[run.curve]] = k
    return found

  def _qualities(self, parts: Sequence[scaling.Part], names: Mapping[Any, str]) -> Iterable[scaling.Quality]:
    """Of each entry of config.metrics that knows how recognisable images are, and how diverse."""
    by_class = parts[0].by_class if parts else {}
    curve_of = {
      p.fields.images.set: names.get(p.fields.curve, "") for p in self._learners if not p.fields.real
    }
    found: dict[str, list[SetMetrics]] = {}
    for p in self._metrics:
      found.setdefault(p.metrics_name, []).append(p)
    for name, own in found.items():
      sets, correlations, diversity = [], [], ""
      for p in own:
        seen = p.about(Asked()).metrics
        numbers = {metric: value for metric, value, _ in seen.numbers} if seen else {}
        diversity = next((m for m in _DIVERSITY if m in numbers), diversity)
        if seen and _RECOGNIZABILITY in numbers and diversity in numbers:
          axes = dict(self._axes_of(p.set_name))
          label = f"{axes.pop('guidance'):g}" if "guidance" in axes else ""
          series = ", ".join(map(str, axes.values())) or ("all sets" if label else p.set_name)
          sets.append((series, label, numbers[_RECOGNIZABILITY], numbers[diversity]))
          curve = by_class.get(curve_of.get(p.set_name, ""))
          f1 = seen.by_class.get(_RECOGNIZABILITY, {})
          scores = np.array([f1.get(i, np.nan) for i in self._labels.ids])
          if curve and (correlation := curves.correlation(curve, scores)):
            correlations.append((curve_of[p.set_name], correlation))
      if sets:
        yield scaling.Quality(name, diversity, tuple(sets), tuple(correlations))

  def _axes_of(self, set_name: str) -> Axes:
    own = self._config.sets[set_name]
    return own.axes if isinstance(own, SampledSet) else ()

  def _draws(self) -> str:
    own = [p.fields for p in self._learners]
    if all(one.drawn_from or not one.images for one in own):
      return "A seed draws its images and its training."
    return "A seed draws its training; where drawn_from is 0, all seeds learn from the same synthetic images."

  def _costs(self, names: Mapping[Any, str]) -> dict[str, scaling.Cost]:
    """Of curves whose images are all synthetic, once these are there."""
    found: dict[str, scaling.Cost] = {}
    for p in self._learners:
      made, name = p.learns_from.image_set, names.get(p.fields.curve, "")
      if name and made and not p.fields.real and name not in found and made.status().state == DONE:
        found[name] = scaling.Cost(made.seconds_each, self._flops_each(made))
    return found

  def _flops_each(self, made: ImageSet) -> float:
    """Counted once, as it takes seconds."""
    if made.set_name not in self._flops:
      self._flops[made.set_name] = made.flops_each()
    return self._flops[made.set_name]

  def faults(self) -> list[Fault]:
    return file_faults(self.folder)

  def summary(self) -> list[str]:
    """The law of each curve on the first test."""
    seen = members([(p.name, p) for p in self._learners], list(self._config.tests)[:1])
    parts = self._parts(seen, curves.names([dict(run.curve) for run in _runs(seen)]))
    lines = []
    for curve in parts[0].curves if parts else ():
      if best := curve.best:
        values = ", ".join(
          f"{name} {value:.3g} ({scaling.span(best.certainty.intervals[name])})"
          for name, value in best.fit.values.items()
        )
        lines.append(f"{curve.name}: {curve.measure} = {best.fit.law.formula}, {values}")
      else:
        lines.append(curve.why)
    return lines


def _runs(seen: Sequence[Member]) -> list[Run]:
  return [m.about.run for m in seen if m.about.run and not m.is_refused]


def _points(run: Run, test: str, curve: str, classes: int) -> Iterable[Point]:
  for seed, tally in enumerate(run.tests[test].tallies):
    images = tally.confusion_KxK.sum(axis=1)
    wrong = images - np.diag(tally.confusion_KxK)
    yield Point(curve, run.images / classes, seed, wrong, images, tally.loss_sum / tally.n)


def _figures(
  columns: Sequence[Mapping[str, Any]], names: Sequence[str]
) -> Iterable[tuple[str, tuple[str, ...]]]:
  """All curves in one figure; where they are many, a figure for each axis, others at the values of the first curve of a source."""
  if len(names) <= _ALL_TOGETHER:
    yield "", tuple(names)
    return
  firsts: dict[Any, Mapping[str, Any]] = {}
  for own in columns:
    firsts.setdefault(own.get("source"), own)
  yield "By source", tuple(name for own, name in zip(columns, names, strict=True) if own in firsts.values())
  for axis in dict.fromkeys(c for own in columns for c in own if c != "source"):
    along = [
      name
      for own, name in zip(columns, names, strict=True)
      if all(own.get(c) == v for c, v in firsts[own.get("source")].items() if c != axis)
      and firsts[own.get("source")].get(axis) is not None
    ]
    if len(along) > len(firsts):
      yield f"By {axis.replace('_', ' ')}", tuple(along)
