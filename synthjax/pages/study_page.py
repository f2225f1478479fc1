"""From what the products of a study say of themselves to the parts of its page, and to its lines for a terminal."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from synthjax.evaluation.accuracy import Tally
from synthjax.labels.spaces import LabelSpace
from synthjax.pages import comparisons, few_shots, metric_tables, page, provenance
from synthjax.pages.figures import Seeds
from synthjax.pages.inputs import About, Asked, Described, Images, Keep, Member, Run
from synthjax.spec import fields, group
from synthjax.spec.study import StudySpec
from synthjax.store import records

_PICTURED = 4  # filters whose pairs the page shows; the others' lie in their folders
_AXES = ("images", "real", "ratio")  # of curves, in this order
_ELSEWHERE = ("runtime.", "benchmark.", "predict.", "export.", "report.", "server.")  # bear on no result
# Fields that finished pages are older than, at the value that says what was done before: no reason to render one again.
_AS_BEFORE: Mapping[str, object] = {
  "learning.decode": "full",
  "learning.drawn_from": 0,
  "learning.side_by_side": 1,
}
_FIRST_OF_PROMPTS = ("strategy", "template", "file", "writer", "draws", "per_class", "seed", "labels")
_Curve = tuple[str, tuple[tuple[int, tuple[float, ...]], ...]]


def assemble(
  config: StudySpec,
  labels: LabelSpace,
  members: Sequence[Member],
  used: Sequence[About],
  command: str,
  refresh_seconds: int,
  writers: Mapping[str, str],
) -> page.Page:
  """`members` are all products, with their results on the first test; `used` what the runs are made from, or all;
  `writers` those of the prompt lists."""
  test = next(iter(config.tests), "")  # the first one's table; the others are in results.jsonl
  tested = [(m.about.run, m.is_refused) for m in members if m.about.run and has_line(m.about.run)]
  runs, refused = [run for run, _ in tested], [run for run, is_refused in tested if is_refused]
  shown = [run for run, is_refused in tested if not is_refused]
  there = [(m.product, m.about) for m in members if not m.is_refused]
  sets = [(p, about.images) for p, about in there if about.images and about.images.have]
  keeps = [(p, about.keep) for p, about in there if about.keep and about.keep.classes]
  families = _families([(p, s) for p, s in sets if s.has_parents and s.class_ids == labels.ids], labels.ids)
  first = {keep.images: (p, keep) for p, keep in reversed(keeps)}  # a set is shown as its first filter saw it
  return page.Page(
    title=provenance.title(config.study, list(config.tests), runs, used),
    classes=tuple(zip(labels.ids, labels.names, strict=True)),
    test=provenance.test(config, test, runs[0]) if runs else "",
    arms=tuple(_lines(test, runs, shown, refused)),
    methods=few_shots.table(shown, test),
    families=families,
    prompts=tuple(about.prompts for _, about in there if about.prompts),
    metrics=metric_tables.tables([about.metrics for _, about in there if about.metrics]),
    curves=tuple(_curves(test, shown)),
    sheets=tuple(
      _sheet(p, images, first.get(images.name), config.report.images)
      for p, images in sets
      if not (families and images.has_parents)
    ),
    acceptance=tuple(_acceptance(p, keep, pictured=i < _PICTURED) for i, (p, keep) in enumerate(keeps)),
    progress=tuple(m.progress for m in members),
    settings=tuple(settings(config, writers)),
    reproduce=(command,),
    software=tuple(records.software().items()),
    caveat=provenance.caveat(provenance.networks(config, [m.about for m in members])),
    refresh_seconds=refresh_seconds,
    facts=tuple(provenance.facts(config, runs, used)),
    outdated=provenance.outdated(members),
    images=runs[0].tests[test].n - runs[0].tests[test].skipped if runs else 0,
    lead=_lead([images for _, images in sets], sum(bool(m.about.run and m.about.run.axes) for m in members)),
  )


def has_line(run: Run) -> bool:
  """Whether the page has a line of it. Points of a grid are many, and have a page of their own."""
  return bool(run.tests) and not run.axes


def _lead(sets: Sequence[Images], points: int) -> str:
  """Of a page without results."""
  n, several = sum(images.have for images in sets), f" in {len(sets)} sets" if len(sets) > 1 else ""
  there = f"{n:,} images{several}. " if sets else ""
  if points:
    return f"{there}The {points:,} runs of its grids are in scaling/index.html."
  return f"{there}The study has no arms, and nothing is tested on real images."


def summary(runs: Sequence[Run], tests: Sequence[str]) -> list[str]:
  """The result for a terminal: one line a run, or a method."""
  lines = []
  for run in runs:
    for test in tests:
      if run.method:
        continue
      tallies = run.tallies(test)
      values = np.array([t.metrics()["top1"] for t in tallies])
      if over := comparisons.interval(tallies):
        spread = f" +- {values.std(ddof=1):.1f} ({len(values)} seeds)" if len(values) > 1 else ""
        by_images = f"; {over[0]:.1f} to {over[1]:.1f} over test images"
        lines.append(f"{run.name:<16} {test}  top-1 {values.mean():.1f}{spread}{by_images}")
  for test in tests:
    for method in few_shots.table(runs, test):
      by_shots = "  ".join(
        f"{shots}: {Seeds.of(values)}".replace("±", "+-") for shots, values in method.points
      )
      lines.append(f"{method.name:<28} {test}  top-1 by shots  {by_shots}")
  return lines


def settings(config: StudySpec, writers: Mapping[str, str]) -> Iterator[tuple[str, str]]:
  """Every field of the config that bears on the result; of a prompt list the writer that its field stands for."""
  stood_for = {f"prompts.{name}.writer": writer or None for name, writer in writers.items()}
  for path, given in _leaves(config.given, ""):
    value = stood_for.get(path) if given == "" and path in stood_for else given
    if value is not None and not path.startswith(_ELSEWHERE) and not _is_as_before(path, value):
      yield path, str(value)


def _is_as_before(path: str, value: object) -> bool:
  if value == _AS_BEFORE.get(path):
    return True
  match path.split("."):
    case ["encoders", _, "resize" as name]:
      return value == group.fields(fields.Encoder)[name].default
    case ["prompts", _, name] if name not in _FIRST_OF_PROMPTS:
      return value == group.fields(fields.Prompts)[name].default
  return False


def _leaves(node: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any]]:
  for name, value in node.items():
    if isinstance(value, dict):
      yield from _leaves(value, f"{path}{name}.")
    else:
      yield path + name, value


# --- runs ------------------------------------------------------------------------------------------


def _lines(
  test: str, runs: Sequence[Run], shown: Sequence[Run], refused: Sequence[Run]
) -> Iterator[page.Arm]:
  """Runs; of a method with several shots, the one with most, its draws as seeds. The rest has a table of its own."""
  for run in runs:
    if not run.method:
      line = _line(run, run.tallies(test), test, runs, shown)
      yield dataclasses.replace(line, refused=run in refused)
  for method in few_shots.methods(runs):
    most = method.at(method.shots[-1])
    with_results = next((run for run in most if run.tallies(test)), most[0])
    tallies = [t for run in most for t in run.tallies(test)]
    line = _line(with_results, tallies, test, runs, shown)
    name = f"{method.name}, {method.shots[-1]} shots"
    yield dataclasses.replace(line, name=name, how=most[0].how_in_general)


def _line(
  run: Run, tallies: Sequence[Tally], test: str, runs: Sequence[Run], shown: Sequence[Run]
) -> page.Arm:
  reference = comparisons.reference_of(run, runs)
  reference = reference if reference in shown else None
  metrics = [t.metrics() for t in tallies]
  shares = [t.confusion_KxK / np.maximum(t.confusion_KxK.sum(1, keepdims=True), 1) for t in tallies]
  confusion = 100 * np.mean(shares, axis=0) if tallies else np.zeros((0, 0))
  return page.Arm(
    name=run.name,
    how=run.how,
    images=run.images,
    per_class=run.per_class,
    top1=tuple(m["top1"] for m in metrics),
    mean_class=tuple(m["mean_class"] for m in metrics),
    by_class=tuple(np.mean([t.by_class for t in tallies], axis=0).tolist()) if tallies else (),
    confusion=tuple(tuple(row) for row in confusion.tolist()),
    encoder=run.encoder,
    reference=reference.name if reference and not reference.encoder else "",
    interval=comparisons.interval(tallies),
    difference=comparisons.difference(run, tallies, reference, test) if reference else None,
  )


def _curves(test: str, runs: Sequence[Run]) -> Iterator[_Curve]:
  """Runs that differ in nothing but a number of images."""
  for axis in _AXES:
    lines: dict[str, tuple[str, dict[int, tuple[float, ...]]]] = {}
    for run in runs:
      for point in run.points:
        if point.axis == axis and run.tallies(test):
          name = point.name if axis == "images" else _without_number(point.name)
          _, found = lines.setdefault(point.key, (name, {}))
          found[point.at] = tuple(t.metrics()["top1"] for t in run.tallies(test))
    for name, points in lines.values():
      if len(points) > 1:
        yield name, tuple(sorted(points.items()))


def _without_number(name: str) -> str:
  """few-10 and auxiliary-2x are the lines few and auxiliary."""
  return re.sub(r"[-_+]?\d+x?$", "", name) or name


# --- images ----------------------------------------------------------------------------------------


def _families(sets: Sequence[tuple[Described, Images]], classes: Sequence[str]) -> tuple[page.Family, ...]:
  with_children = [p.about(Asked(images=few_shots.SEEN)).images for p, _ in sets]
  found = few_shots.families([images for images in with_children if images], classes)
  pictures: dict[str, bytes] = {}
  for p, images in sets:
    if asked := [f.parent_id for f in found if f.images == images.name]:
      seen = p.about(Asked(parents=asked)).images
      pictures |= seen.parents if seen else {}
  return tuple(page.Family(f.class_id, f.parent_id, pictures[f.parent_id], f.children) for f in found)


def _sheet(p: Described, images: Images, keep: tuple[Described, Keep] | None, n: int) -> page.Sheet:
  images = p.about(Asked(images=n)).images or images
  seen = keep[0].about(Asked(scores=[i.image_id for i in images.first])).keep if keep else None
  rows: dict[int, list[page.Cell]] = {c: [] for c in range(len(images.class_ids))}
  for picture in images.first:
    scored = seen.scored.get(picture.image_id) if seen else None
    rows[picture.label].append(
      page.Cell(
        jpeg=picture.jpeg,
        prompt=picture.prompt,
        image_id=picture.image_id,
        score=scored.score if scored else None,
        kept=scored.stays if scored else None,
        passed=scored.passed if scored else None,
      )
    )
  return page.Sheet(
    name=images.name,
    note=f"{images.have:,} images, {images.note}",
    filter=seen.filter if seen else "",
    rows=tuple((c, tuple(rows[i])) for i, c in enumerate(images.class_ids)),
    score=seen.score if seen else "",
    kept=sum(counts.kept for counts in seen.classes) if seen else 0,
    filled=sum(counts.filled for counts in seen.classes) if seen else 0,
  )


def _acceptance(p: Described, keep: Keep, pictured: bool) -> page.Acceptance:
  seen = p.about(Asked(pairs=True)).keep if pictured else None
  return page.Acceptance(
    f"{keep.images}/{keep.filter}", keep.how, keep.classes, keep.rounds, seen.pairs if seen else b""
  )
