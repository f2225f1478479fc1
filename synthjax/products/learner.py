"""Stage learn: a network trained on real images, synthetic ones, or both, for several seeds, as `runs/<hash>`.

    seed-0/                      checkpoints/, best/, metrics.jsonl, TensorBoard events, timing.json
    seed-0/learnt.safetensors    what was learnt, averaged where averages were kept
    seed-0-3/                    in the place of seed-0/ and others, of seeds that are trained side by side

The rest stands in run.py and learning/learner.py. Processes share seeds by claims; joined ones train each together.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import jax
from etils import epath

from synthjax.data.source import Opened, Source
from synthjax.data.sources import open_real
from synthjax.disk import checksums, mirrored
from synthjax.evaluation import results
from synthjax.evaluation.accuracy import Tally
from synthjax.evaluation.measures import PROBES
from synthjax.evaluation.rows import TOP1, Row, rows
from synthjax.labels.spaces import LabelSpace
from synthjax.learning import coordination, descriptions, learner, rates
from synthjax.learning.tasks import TASKS, LearnerTask
from synthjax.learning.training import Training
from synthjax.models import networks
from synthjax.pages import inputs
from synthjax.pages.inputs import About, Asked, Measured, Point
from synthjax.products.base import DONE, Study
from synthjax.products.image_set import ImageSet
from synthjax.products.keep_list import KeepList
from synthjax.products.learner_identity import Naming, begin_folder, check_begin_folder
from synthjax.products.learner_images import LearnerImages
from synthjax.products.run import Result, Run
from synthjax.runtime import absence, devices, residents, sharding
from synthjax.runtime.errors import UserError
from synthjax.runtime.stopping import Stop
from synthjax.spec.study import StudySpec
from synthjax.store import records
from synthjax.weights import image_networks

_LEARNT = "learnt.safetensors"


class Learner(Run):
  stage, uses = "learn", (residents.PICTURES,)
  counts_weights = True

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
    self.learner, self.fields = name, config.learners[name]
    # Classes of another space than the tests': what is learnt is there to begin others with.
    own_tests = tests if labels.ids == study_labels.ids else {}
    shots = config.real[self.fields.real].shots if self.fields.real else 0
    inputs = image_set, keep, begun_from
    super().__init__(config, root, name, labels, own_tests, inputs, shots, config.seeds)
    self._set, self._keep, self._from, self._study_labels = image_set, keep, begun_from, study_labels
    self._probed = tests if self.fields.probe else {}
    fsdp, batch = config.runtime.fsdp, self.fields.batch
    self.mesh_request = sharding.MeshRequest(fsdp=fsdp, batch=batch, name=self.name)
    self.learns_from = LearnerImages(config, name, labels, image_set, keep)
    self._selection = self.learns_from.selection
    self._naming = Naming(
      config, root, self.fields, labels, study_labels, self._selection, begun_from and begun_from._naming
    )

  @classmethod
  def wanted(cls, spec: StudySpec) -> Iterable[tuple[str, ...]]:
    return ((name,) for name in spec.learners)

  @classmethod
  def declare(cls, study: Study, *key: str) -> Self:
    (name,) = key
    spec, own = study.spec, study.spec.learners[name]
    images = own.images
    begun_from = study.get(Learner, own.begins_with) if own.begins_with else None
    image_set = study.get(ImageSet, images.set) if images else None
    keep = study.get(KeepList, images.set, images.filter) if images.filter else None
    labels = image_set.labels if image_set else study.labels
    tests = Opened({test: functools.partial(study.source, test) for test in spec.tests})
    return cls(spec, study.root, name, labels, study.labels, tests, image_set, keep, begun_from)

  def check(self) -> None:
    networks.build(self.fields.model, 2, drop_path=self.fields.drop_path)  # its name
    if self._set and self.fields.real and self.labels.ids != self._study_labels.ids:
      raise UserError(
        f"config.learners.{self.arm}: {self._set.name} is of other classes than the real images; only names may differ"
      )
    for test in dict.fromkeys((*self.tests, *self._probed)):
      absence.attempt(functools.partial(self._source, test))
    check_begin_folder(self.fields)
    if self.fields.axes and self.shots:
      absence.attempt(functools.partial(self.learns_from.check_shots, self.shots))

  def check_devices(self) -> None:
    sharding.training_devices(**self.mesh_request)
    mirrored.check(self._root)

  def reads(self) -> Iterable[tuple[str, LabelSpace]]:
    for name, labels in ((self.fields.real, self.labels), (self.fields.probe, self._study_labels)):
      if name:
        yield self._config.real[name].source, labels

  # --- what is wanted ----------------------------------------------------------------------------

  @property
  def identity(self) -> dict[str, Any]:
    return self._naming.identities[0]

  @property
  def folder(self) -> epath.Path:
    return self._naming.place[0]

  @property
  def _asked(self) -> list[tuple[str, str]]:
    return [(t, TOP1) for t in self.tests] + [(t, probe) for t in self._probed for probe in PROBES]

  def _files(self) -> tuple[epath.Path, list[Result]]:
    """Other real images under a test's name are another result."""
    (folder, is_said), found = self._naming.place, []
    for seed in range(self.seeds):
      for test, metric in self._asked:
        subset = "+subset" if metric == TOP1 and self.fields.is_restricted(test) else ""
        ending = "" if metric == TOP1 else f".{metric}"
        ending += "" if is_said else self._naming.result(metric)
        stem = f"{test}-{self._source(test).digest[:8]}{subset}{ending}.{seed}"
        found.append(Result(test, metric, seed, folder / "tests" / stem))
    return folder, found

  def _source(self, test: str) -> Source:
    return self._probed[test] if test in self._probed else self.tests[test]

  def _is_learnt_in(self, folder: epath.Path, seed: int) -> bool:
    return (folder / f"seed-{seed}" / _LEARNT).exists()

  def _seconds(self, seeds: int) -> float:
    rate = rates.of_learners(self._root, self.fields) if seeds else 0.0
    return seeds * self._examples / rate if rate else 0.0

  @property
  def read_side(self) -> int:
    return self.fields.stored_size or self.fields.size

  @property
  def _examples(self) -> int:
    """That a seed sees; 0 = not known before its images are there."""
    if self.fields.steps or self.fields.examples:
      return learner.examples(self.fields, ())
    lengths = [n for n in (self.real_images, self.synthetic_images) if n] if self._is_ready() else []
    return learner.examples(self.fields, lengths)

  def learnt_file(self, seed: int) -> epath.Path:
    return self.folder / f"seed-{seed}" / _LEARNT

  def _count(self, test: str) -> int:
    return len(self._source(test))

  @property
  def _made_from(self) -> dict[str, Any]:
    made_from = {"identity": self.identity, "images": self.synthetic_images}
    return {"learner": self.learner, "fields": self.fields.to_dict()} | made_from

  def _why(self, is_ready: bool) -> str:
    return self._before_corrections() or (self._without_images() if is_ready else "")

  def _before_corrections(self) -> str:
    """That the result of a rule since corrected is there."""
    return self._naming.before_corrections if self._is_named() else ""

  def _is_named(self) -> bool:
    """Its identity can be read: the images are there. What it begins with need not have been trained."""
    images = [product for product in self.inputs if product is not self._from]
    return all(p.status().state == DONE for p in images) and (self._from is None or self._from._is_named())

  def _without_images(self) -> str:
    """That an older release made the run without the images of its filter."""
    if not (self._set and self._keep) or self._keep.quota or self.learns_from.per_class:
      return ""
    return self._naming.without_images(self._set, self._keep.name)

  # --- for pages ---------------------------------------------------------------------------------

  @property
  def synthetic_images(self) -> int:
    return self.learns_from.synthetic_images

  @property
  def real_images(self) -> int:
    return self.learns_from.real_images

  @property
  def how(self) -> str:
    return descriptions.learning(self.fields, str(self._config.learners[self.learner].images))

  def about(self, asked: Asked | None = None) -> About:
    fields, read = self.fields, asked.results if asked else ()
    tests = {t: Measured.of(source, self.tallies(t) if t in read else ()) for t, source in self.tests.items()}
    images = self.real_images + self.synthetic_images if any(t.tallies for t in tests.values()) else 0
    run = inputs.Run(
      name=self.learner,
      how=self.how,
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
      axes=fields.axes,
      curve=fields.curve,
    )
    return About(run=run)

  @property
  def _images_a_class(self) -> float:
    """Learnt from, whole where classes have as many: what a curve runs along."""
    each = self.images / len(self.labels)
    return int(each) if each.is_integer() else each

  def _points(self) -> tuple[Point, ...]:
    """Among learners that differ in nothing but their shots, or but their ratio (across: synthetic images a class)."""
    own = self.fields
    across = {"real": self.shots, "ratio": own.ratio and round(self.synthetic_images / len(self.labels))}
    keys = {axis: records.digest([own.to_dict() | {axis: ""}, str(own.images)]) for axis in across}
    return tuple(Point(axis, keys[axis], self.learner, int(n)) for axis, n in across.items() if n)

  def _rows_of(self, result: Result, tally: Tally) -> list[Row]:
    split = self._source(result.test).split
    about = dict(study=self._study, arm=self.learner, dataset=result.test, split=split)
    about |= dict(n=tally.n, seed=result.seed, images=self.synthetic_images)
    about |= dict(real=self.real_images, shots=self.shots, ratio=self.fields.ratio)
    if self._set and self._set.written_by:
      about |= dict(prompts=self._set.written_by)
    if axes := dict(self.fields.axes):
      about |= axes | {"images_per_class": self._images_a_class}
    return rows(tally, about, measure=result.metric, top5=len(self.labels) > 5)

  # --- making it ---------------------------------------------------------------------------------

  def _work(self, stop: Stop) -> bool:
    """Joined processes take each seed together, by the word of the first."""
    whole = True
    with self.owner() as owner:
      for seeds in self._groups:
        part = _folder_of(seeds)
        mine = owner.take(part) if jax.process_index() == 0 else 1
        if not coordination.broadcast(int(mine)):
          whole = False
          continue
        with owner.making(stop):
          if len(seeds) > 1:
            self._learn_side_by_side(seeds, stop)
          for seed in seeds:
            self._make_seed(seed, stop)
        owner.release(part)
    coordination.barrier(f"{self.name} is made")
    if not whole:
      return self.status().state == DONE
    if jax.process_index() == 0:
      self._finish()
    return True

  @property
  def _groups(self) -> list[range]:
    """Seeds that are trained together."""
    return [range(s, s + self.fields.side_by_side) for s in range(0, self.seeds, self.fields.side_by_side)]

  def _make_seed(self, seed: int, stop: Stop) -> None:
    folder, files = self._files()
    own, is_learnt = [x for x in files if x.seed == seed], self._is_learnt_in(folder, seed)
    todo = not all(results.file_of(x.stem) for x in own) or not is_learnt
    if not coordination.broadcast(int(todo)):
      return
    residents.begin(self.uses)
    mesh, task = sharding.training_mesh(**self.mesh_request), self.task
    if coordination.broadcast(int(is_learnt)):
      everywhere = devices.place(mesh, devices.REPLICATED)
      variables = image_networks.on_devices(self.learnt_file(seed), self.name, everywhere)
    else:
      variables = self._learn(seed, mesh, stop)
    for one in own:
      tally = self._measured(task, variables, one.test, one.metric, mesh)
      if jax.process_index() == 0:
        results.publish(one.stem, tally)

  @functools.cached_property
  def task(self) -> LearnerTask:
    return TASKS[self.fields.task](self.fields, len(self.labels))

  def _learn(self, seed: int, mesh: jax.sharding.Mesh, stop: Stop) -> dict[str, Any]:
    training = Training(self.folder / f"seed-{seed}", f"{self.name} seed {seed}", self._runtime, stop)
    sources, initial = self.learns_from.sources(seed), self._initial(seed)
    learnt = learner.learn(self.fields, self.task, sources, self.tests, seed, mesh, training, initial)
    if jax.process_index() == 0:
      self._keep_weights(seed, learnt)
    return learnt

  def _learn_side_by_side(self, seeds: range, stop: Stop) -> None:
    folder = self.folder
    if coordination.broadcast(int(all(self._is_learnt_in(folder, seed) for seed in seeds))):
      return
    residents.begin(self.uses)
    name = f"{self.name} seeds {seeds[0]} to {seeds[-1]}"
    training = Training(folder / _folder_of(seeds), name, self._runtime, stop)
    sources, initial = {s: self.learns_from.sources(s) for s in seeds}, {s: self._initial(s) for s in seeds}
    learnt = learner.learn_side_by_side(self.fields, self.task, sources, training, initial)
    if jax.process_index() == 0:
      for seed, variables in learnt.items():
        self._keep_weights(seed, variables)

  def _keep_weights(self, seed: int, learnt: dict[str, Any]) -> None:
    file = self.learnt_file(seed)
    file.parent.mkdir(exist_ok=True)
    checksums.replace(file, image_networks.to_bytes(learnt))

  def _initial(self, seed: int) -> Path | tuple[bytes, int] | None:
    """A folder; or the weights of another learner, of seed 0 where it has fewer, and the domain that its test uses."""
    if self._from:
      file = self._from.learnt_file(seed if seed < self._from.seeds else 0)
      return checksums.read(file, self._from.name), self._from.fields.test_domain
    return begin_folder(self.fields)

  def _measured(
    self, task: LearnerTask, variables: dict[str, Any], test: str, metric: str, mesh: jax.sharding.Mesh
  ) -> Tally:
    trained, source = learner.Trained(self.fields, task, variables, mesh), self._source(test)
    if metric == TOP1:
      return trained.tally(test, source)
    known = open_real(self._config.real[self.fields.probe], self._study_labels)
    return trained.probe(metric, known, source, len(self._study_labels))


def _folder_of(seeds: range) -> str:
  """Of checkpoints and metrics, in the run's."""
  return f"seed-{seeds[0]}" + (f"-{seeds[-1]}" if len(seeds) > 1 else "")
