"""Stage report: all rows as `results.jsonl`, and the page `report/index.html`. Both are derived from the products."""

from __future__ import annotations

import dataclasses
import json
import re
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from synthjax.disk import checksums, workdir
from synthjax.disk.checksums import Fault
from synthjax.evaluation.accuracy import Tally
from synthjax.labels.spaces import LabelSpace
from synthjax.pages import page
from synthjax.pages import report as html
from synthjax.pages.figures import Seeds
from synthjax.products import comparisons, few_shots, provenance
from synthjax.products.base import DONE, MISSING, REFUSED, STALE, Product, Status, Study, file_faults
from synthjax.products.drawn_set import DrawnSet
from synthjax.products.image_set import ImageSet
from synthjax.products.keep import KeepList
from synthjax.products.learn import Learner
from synthjax.products.plan_table import status_or_refusal
from synthjax.products.tune import Arm
from synthjax.runtime.stopping import Stop
from synthjax.spec.study import StudySpec
from synthjax.store import records

RESULTS = "results.jsonl"
_PICTURED = 4  # filters whose pairs the page shows; the others' lie in their folders


class Report(Product):
  name, stage = "report", "report"

  def __init__(
    self, config: StudySpec, root: epath.Path, labels: LabelSpace, products: Sequence[Product], command: str
  ):
    self._config, self._root, self._labels, self._command = config, root, labels, command
    self._folder = root / "report"
    self.page = self.folder / "index.html"
    self.inputs = tuple(products)
    self._arms = [p for p in products if isinstance(p, Arm) or (isinstance(p, Learner) and p.tests)]
    self._learners = [p for p in products if isinstance(p, Learner)]
    self._lock, self._is_final = threading.Lock(), False

  @classmethod
  def wanted(cls, spec):
    return [()] if spec.arms or spec.learners else []

  @classmethod
  def declare(cls, study: Study, *key: str):
    return cls(study.spec, study.root, study.labels, study.products, study.command)

  @property
  def _state_file(self) -> epath.Path:
    return self.folder / "state.json"

  def _rows(self) -> list[dict[str, Any]]:
    arms = [arm for arm in self._arms if isinstance(arm, Arm)]
    return [row for product in (*arms, *self._learners) for row in product.rows()]

  def _wanted(self, rows: Sequence[dict[str, Any]]) -> dict[str, str]:
    """What the finished page must have been drawn from."""
    settings = dict(_settings(self._config))
    return {"settings": records.digest(settings), "rows": records.digest(rows)}

  def _status(self) -> Status:
    if not self._state_file.exists():
      return Status(MISSING, unit="page")
    seen = [status_or_refusal(product).state for product in self.inputs]
    if REFUSED in seen:
      return Status(STALE, unit="page")  # it says so
    drawn = checksums.read_json(self._state_file, "report") == self._wanted(self._rows())
    drawn &= self.page.exists() and (self._root / RESULTS).exists()
    if set(seen) != {DONE}:
      return Status(STALE, unit="page")
    again = "" if drawn else "drawn by another release, or for other fields or results; it is drawn again"
    return Status(DONE if drawn else STALE, unit="page", why=again)

  def make(self, stop: Stop) -> bool:
    stop.check()
    if any(product.status().state != DONE for product in self.inputs):
      return False
    rows = self._rows()
    checksums.replace(self._root / RESULTS, records.to_lines(rows))
    self.draw(refresh_seconds=0)
    checksums.replace(self._state_file, workdir.to_json(self._wanted(rows)))
    return True

  def faults(self) -> list[Fault]:
    """The rows are also held against what the finished page was drawn from, whatever release wrote them."""
    found, file, is_finished = file_faults(self.folder), self._root / RESULTS, self._state_file.exists()
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

  def draw(self, refresh_seconds: int) -> None:
    """The page as things stand; with seconds to refresh, it says that the study is running."""
    with self._lock:  # the study and the thread that draws meanwhile
      if self._is_final:
        return
      self.page.parent.mkdir(parents=True, exist_ok=True)
      if refresh_seconds:
        checksums.forget(self._state_file)  # the page there is not the finished one
      checksums.replace(self.page, html.render(self._page(refresh_seconds)).encode())
      self._is_final = not refresh_seconds

  def summary(self) -> list[str]:
    """The result for a terminal: one line an arm."""
    lines = []
    for arm in self._arms:
      for test in self._config.tests:
        if isinstance(arm, Arm) and arm.method:
          continue
        tallies = arm.tallies(test)
        values = np.array([t.metrics()["top1"] for t in tallies])
        if over := comparisons.interval(tallies):
          spread = f" +- {values.std(ddof=1):.1f} ({len(values)} seeds)" if len(values) > 1 else ""
          by_images = f"; {over[0]:.1f} to {over[1]:.1f} over test images"
          lines.append(f"{arm.arm:<16} {test}  top-1 {values.mean():.1f}{spread}{by_images}")
    for test in self._config.tests:
      for method in few_shots.table(self._tuned, test):
        by_shots = "  ".join(
          f"{shots}: {Seeds.of(values)}".replace("±", "+-") for shots, values in method.points
        )
        lines.append(f"{method.name:<28} {test}  top-1 by shots  {by_shots}")
    return lines

  @property
  def _tuned(self) -> list[Arm]:
    return [arm for arm in self._arms if isinstance(arm, Arm)]

  # --- what the page shows -----------------------------------------------------------------------

  def _page(self, refresh_seconds: int) -> page.Page:
    config = self._config
    test = next(iter(config.tests))  # the first one's table; the others are in results.jsonl
    seen = {product: status_or_refusal(product) for product in self.inputs}
    shown = [product for product, status in seen.items() if status.state != REFUSED]
    tuned = [p for p in shown if isinstance(p, Arm)]
    learners = [p for p in shown if isinstance(p, Learner)]
    keeps = [k for k in shown if isinstance(k, KeepList) and k.summary()]
    first = {k.set_name: k for k in reversed(keeps)}  # a set is shown as the first of its filters saw it
    sets = [s for s in shown if isinstance(s, ImageSet)]
    families = few_shots.families([s for s in sets if s.labels.ids == self._labels.ids], self._labels.ids)
    return page.Page(
      title=provenance.title(config.study, list(config.tests), self._arms),
      classes=tuple(zip(self._labels.ids, self._labels.names, strict=True)),
      test=provenance.test(config, test, self._arms[0]),
      arms=tuple(self._lines(test, seen)),
      methods=few_shots.table(tuned, test),
      families=families,
      curves=tuple(self._curves(test, tuned, learners)),
      sheets=tuple(
        self._sheet(s, first.get(s.name.removeprefix("images/")))
        for s in sets
        if seen[s].have and not (families and isinstance(s, DrawnSet) and s.has_parents)
      ),
      acceptance=tuple(_acceptance(keep, pictured=i < _PICTURED) for i, keep in enumerate(keeps)),
      progress=tuple(page.Progress(p.name, s.state, s.have, s.want, s.unit) for p, s in seen.items()),
      settings=tuple(_settings(config)),
      reproduce=(self._command,),
      software=tuple(records.software().items()),
      caveat=provenance.caveat(provenance.networks(config, self.inputs)),
      refresh_seconds=refresh_seconds,
      facts=tuple(provenance.facts(config, self._arms)),
      outdated=provenance.outdated({p.name: s for p, s in seen.items()}),
      images=len(self._arms[0].source(test)) - self._arms[0].left_out(test),
    )

  def _lines(self, test: str, seen: Mapping[Product, Status]) -> Iterator[page.Arm]:
    """Arms; of a method with several shots, the one with most, its draws as seeds. The rest has a table of its own."""
    refused = {product for product, status in seen.items() if status.state == REFUSED}
    for arm in self._arms:
      if not (isinstance(arm, Arm) and arm.method):
        tallies = [] if arm in refused else arm.tallies(test)
        yield dataclasses.replace(self._arm(arm, tallies, test, refused), refused=arm in refused)
    for method in few_shots.methods(self._tuned):
      most = method.at(method.shots[-1])
      tallies = [t for arm in most if arm not in refused for t in arm.tallies(test)]
      line = self._arm(most[0], tallies, test, refused)
      name = f"{method.name}, {method.shots[-1]} shots"
      yield dataclasses.replace(line, name=name, how=most[0].how_in_general)

  def _arm(
    self, arm: Arm | Learner, tallies: Sequence[Tally], test: str, refused: Collection[Product]
  ) -> page.Arm:
    reference = comparisons.reference_of(arm, self._arms)
    reference = None if reference in refused else reference
    metrics = [t.metrics() for t in tallies]
    shares = [t.confusion_KxK / np.maximum(t.confusion_KxK.sum(1, keepdims=True), 1) for t in tallies]
    confusion = 100 * np.mean(shares, axis=0) if tallies else np.zeros((0, 0))
    return page.Arm(
      name=arm.arm,
      how=arm.how,
      images=arm.images if tallies else 0,
      per_class=arm.per_class if tallies else arm.asked_per_class,
      top1=tuple(m["top1"] for m in metrics),
      mean_class=tuple(m["mean_class"] for m in metrics),
      by_class=tuple(np.mean([t.by_class for t in tallies], axis=0).tolist()) if tallies else (),
      confusion=tuple(tuple(row) for row in confusion.tolist()),
      encoder=arm.encoder_name,
      reference=reference.arm if isinstance(reference, Learner) else "",
      interval=comparisons.interval(tallies),
      difference=comparisons.difference(arm, tallies, reference, test) if reference else None,
    )

  def _curves(
    self, test: str, tuned: Sequence[Arm], learners: Sequence[Learner]
  ) -> Iterator[tuple[str, tuple[tuple[int, tuple[float, ...]], ...]]]:
    """Arms that differ in nothing but the number of images."""
    lines: dict[str, tuple[str, dict[int, tuple[float, ...]]]] = {}
    for arm in tuned:
      if arm.method:
        continue
      own = self._config.arms[arm.arm]
      tallies = arm.tallies(test)
      if own.images and tallies:
        fields = own.to_dict() | {"images": str(own.images), "images_per_class": 0}
        name = f"{str(own.images).replace('/', '+')}+{own.loss}"
        points = lines.setdefault(records.digest(fields), (name, {}))[1]
        points[arm.per_class] = tuple(t.metrics()["top1"] for t in tallies)
    for name, points in lines.values():
      if len(points) > 1:
        yield name, tuple(sorted(points.items()))
    yield from self._learners_curves(test, learners)

  def _learners_curves(
    self, test: str, learners: Sequence[Learner]
  ) -> Iterator[tuple[str, tuple[tuple[int, tuple[float, ...]], ...]]]:
    """Learners that differ in nothing but their shots (across: real images a class), or their ratio (synthetic ones)."""
    for field in ("real", "ratio"):
      lines: dict[str, list[Learner]] = {}
      for learner in learners:
        if learner.tallies(test) and (learner.shots if field == "real" else learner.fields.ratio):
          images = str(self._config.learners[learner.learner].images)
          lines.setdefault(records.digest([learner.fields.to_dict() | {field: ""}, images]), []).append(
            learner
          )
      for line in lines.values():
        across = [x.shots if field == "real" else round(x.synthetic_images / len(self._labels)) for x in line]
        points = {
          n: tuple(t.metrics()["top1"] for t in x.tallies(test)) for n, x in zip(across, line, strict=True)
        }
        if len(points) > 1:
          yield _without_number(line[0].learner), tuple(sorted(points.items()))

  def _sheet(self, image_set: ImageSet, keep: KeepList | None) -> page.Sheet:
    images, judged, passed = image_set.first(self._config.report.images), {}, frozenset[str]()
    if keep:
      arrays = keep.load()
      shown = np.flatnonzero(np.isin(arrays["ids"], [row["image_id"].decode() for row in images]))
      judged = {arrays["ids"][i]: (arrays["scores"][i], arrays["stays"][i]) for i in shown}
      passed = _passed(keep, arrays)
    kept_by = (keep.summary() or {"classes": []})["classes"] if keep else []
    rows: dict[int, list[page.Cell]] = {c: [] for c in range(len(image_set.labels))}
    for row in images:
      image_id = row["image_id"].decode()
      score, stays = judged.get(image_id, (None, None))
      rows[row["label"]].append(
        page.Cell(
          jpeg=row["image"],
          prompt=row["prompt"].decode(),
          image_id=image_id,
          score=None if score is None else float(score),
          kept=None if stays is None else bool(stays),
          passed=None if stays is None else image_id in passed,
        )
      )
    return page.Sheet(
      name=image_set.name.removeprefix("images/"),
      note=f"{image_set.status().have:,} images, {image_set.note}",
      filter=keep.filter if keep else "",
      rows=tuple((c, tuple(rows[i])) for i, c in enumerate(image_set.labels.ids)),
      score=keep.score_means if keep else "",
      kept=sum(row["kept"] for row in kept_by),
      filled=sum(row["filled"] for row in kept_by),
    )


