"""Stage tune: an arm, a CLIP classifier tuned for several seeds at once and tested on real images, as `runs/<hash>`.

    groups/00000.json     seeds that are, or were, learnt side by side; a further seed makes a group of its own
    group-00000/          checkpoints, metrics.jsonl, TensorBoard events
    seed-0/               the tuned classifier

The rest of the folder stands in run.py, how it is learnt in learning/classifier_tuning.py.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

from etils import epath

from synthjax.data.source import Opened, Source
from synthjax.encoders.encoder import Encoder
from synthjax.evaluation import results
from synthjax.evaluation.accuracy import Tally
from synthjax.evaluation.rows import TOP1, Row, rows
from synthjax.learning import classifier_tuning, descriptions, head, seed_groups
from synthjax.learning.classifier_tuning import Images, Learnt
from synthjax.learning.training import Training
from synthjax.pages import inputs
from synthjax.pages.inputs import About, Asked, Measured, Point
from synthjax.products.base import DONE, Study
from synthjax.products.features import RealEmbeddings, SetEmbeddings
from synthjax.products.image_set import ImageSet
from synthjax.products.keep_list import KeepList
from synthjax.products.run import Result, Run, folder_of
from synthjax.products.selection import Chosen, EmbeddedSelection
from synthjax.runtime import residents
from synthjax.runtime.errors import UserError
from synthjax.runtime.stopping import Stop
from synthjax.spec.study import StudySpec
from synthjax.store import corrections, records
from synthjax.store.features import Features
from synthjax.weights import hub


class Arm(Run):
  stage, uses = "tune", (residents.ENCODER,)

  def __init__(
    self,
    config: StudySpec,
    root: epath.Path,
    name: str,
    encoder: Encoder,
    tests: Mapping[str, RealEmbeddings],
    image_set: ImageSet | None,
    embeddings: SetEmbeddings | None,
    keep: KeepList | None,
    real: RealEmbeddings | None = None,
    validation: RealEmbeddings | None = None,
  ):
    self._fields, self._learns = config.arms[name], bool(image_set or real)
    drawn = config.real[self._fields.real] if real else None
    self.method = self._fields.method  # under which it is shown beside other shots and draws
    self.draw, shots = (drawn.draw, drawn.shots) if drawn else (0, 0)
    super().__init__(
      config,
      root,
      name,
      encoder.labels,
      Opened({test: lambda of=of: of.source for test, of in tests.items()}),
      (*tests.values(), image_set, embeddings, keep, real, validation),
      shots=shots,
      seeds=config.seeds if self._learns else 1,  # nothing is drawn at random where nothing is learnt
    )
    self.encoder_name, self._encoder, self._tests = encoder.name, encoder, tests
    self._set, self._embeddings, self._keep = image_set, embeddings, keep
    self._real, self._validation = real, validation
    asked = config.sets[self._fields.images.set].images_per_class if image_set else 0
    self._per_class = self._fields.images_per_class or (keep.quota if keep else asked)
    if image_set and embeddings:
      n = self._fields.images_per_class
      self._selection = EmbeddedSelection(f"arm {name}", image_set, embeddings, keep, n)

  def check_devices(self) -> None:
    self._needs_one_process()

  @classmethod
  def wanted(cls, spec: StudySpec) -> Iterable[tuple[str, ...]]:
    return ((name,) for name in spec.arms)

  @classmethod
  def declare(cls, study: Study, *key: str) -> Self:
    (name,) = key
    spec, own = study.spec, study.spec.arms[name]
    images, encoder = own.images, own.encoder
    tests = {test: study.get(RealEmbeddings, test, encoder) for test in spec.tests}
    image_set = study.get(ImageSet, images.set) if images else None
    embeddings = study.get(SetEmbeddings, images.set, encoder) if images else None
    keep = study.get(KeepList, images.set, images.filter) if images.filter else None
    real, validation = (
      study.get(RealEmbeddings, of, encoder) if of else None for of in (own.real, own.validation)
    )
    of_encoder = study.encoder(encoder)
    return cls(spec, study.root, name, of_encoder, tests, image_set, embeddings, keep, real, validation)

  def check(self) -> None:
    """What of the encoder cannot learn, before anything is drawn."""
    if len(self.labels) < 2:
      raise UserError(f"config.labels has {len(self.labels)} class; a classifier needs two")
    self._encoder.check()
    classifier_tuning.check(self._fields, self._encoder)

  def to_fetch(self) -> Iterable[hub.ToFetch]:
    return self._encoder.to_fetch()

  # --- what is wanted ----------------------------------------------------------------------------

  @property
  def identity(self) -> dict[str, Any]:
    zero_shot = self._encoder.classifier_identity
    if not self._learns:
      return zero_shot
    fields = self._fields.identity()
    learnt = {k: v for k, v in fields.items() if k not in ("encoder", "images_per_class")}
    for field, real in (("real", self._real), ("validation", self._validation)):
      if real:
        learnt[field] = real.source.digest
    return zero_shot | learnt | ({"images": self._chosen.digests[0]} if self._set else {})

  @property
  def _chosen(self) -> Chosen:
    assert self._selection is not None
    return self._selection.now()

  @property
  def _asked(self) -> list[tuple[str, str]]:
    return [(test, TOP1) for test in self.tests]

  def _files(self) -> tuple[epath.Path, list[Result]]:
    """Other real images under a test's name are another result."""
    folder, found = self.folder, []
    for test, source in self.tests.items():
      stem = f"{test}-{source.digest[:8]}"
      found += [Result(test, TOP1, s, folder / "tests" / f"{stem}.{s}") for s in range(self.seeds)]
    return folder, found

  def _is_learnt_in(self, folder: epath.Path, seed: int) -> bool:
    return head.exists(folder / f"seed-{seed}")

  def is_learnt(self, seed: int) -> bool:
    """Whether its classifier is there; tests need not be."""
    drawn = [p for p in self.inputs if p not in self._tests.values()]
    return all(p.status().state == DONE for p in drawn) and head.exists(self.classifier_folder(seed))

  def classifier_folder(self, seed: int) -> epath.Path:
    return self.folder / f"seed-{seed}"

  def _count(self, test: str) -> int:
    return self._tests[test].count()

  @property
  def _made_from(self) -> dict[str, Any]:
    made_from = {"identity": self.identity, "images": self.images}
    return {"arm": self.arm, "fields": self._fields.to_dict()} | made_from

  def _why(self, is_ready: bool) -> str:
    """That a result lies there from before a rule was corrected."""
    if not is_ready:
      return ""
    wanted = self.identity
    older = folder_of(self._root, corrections.before(wanted))
    if older == folder_of(self._root, wanted) or not older.exists():
      return ""
    return f"an older result, runs/{older.name}, was made before: {corrections.since({}, wanted)}"

  def _to_remove(self, folder: epath.Path, damaged: Sequence[epath.Path]) -> list[epath.Path]:
    """Groups are counted by their files: without one all is learnt anew."""
    is_group = any(file.parent.name == seed_groups.FOLDER for file in damaged)
    return [folder] if is_group else super()._to_remove(folder, damaged)

  # --- for pages ---------------------------------------------------------------------------------

  @property
  def real_images(self) -> int:
    return len(self._real.source) if self._real else 0

  @functools.cached_property
  def tuned_percent(self) -> float:
    """Of the parameters of image tower and linear classifier, those that learn."""
    return classifier_tuning.tuned_percent(self._fields, self._encoder) if self._learns else 0.0

  @property
  def _is_plainly_real(self) -> bool:
    """Learns from real images alone, and as a linear classifier on the encoder as it is."""
    is_plain = not (self._fields.adapter or classifier_tuning.goes_through_images(self._fields))
    return bool(self._real) and self._set is None and is_plain

  @property
  def how(self) -> str:
    of_set = f"images of set {self._fields.images.set}" if self._set else ""
    return self._how(of_set, self._keep.filter if self._keep else "", f"{self.real_images} real")

  @property
  def _how_in_general(self) -> str:
    """Likewise, whatever the shots and the draw."""
    of_set = f"images of {self._set.kind}" if self._set else ""
    return self._how(of_set, f"rule {self._keep.rule}" if self._keep else "", "real")

  def _how(self, of_set: str, kept_by: str, real: str) -> str:
    if not self._learns:
      return descriptions.zero_shot(self._encoder.templates)
    return descriptions.tuning(self._fields, of_set, kept_by, real if self._real else "", self.tuned_percent)

  def about(self, asked: Asked | None = None) -> About:
    read = asked.results if asked else ()
    tests = {
      test: Measured.of(real.source, self.tallies(test) if test in read else (), len(real.skipped()))
      for test, real in self._tests.items()
    }
    has_results, own = any(test.tallies for test in tests.values()), self._fields
    run = inputs.Run(
      name=self.arm,
      how=self.how,
      how_in_general=self._how_in_general,
      tests=tests,
      encoder=self.encoder_name,
      method=self.method,
      shots=self.shots,
      draw=self.draw,
      images=self.images if has_results else 0,
      per_class=self.per_class if has_results else self._per_class + self.shots,
      real=own.real,
      real_images=self.real_images,
      has_set=self._set is not None,
      is_plainly_real=self._is_plainly_real,
      points=self._points() if has_results else (),
    )
    return About(run=run)

  def _points(self) -> tuple[Point, ...]:
    """On the curve of arms that differ in nothing but the number of images."""
    own = self._fields
    if self.method or not own.images:
      return ()
    images = str(own.images)
    key = records.digest(own.to_dict() | {"images": images, "images_per_class": 0})
    return (Point("images", key, f"{images.replace('/', '+')}+{own.loss}", self.per_class),)

  def _rows_of(self, result: Result, tally: Tally) -> list[Row]:
    split = self.tests[result.test].split
    after: Row = dict(n=tally.n, seed=result.seed, images=self.synthetic_images)
    if self._fields.learns:
      after |= dict(tuned_percent=self.tuned_percent)
    if self._real:
      after |= dict(real=self.real_images, shots=self.shots, draw=self.draw, method=self.method)
    if self._set and self._set.written_by:
      after |= dict(prompts=self._set.written_by)
    before = dict(study=self._study, arm=self.arm, dataset=result.test, split=split)
    return rows(tally, before, after)

  # --- making it ---------------------------------------------------------------------------------

  def _inputs_are_made(self, stop: Stop) -> bool:
    """A filter may have drawn more of a set that another product was made from."""
    return all(product.status().state == DONE or product.make(stop) for product in self.inputs)

  def _work(self, stop: Stop) -> bool:
    with self.claimed("run", stop) as owner:
      if owner is None:
        return False
      for index, seeds in enumerate(seed_groups.groups(self.folder, self.seeds)):
        if not all(head.exists(self.classifier_folder(seed)) for seed in seeds):
          self._learn(index, seeds, stop)
      for one in self._files()[1]:
        if results.file_of(one.stem) is None:
          classifier, test = head.read(self.classifier_folder(one.seed)), self._tests[one.test]
          tally = classifier_tuning.tested(classifier, self._encoder, test.load(), test.source)
          stop.check()
          results.publish(one.stem, tally)
      self._finish()
    return True

  def _learn(self, index: int, seeds: Sequence[int], stop: Stop) -> None:
    residents.begin(self.uses, small=not classifier_tuning.goes_through_images(self._fields))
    training = Training(self.folder / f"group-{index:05d}", self.name, self._runtime, stop)
    images = (
      Images(self._features, self._pictures, self._validation and self._validation.load)
      if self._learns
      else None
    )
    learnt = classifier_tuning.tune(self._fields, self._encoder, images, seeds, training)
    for one, seed in zip(learnt, seeds, strict=True):
      self._classifier(one, seed).write(self.classifier_folder(seed))

  def _features(self) -> dict[str, Features]:
    parts = {}
    if self._embeddings:
      parts["synthetic"] = self._embeddings.embedded(self._embeddings.reach()).at(self._chosen.places)
    if self._real:
      parts["real"] = self._real.load()
    return parts

  def _pictures(self) -> dict[str, Source]:
    parts: dict[str, Source] = {}
    if self._selection:
      parts["synthetic"] = self._selection.source("chosen")
    if self._real:
      parts["real"] = self._real.source
    return parts

  def _classifier(self, learnt: Learnt, seed: int) -> head.Classifier:
    encoder = self._encoder
    about = {"reference": encoder.reference, "preprocessing": encoder.clip.preprocess.to_json()}
    return head.Classifier(
      learnt.W_KxD,
      learnt.b_K,
      encoder.labels.ids,
      encoder.labels.names,
      encoder=encoder.identity | about,
      made={"arm": self.arm, "seed": seed, "images": self.images, "study": self._study},
      memory=learnt.memory,
      tower=learnt.tower,
    )
