"""Stage tune: an arm, tuned for several seeds at once and measured on the real images, as `runs/<hash>`.

    run.json              the resolved arm and what it was made from: its hash names the folder
    groups/00000.json     seeds that are, or were, learnt side by side; a further seed makes a group of its own
    group-00000/          checkpoints, metrics.jsonl, TensorBoard events
    seed-0/               the tuned classifier
    tests/<test>.<seed>.npz    what was right of the real images, and its confusions
    rows.jsonl            the rows of results, derived

How it is learnt stands in heads.py. The hash covers all that decides the result. So a run is never stale: where its images have grown, it is another run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from synthjax.data.draws import Part
from synthjax.data.feeding import Readable
from synthjax.data.source import Source
from synthjax.disk import checksums, workdir
from synthjax.disk.checksums import Fault
from synthjax.encoders.encoder import Encoder
from synthjax.evaluation import results
from synthjax.evaluation.accuracy import Tally
from synthjax.learning import head, tune_images
from synthjax.pages.inputs import About, Asked, Described, Measured, Point, Run
from synthjax.products import heads, runs
from synthjax.products.chosen import Chosen, EmbeddedSelection
from synthjax.products.embed import RealEmbeddings, SetEmbeddings
from synthjax.products.image_set import ImageSet
from synthjax.products.keep import KeepList
from synthjax.products.product import DONE, MISSING, STALE, Product, Status, owner_of
from synthjax.products.views import Views
from synthjax.runtime import residents
from synthjax.runtime.progress import readable
from synthjax.runtime.stopping import Stop
from synthjax.spec.study import StudySpec
from synthjax.store import corrections, records
from synthjax.store.features import Features

Array = np.ndarray
_HASH = 12


class Arm(Described):
  stage = "tune"

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
    self.arm, self.name, self.encoder_name, self._root = name, f"runs/{name}", encoder.name, root
    self._study, self._runtime, self._encoder, self._tests = config.study, config.runtime, encoder, tests
    self._set, self._embeddings, self._keep = image_set, embeddings, keep
    self._real, self._validation = real, validation
    made_from = (image_set, embeddings, keep, real, validation)
    self.inputs: tuple[Product, ...] = (*tests.values(), *filter(None, made_from))
    self._fields = config.arms[name]
    self._learns = bool(image_set or real)
    self.seeds = config.seeds if self._learns else 1  # nothing is drawn at random where nothing is learnt
    self._drawn = config.real[self._fields.real] if real else None
    asked = config.sets[self._fields.images.set].images_per_class if image_set else 0
    self._per_class = self._fields.images_per_class or (keep.quota if keep else asked)
    self._selection: EmbeddedSelection | None = None
    if image_set and embeddings:
      n = self._fields.images_per_class
      self._selection = EmbeddedSelection(f"arm {name}", image_set, embeddings, keep, n)

  def check(self) -> None:
    """What of the encoder cannot learn, before anything is drawn."""
    if self._fields.learns or self._fields.batch_norm != "frozen":
      tune_images.check(self._encoder.clip, self._fields.batch_norm)
      tune_images.chosen(self._encoder.clip.param_shapes(), self._fields.learns)

  # --- what is wanted ----------------------------------------------------------------------------

  @property
  def identity(self) -> dict[str, Any]:
    """All that decides the result. Reads the inputs, which must be there."""
    zero_shot = self._encoder.classifier_identity
    if not self._learns:
      return zero_shot
    told = self._fields.identity()
    learnt = {k: v for k, v in told.items() if k not in ("encoder", "images_per_class")}
    for field, real in (("real", self._real), ("validation", self._validation)):
      if real:
        learnt[field] = real.source.digest
    return zero_shot | learnt | ({"images": self._chosen.digests[0]} if self._set else {})

  @property
  def folder(self) -> epath.Path:
    return self._root / "runs" / records.digest(self.identity)[:_HASH]

  def _is_ready(self) -> bool:
    """The list before what it was chosen from: a list that is whole says that its images are all there."""
    return all(product.status().state == DONE for product in reversed(self.inputs))

  @property
  def _chosen(self) -> Chosen:
    assert self._selection is not None
    return self._selection.now()

  @property
  def synthetic_images(self) -> int:
    return len(self._chosen.places) if self._set else 0

  @property
  def real_images(self) -> int:
    return len(self._real.source) if self._real else 0

  @property
  def images(self) -> int:
    """Learnt from, synthetic and real."""
    return self.synthetic_images + self.real_images

  @property
  def shots(self) -> int:
    """Real images a class."""
    return self._drawn.shots if self._drawn else 0

  @property
  def draw(self) -> int:
    return self._drawn.draw if self._drawn else 0

  @property
  def method(self) -> str:
    """Under which it is shown beside other shots and draws."""
    return self._fields.method

  @property
  def per_class(self) -> int:
    """Images a class that are learnt from; the mean where a filter leaves classes unequal."""
    return round(self.images / len(self._encoder.labels))

  @functools.cached_property
  def tuned_percent(self) -> float:
    """Of the parameters of image tower and head, those that learn."""
    if not self._learns or self._fields.adapter:
      return 0.0
    shapes = self._encoder.clip.param_shapes()
    paths = tune_images.chosen(shapes, self._fields.learns)
    return tune_images.share(shapes, paths, len(self._encoder.labels) * (self._encoder.clip.width + 1))

  @property
  def how(self) -> str:
    """For the page."""
    of_set = f"images of set {self._fields.images.set}" if self._set else ""
    return self._how(of_set, self._keep.filter if self._keep else "", f"{self.real_images} real")

  @property
  def how_in_general(self) -> str:
    """Likewise, whatever the shots and the draw."""
    of_set = f"images of {self._set.kind}" if self._set else ""
    return self._how(of_set, f"rule {self._keep.rule}" if self._keep else "", "real")

  def _how(self, of_set: str, kept_by: str, real: str) -> str:
    if not self._learns:
      return f"CLIP's zero-shot classifier from {_said(self._encoder.templates)}; nothing is learnt"
    fields, parts = self._fields, []
    if of_set:
      parts.append(of_set + (f", kept by {kept_by}" if kept_by else ""))
    if self._real:
      parts.append(f"{real} ones" if of_set else f"{real} images")
    joined = " and ".join(parts) + (f", {fields.order}" if len(parts) == 2 else "")
    loss = {"CE": "cross entropy", "SCE": "half cross entropy, half the zero-shot classifier's soft targets"}
    how = "Tip-Adapter-F" if fields.adapter else loss[fields.loss]
    tower = "; batch norms follow the images" if fields.batch_norm != "frozen" else ""
    tower += f"; {readable(self.tuned_percent)} % of the parameters learn" if fields.learns else ""
    return f"{joined}; {how}{tower}"

  # --- what is there -----------------------------------------------------------------------------

  def status(self) -> Status:
    want = self.seeds * len(self._tests)
    if not self._is_ready():
      return Status(MISSING, 0, want, "results")
    folder, each = self.folder, [(test, seed) for test in self._tests for seed in range(self.seeds)]
    have = sum(results.file_of(self._result(folder, test, seed)) is not None for test, seed in each)
    learnt = all(head.exists(folder / f"seed-{seed}") for seed in range(self.seeds))
    if have == want and learnt and runs.is_described(folder):
      return Status(DONE, have, want, "results")
    return Status(STALE if have else MISSING, have, want, "results", why=self._made_before())

  def _made_before(self) -> str:
    """That a result lies there from before a rule was corrected, for --plan."""
    wanted = self.identity
    older = self.folder.with_name(records.digest(corrections.before(wanted))[:_HASH])
    if older == self.folder or not older.exists():
      return ""
    return f"an older result, runs/{older.name}, was made before: {corrections.since({}, wanted)}"

  def tallies(self, test: str) -> list[Tally]:
    """One a seed; empty until all are there."""
    return self._tallies(test) if self.status().state == DONE else []

  def _tallies(self, test: str) -> list[Tally]:
    folder, n = self.folder, self._tests[test].count()
    return [results.read(self._result(folder, test, seed), n) for seed in range(self.seeds)]

  def rows(self) -> list[dict[str, Any]]:
    """What results.jsonl says of this arm; empty until all is there."""
    return self._rows() if self.status().state == DONE else []

  def _rows(self) -> list[dict[str, Any]]:
    found = []
    for test, real in self._tests.items():
      for seed, tally in enumerate(self._tallies(test)):
        about = dict(study=self._study, arm=self.arm, dataset=test, split=real.source.split)
        for metric, value in tally.metrics().items():
          found.append(
            about | dict(metric=metric, value=value, n=tally.n, seed=seed, images=self.synthetic_images)
          )
          if self._fields.learns:
            found[-1] |= dict(tuned_percent=self.tuned_percent)
          if self._real:
            found[-1] |= dict(real=self.real_images, shots=self.shots, draw=self.draw, method=self.method)
    return found

  def is_learnt(self, seed: int) -> bool:
    drawn = [p for p in self.inputs if p not in self._tests.values()]
    return all(p.status().state == DONE for p in drawn) and head.exists(self.classifier_folder(seed))

  def classifier_folder(self, seed: int) -> epath.Path:
    return self.folder / f"seed-{seed}"

  def _result(self, folder: epath.Path, test: str, seed: int) -> epath.Path:
    real = self._tests[test].source.digest[:8]  # other real images under this name are another result
    return folder / "tests" / f"{test}-{real}.{seed}"

  def faults(self) -> list[Fault]:
    folder, each = self.folder, [(test, seed) for test in self._tests for seed in range(self.seeds)]
    return runs.faults(folder, [(self._result(folder, t, seed), self._tests[t].count()) for t, seed in each])

  # --- making it ---------------------------------------------------------------------------------

  def make(self, stop: Stop) -> bool:
    for product in self.inputs:  # a filter may have drawn more of a set that another product was made from
      if product.status().state != DONE and not product.make(stop):
        return False
    if self.status().state == DONE:
      return True
    if not self._is_ready():  # a list that was made just now has drawn more
      return False
    with self._selection.held() if self._selection else contextlib.nullcontext():
      return self._made(stop)

  def _made(self, stop: Stop) -> bool:
    run = {
      "arm": self.arm,
      "fields": self._fields.to_dict(),
      "identity": self.identity,
      "images": self.images,
    }
    runs.begin(self.folder, run)
    with owner_of(self.folder, self._runtime) as owner, owner.making(stop):
      if not owner.take("run"):
        return False
      for index, seeds in enumerate(self._groups()):
        if not all(head.exists(self.classifier_folder(seed)) for seed in seeds):
          self._learn(index, seeds, stop)
      for test, real in self._tests.items():
        for seed in range(self.seeds):
          if results.file_of(self._result(self.folder, test, seed)) is None:
            classifier = head.read(self.classifier_folder(seed))
            features = self._seen(real, classifier)
            logits = classifier.logits(features.features)
            tally = Tally.empty(len(self._encoder.labels)).update(logits, features.labels)
            stop.check()
            results.publish(self._result(self.folder, test, seed), tally)
      runs.finish(self.folder, self._rows())
    return True

  def _groups(self) -> list[tuple[int, ...]]:
    """Seeds that are learnt side by side. A group is written down before it begins, and never changes."""
    folder = self.folder / runs.GROUPS
    files = [folder / name for name in workdir.names(folder, "*.json")]
    groups = [tuple(checksums.read_json(file, "group", {"seeds": [int]})["seeds"]) for file in files]
    known = sum(map(len, groups))
    if known < self.seeds:
      folder.mkdir(exist_ok=True)
      groups.append(tuple(range(known, self.seeds)))
      checksums.publish(folder / f"{len(groups) - 1:05d}.json", workdir.to_json({"seeds": groups[-1]}))
    return groups

  def _seen(self, real: RealEmbeddings, classifier: head.Classifier) -> Features:
    """A test's features, anew where the encoder has learnt."""
    features = real.load()
    if not classifier.tower:
      return features
    images = Readable(real.source, self._encoder.preprocess)
    return dataclasses.replace(features, features=self._encoder.embed(images, classifier.tower))

  def _learn(self, index: int, seeds: Sequence[int], stop: Stop) -> None:
    fields, zero_shot = self._fields, self._encoder.zero_shot
    residents.begin(self.stage, small=not fields.learns and fields.batch_norm == "frozen")
    where = heads.Training(self.folder / f"group-{index:05d}", self.name, self._runtime, stop)
    if not self._learns:
      learnt = [heads.Learnt(zero_shot, np.zeros(len(zero_shot), np.float32))]
    elif fields.adapter:
      assert self._real and self._validation
      validation = self._validation.load()
      real, views = self._real.load(), None
      if fields.views:
        views = Views(self._encoder, self._real.source, real.ids, self.name, self._runtime, stop)
      learnt = heads.tip_adapter(fields, zero_shot, real, validation, seeds, where, views)
    elif fields.learns or fields.batch_norm != "frozen":
      learnt = heads.through_images(fields, self._encoder, self._pictured(), seeds, where)
    else:
      learnt = heads.linear(fields, zero_shot, self._embedded(), seeds, where)
    for one, seed in zip(learnt, seeds, strict=True):
      self._classifier(one, seed).write(self.classifier_folder(seed))

  def _embedded(self) -> dict[str, Features]:
    parts = {}
    if self._embeddings is not None:
      parts["synthetic"] = self._embeddings.load(self._embeddings.reach()).at(self._chosen.places)
    if self._real:
      parts["real"] = self._real.load()
    return parts

  def _pictured(self) -> dict[str, Source]:
    parts: dict[str, Source] = {}
    if self._set is not None:
      parts["synthetic"] = Part(self._set.as_source(), self._chosen.places.tolist(), "chosen")
    if self._real:
      parts["real"] = self._real.source
    return parts

  def _classifier(self, learnt: heads.Learnt, seed: int) -> head.Classifier:
    clip = self._encoder.clip
    return head.Classifier(
      learnt.W_KxD,
      learnt.b_K,
      self._encoder.labels.ids,
      self._encoder.labels.names,
      encoder=self._encoder.identity
      | {"reference": self._encoder.reference, "preprocessing": clip.preprocess.to_json()},
      made={"arm": self.arm, "seed": seed, "images": self.images, "study": self._study},
      memory=learnt.memory,
      tower=learnt.tower,
    )

  # --- for pages ---------------------------------------------------------------------------------

  def about(self, asked: Asked | None = None) -> About:
    read = asked.results if asked else ()
    tests = {
      test: Measured.of(real.source, self.tallies(test) if test in read else (), len(real.left_out()))
      for test, real in self._tests.items()
    }
    has_results, own = any(test.tallies for test in tests.values()), self._fields
    is_linear = not (own.adapter or own.learns) and own.batch_norm == "frozen"
    run = Run(
      name=self.arm,
      how=self.how,
      how_in_general=self.how_in_general,
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
      is_plainly_real=bool(self._real) and self._set is None and is_linear,
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


def _said(templates: Sequence[str]) -> str:
  return f"the prompt '{templates[0]}'" if len(templates) == 1 else f"{len(templates)} prompts a class"