def _passed(keep: KeepList, arrays: Mapping[str, np.ndarray]) -> frozenset[str]:
  """Images that the rule lets through, whatever the quota: the best-scored of each class, as many as its summary counts."""
  found: list[str] = []
  for label, row in enumerate((keep.summary() or {"classes": []})["classes"]):
    own = np.flatnonzero(arrays["labels"] == label)
    best = own[np.argsort(-arrays["scores"][own], kind="stable")]
    found += arrays["ids"][best[: row["passed"]]].tolist()
  return frozenset(found)


def _without_number(name: str) -> str:
  """few-10 and auxiliary-2x are the lines few and auxiliary."""
  return re.sub(r"[-_+]?\d+x?$", "", name) or name


def _acceptance(keep: KeepList, pictured: bool) -> page.Acceptance:
  summary = keep.summary()
  assert summary is not None
  columns = ("id", "drawn", "passed", "kept", "filled")
  rows = tuple(tuple(row[c] for c in columns) for row in summary["classes"])
  return page.Acceptance(
    f"{keep.set_name}/{keep.filter}",
    keep.how,
    rows,
    summary["rounds"],
    keep.pairs_sheet() if pictured else b"",
  )


def _settings(config: StudySpec) -> Iterator[tuple[str, str]]:
  """Every field of the config that bears on the result."""
  for path, value in _leaves(config.given, ""):
    if value is not None and not path.startswith(
      ("runtime.", "benchmark.", "predict.", "export.", "report.")
    ):
      yield path, str(value)


def _leaves(node: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any]]:
  for name, value in node.items():
    if isinstance(value, dict):
      yield from _leaves(value, f"{path}{name}.")
    else:
      yield path + name, value
