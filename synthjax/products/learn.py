"""Stage learn: a network trained on real images, synthetic ones, or both, for several seeds, as `runs/<hash>`.

    run.json                     the resolved learner and what it was made from: its hash names the folder
    seed-0/                      checkpoints/, best/, metrics.jsonl, TensorBoard events, timing.json
    seed-0/learnt.safetensors    what was learnt, averaged where averages were kept
    tests/<test>.<seed>.npz      what was right of the real images, and its confusions
    rows.jsonl                   the rows of results, derived

Processes share the seeds by claims; where they are joined (`--distributed on`) they train each one together.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

import jax
import numpy as np
from etils import epath

from synthjax.data.draws import Part
from synthjax.data.pictures import Pictures, batches
from synthjax.data.source import Source
from synthjax.data.sources import open_real
from synthjax.disk import checksums
from synthjax.disk.checksums import Fault
from synthjax.evaluation import results
from synthjax.evaluation.accuracy import Tally
from synthjax.evaluation.measures import PROBES, classified, held, probed
from synthjax.evaluation.predictions import predicted
from synthjax.labels.spaces import LabelSpace
from synthjax.learning import agreement, settings
from synthjax.learning.begin import begin
from synthjax.learning.classify import Classify
from synthjax.learning.loop import Watch, train
from synthjax.models import networks
from synthjax.pages.inputs import About, Asked, Described, Measured, Point, Run
from synthjax.products import corrected, runs
from synthjax.products.chosen import Selection
from synthjax.products.image_set import ImageSet
from synthjax.products.keep import KeepList
from synthjax.products.learner_identity import Naming, begin_folder
from synthjax.products.product import DONE, MISSING, STALE, Product, Status, owner_of
from synthjax.runtime import devices, residents, sharding
from synthjax.runtime.errors import UserError
from synthjax.runtime.stopping import Stop
from synthjax.spec.study import StudySpec
from synthjax.store import records
from synthjax.weights import image_networks

Array = np.ndarray
_LEARNT = "learnt.safetensors"


class MeshRequest(TypedDict):
  """The devices that a run wants, as runtime/sharding.py is asked for them."""

  fsdp: int
  batch: int
  name: str


class Learner(Described):
  stage = "learn"

  def __init__(
    self,
    config: StudySpec,
    root: epath.Path,
    name: str,
    labels: LabelSpace,
    study_labels: LabelSpace,
    tests: Mapping[str, Source],
    image_set: ImageSet | None,
    keep: KeepList | None,
    begun_from: Learner | None,
  ):
    self.learner, self.name, self._config, self._root = name, f"runs/{name}", config, root
    self.labels, self._set, self._keep, self._from = labels, image_set, keep, begun_from
    self._study_labels = study_labels
    self._runtime, self.seeds = config.runtime, config.seeds
    self.fields = config.learners[name]
    self.mesh_request = MeshRequest(fsdp=config.runtime.fsdp, batch=self.fields.batch, name=self.name)
    # Classes of another space than the tests': what is learnt is there to begin others with.
    self.tests = dict(tests) if labels.ids == study_labels.ids else {}
    self._probed = tests if self.fields.probe else {}
    self.inputs: tuple[Product, ...] = tuple(p for p in (image_set, keep, begun_from) if p)
    run, per_class = f"learner {name}", lambda: self._per_class
    self._selection = Selection(run, image_set, keep, per_class) if image_set else None
    self._naming = Naming(
      config, root, self.fields, labels, study_labels, self._selection, begun_from and begun_from._naming
    )
    networks.build(self.fields.model, 2, drop_path=self.fields.drop_path)  # a wrong name is told now

  # --- what is wanted ----------------------------------------------------------------------------

  @functools.cached_property
  def _whole_real(self) -> Source | None:
    return self._real(0)

  def _real(self, seed: int) -> Source | None:
    """Seed s learns from the draw that is s further on: few images differ more by which they are than by anything else."""
    if not self.fields.real:
      return None
    own = self._config.real[self.fields.real]
    return open_real(dataclasses.replace(own, draw=own.draw + seed), self.labels)

  @property
  def shots(self) -> int:
    return self._config.real[self.fields.real].shots if self.fields.real else 0

  @property
  def _per_class(self) -> int:
    """Synthetic images a class; 0 = all that were asked for, or kept."""
    if ratio := self.fields.ratio:
      n = round(ratio * self.real_images / len(self.labels))
      if not n:
        raise UserError(
          f"learner {self.learner}: ratio {ratio:g} of {self.real_images} real images is no image a class; raise it"
        )
      return n
    return self.fields.images_per_class

  @property
  def _synthetic(self) -> Source | None:
    if self._set is None or self._selection is None:
      return None
    places = self._selection.now().places
    return Part(self._set.as_source(), places.tolist(), f"{len(places)} images")

  @property
  def synthetic_images(self) -> int:
    return len(self._selection.now().places) if self._selection else 0

  @property
  def real_images(self) -> int:
    return len(self._whole_real) if self._whole_real else 0

  @property
  def identity(self) -> dict[str, Any]:
    """All that decides what is learnt. Reads the inputs, which must be there."""
    return self._naming.identities[0]

  def _begin_source(self, seed: int) -> Path | tuple[bytes, int] | None:
    """A folder; or the weights of another learner, of seed 0 where it has fewer, and the domain that its test uses."""
    if self._from:
      file = self._from.learnt_file(seed if seed < self._from.seeds else 0)
      return checksums.read(file, self._from.name), int(self._from.fields.test_norm == "auxiliary")
    return begin_folder(self.fields)

  @property
  def folder(self) -> epath.Path:
    return self._naming.place[0]

  # --- for pages -----------------------------------------------------------------------------------

  @property
  def _how(self) -> str:
    fields = self.fields
    real = f"real images of {fields.real}" if fields.real else ""
    of = str(self.fields.images)
    parts = " and ".join(filter(None, [real, of and f"synthetic ones of {of}"]))
    norms = f", {fields.norm} norms" if real and of else ""
    begin = f", begun as {fields.init.partition(':')[2]}" if fields.init else ""
    return f"{fields.model} on {parts}{norms}{begin}"

  def about(self, asked: Asked | None = None) -> About:
    fields, read = self.fields, asked.results if asked else ()
    tests = {t: Measured.of(source, self.tallies(t) if t in read else ()) for t, source in self.tests.items()}
    images = self.real_images + self.synthetic_images if any(t.tallies for t in tests.values()) else 0
    run = Run(
      name=self.learner,
      how=self._how,
      tests=tests,
      shots=self.shots,
      images=images,
      per_class=round(images / len(self.labels)) if images else self.shots + fields.images_per_class,
      real=fields.real,
      real_images=self.real_images,
      has_set=self._set is not None,
      has_init=bool(fields.init),
      recipe=fields.identity(),
      points=self._points() if images else (),
    )
    return About(run=run)

  def _points(self) -> tuple[Point, ...]:
    """Among learners that differ in nothing but their shots, or but their ratio (across: synthetic images a class)."""
    own = self.fields
    across = {"real": self.shots, "ratio": own.ratio and round(self.synthetic_images / len(self.labels))}
    keys = {axis: records.digest([own.to_dict() | {axis: ""}, str(own.images)]) for axis in across}
    return tuple(Point(axis, keys[axis], self.learner, int(n)) for axis, n in across.items() if n)

  # --- what is there -----------------------------------------------------------------------------

  def _is_ready(self) -> bool:
    return all(product.status().state == DONE for product in reversed(self.inputs))  # as an arm's

  @property
  def older_folder(self) -> epath.Path | None:
    """Of the same run before a correction, where an older release made it."""
    return self._naming.before_corrections

  def _without_images(self) -> str:
    """That an older release made the run without the images of its filter."""
    if not (self._set and self._keep) or self._keep.quota or self._per_class:
      return ""
    return self._naming.without_images(self._set, self._keep.name)

  def status(self) -> Status:
    want = self.seeds * (1 + len(self.tests) + len(self._probed) * len(PROBES))
    if not self._is_ready():
      return Status(MISSING, 0, want, "results", why=corrected.why(self))
    have = sum(self._is_learnt(seed) for seed in range(self.seeds))
    have += sum(bool(results.file_of(stem)) for stem, _ in self._all_results())
    if have == want and runs.is_described(self.folder):
      return Status(DONE, have, want, "results")
    why = corrected.why(self) or self._without_images()
    return Status(STALE if have else MISSING, have, want, "results", why=why)

  def _is_learnt(self, seed: int) -> bool:
    return self.learnt_file(seed).exists()

  def learnt_file(self, seed: int) -> epath.Path:
    """Of seed 0 where another study had fewer seeds of what is begun with."""
    return self.folder / f"seed-{seed}" / _LEARNT

  def _results(self, seed: int) -> dict[tuple[str, str], epath.Path]:
    """(test, metric) -> its file, without the ending. Other real images under a test's name are another result."""
    asked = [(t, source, "top1") for t, source in self.tests.items()]
    asked += [(t, source, probe) for t, source in self._probed.items() for probe in PROBES]
    found, (place, is_said) = {}, self._naming.place
    for test, source, metric in asked:
      subset = "+subset" if metric == "top1" and test in self.fields.subset_tests.split(",") else ""
      ending = "" if metric == "top1" else f".{metric}"
      ending += "" if is_said else self._naming.result(metric)
      found[test, metric] = place / "tests" / f"{test}-{source.digest[:8]}{subset}{ending}.{seed}"
    return found

  def _source(self, test: str) -> Source:
    return (self.tests | dict(self._probed))[test]

  def faults(self) -> list[Fault]:
    return runs.faults(self.folder, self._all_results())

  def _all_results(self) -> list[tuple[epath.Path, int]]:
    each = (item for seed in range(self.seeds) for item in self._results(seed).items())
    return [(stem, len(self._source(test))) for (test, _), stem in each]

  def tallies(self, test: str) -> list[Tally]:
    """One a seed; empty until all are there."""
    if test not in self.tests or self.status().state != DONE:
      return []
    stems = [self._results(seed)[test, "top1"] for seed in range(self.seeds)]
    return [results.read(stem, len(self.tests[test])) for stem in stems]

  def rows(self) -> list[dict[str, Any]]:
    """What results.jsonl says of this learner; empty until all is there."""
    return self._rows() if self.status().state == DONE else []

  def _rows(self) -> list[dict[str, Any]]:
    found = []
    for seed in range(self.seeds):
      for (test, metric), stem in self._results(seed).items():
        source = self._source(test)
        tally = results.read(stem, len(source))
        about = dict(
          study=self._config.study, arm=self.learner, dataset=test, split=source.split, n=tally.n, seed=seed
        )
        about |= dict(
          images=self.synthetic_images, real=self.real_images, shots=self.shots, ratio=self.fields.ratio
        )
        metrics = (
          tally.metrics(top5=len(self.labels) > 5) if metric == "top1" else {metric: tally.metrics()["top1"]}
        )
        found += [about | dict(metric=name, value=value) for name, value in metrics.items()]
    return found

  # --- making it ---------------------------------------------------------------------------------

  def make(self, stop: Stop) -> bool:
    if not self._is_ready():
      return False
    if agreement.from_first(int(self.status().state == DONE)):
      return True
    with self._selection.held() if self._selection else contextlib.nullcontext():
      return self._made(stop)

  def _made(self, stop: Stop) -> bool:
    made_from = {"identity": self.identity, "images": self.synthetic_images}
    runs.begin(self.folder, {"learner": self.learner, "fields": self.fields.to_dict()} | made_from)
    whole = True
    with owner_of(self.folder, self._runtime) as owner:
      for seed in range(self.seeds):
        mine = owner.take(f"seed-{seed}") if jax.process_index() == 0 else 1
        if not agreement.from_first(int(mine)):
          whole = False
          continue
        with owner.making(stop):
          self._make_seed(seed, stop)
        owner.release(f"seed-{seed}")
    agreement.meet(f"{self.name} is made")
    if not whole:
      return self.status().state == DONE
    if jax.process_index() == 0:
      runs.finish(self.folder, self._rows())
    return True

  def _make_seed(self, seed: int, stop: Stop) -> None:
    todo = not all(map(results.file_of, self._results(seed).values())) or not self._is_learnt(seed)
    if not agreement.from_first(int(todo)):
      return
    residents.begin(self.stage)
    mesh, task = sharding.training_mesh(**self.mesh_request), self._task
    if agreement.from_first(int(self._is_learnt(seed))):
      everywhere = devices.place(mesh, devices.REPLICATED)
      variables = image_networks.on_devices(self.learnt_file(seed), self.name, everywhere)
    else:
      variables = self._learn(seed, mesh, stop)
    for (test, metric), stem in self._results(seed).items():
      tally = self._measured(task, variables, test, metric, mesh)
      if jax.process_index() == 0:
        results.publish(stem, tally)

  @functools.cached_property
  def _task(self) -> Classify:
    return settings.task(self.fields, len(self.labels))

  def _learn(self, seed: int, mesh: jax.sharding.Mesh, stop: Stop) -> Any:
    fields, task = self.fields, self._task
    parts, sizes = self._parts(seed)
    steps = settings.steps(fields, [len(pictures) for _, pictures in parts], sizes)
    recipe = settings.recipe(fields, steps, seed)
    share = sharding.share(sum(sizes))
    pace = settings.pace(fields, self._runtime)
    first = next(iter(self.tests), None)

    def evaluate(variables: Any) -> dict[str, float]:
      return {
        f"{test}/{name}": value
        for test in self.tests
        for name, value in self._measured(task, variables, test, "top1", mesh).metrics().items()
      }

    folder = self.folder / f"seed-{seed}"
    state = train(
      task,
      batches(parts, sizes, _order_seed(seed), share),
      recipe,
      folder,
      name=f"{self.name} seed {seed}",
      batch_size=sum(sizes),
      pace=pace,
      stop=stop,
      mesh=mesh,
      watch=Watch(evaluate, fields.evaluate_steps, f"{first}/top1")
      if first and fields.evaluate_steps
      else None,
      fit={"model": fields.model, "data seed": seed, "batch": sum(sizes), "classes": len(self.labels)},
      begin=begin(task, fields, self._begin_source(seed), seed),
    )
    whole = jax.jit(lambda x: x, out_shardings=devices.place(mesh, devices.REPLICATED))(state.learnt)
    if jax.process_index() == 0:
      checksums.replace(self.learnt_file(seed), image_networks.to_bytes(whole))
    return whole

  def _parts(self, seed: int) -> tuple[list[tuple[int, Pictures]], list[int]]:
    """(domain, pictures), and how many of each make a batch."""
    sources = {0: self._real(seed), 1: self._synthetic}
    side = self.fields.stored_size or self.fields.size
    parts = [(domain, Pictures(source, side)) for domain, source in sources.items() if source]
    batch, synthetic = self.fields.batch, round(self.fields.share * self.fields.batch)
    sizes = [batch - synthetic, synthetic] if len(parts) == 2 else [batch]
    return parts, sizes

  # --- measuring it ------------------------------------------------------------------------------

  def _measured(
    self, task: Classify, variables: Any, test: str, metric: str, mesh: jax.sharding.Mesh
  ) -> Tally:
    fields, source = self.fields, self._source(test)
    predicts = functools.partial(
      predicted, task, variables, mesh=mesh, per_device_batch=fields.per_device_batch
    )
    asked = held(source, fields.size)
    if metric == "top1":
      return classified(predicts, asked, restricted=test in fields.subset_tests.split(","))
    known = held(open_real(self._config.real[fields.probe], self._study_labels), fields.size)
    return probed(predicts, metric, known, asked, len(self._study_labels), fields.neighbours)


def _order_seed(seed: int) -> int:
  """Two a seed: each domain has an order of its own."""
  return 2 * seed
