"""Stage measure: metrics of an image set by one encoder, as `metrics/<set>/<name>/metrics.json`.

They are of the first images of each class, as many as the set is asked for, whoever had further ones sampled; where the set
is asked for more, or another metric, or a classifier has been trained anew, all are measured again.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from etils import epath
from PIL import Image

from synthjax.data.draws import Part
from synthjax.data.selection import select
from synthjax.disk import checksums, snapshot, workdir
from synthjax.disk.checksums import Fault
from synthjax.encoders.encoder import Encoder
from synthjax.evaluation.rows import Row
from synthjax.evaluation.set_metrics import diversity, measured
from synthjax.evaluation.set_metrics import features as feature_rows
from synthjax.evaluation.set_metrics.measured import Given, Images
from synthjax.evaluation.set_metrics.pictures import lpips_diversity
from synthjax.models.lpips import Network
from synthjax.pages import inputs as pages
from synthjax.pages.inputs import About, Asked
from synthjax.products import answering
from synthjax.products.base import DONE, MISSING, STALE, Product, Status, Study, file_faults
from synthjax.products.features import RealEmbeddings, SetEmbeddings
from synthjax.products.image_set import ImageSet
from synthjax.products.learner import Learner
from synthjax.runtime import residents
from synthjax.runtime.errors import UserError
from synthjax.runtime.stopping import Stop
from synthjax.spec import checks_metrics
from synthjax.spec.checks import knows_classes
from synthjax.spec.entries import SampledSet
from synthjax.spec.references import named
from synthjax.spec.study import StudySpec
from synthjax.store import export, records, schema
from synthjax.weights import hub, metric_networks, read

Array = np.ndarray
_FILE, _CLAIM = "metrics.json", "metrics"


class SetMetrics(Product):
  stage, uses = "measure", (residents.ENCODER,)

  def __init__(
    self,
    config: StudySpec,
    root: epath.Path,
    image_set: ImageSet,
    name: str,
    encoder: Encoder,
    embeddings: SetEmbeddings,
    real: RealEmbeddings | None,
    learner: Learner | None,
  ):
    self.set_name, self.metrics_name, self.fields = image_set.set_name, name, config.metrics[name]
    self.name = f"metrics/{self.set_name}/{name}"
    self._folder = root / "metrics" / self.set_name / name
    self.inputs = tuple(product for product in (image_set, embeddings, real, learner) if product)
    self._config, self._root, self._runtime = config, root, config.runtime
    self._set, self._encoder, self._embeddings = image_set, encoder, embeddings
    self._real, self._learner = real, learner
    self._asked = checks_metrics.metrics_of(self.fields, config, self.set_name)
    self._by_clip = knows_classes(config.encoders[self.fields.encoder].weights)

  @classmethod
  def wanted(cls, spec: StudySpec) -> Iterable[tuple[str, ...]]:
    return checks_metrics.keys(spec)

  @classmethod
  def declare(cls, study: Study, *key: str) -> Self:
    set_name, name = key
    own = study.spec.metrics[name]
    jpeg = [f"jpeg{own.real_jpeg}"] if own.real_jpeg else []
    learner = named("learner", own.classifier)
    return cls(
      study.spec,
      study.root,
      study.get(ImageSet, set_name),
      name,
      study.encoder(own.encoder),
      study.get(SetEmbeddings, set_name, own.encoder),
      study.get(RealEmbeddings, own.real, own.encoder, *jpeg) if own.real else None,
      study.get(Learner, learner) if learner else None,
    )

  def check(self) -> None:
    self._encoder.check()
    where = f"config.metrics.{self.metrics_name}"
    if self.fields.lpips and not self._lpips_to_fetch():
      self._lpips_variables()
    if self._learner and self._learner.labels.ids != self._set.labels.ids:
      raise UserError(
        f"{where}: {self.fields.classifier} has other classes than {self._set.name}; name another"
      )
    for metric in self._asked:
      of_class, need = measured.least_of_class(metric), measured.least(metric, self.fields.neighbours)
      need = max(need, of_class * len(self._set.labels))
      if self.fields.subsample and self.fields.subsample < need:
        raise UserError(
          f"{where}: subsample {self.fields.subsample} is too few for {metric}, which needs {need}; raise it, or set it to 0"
        )
      if (asked := self._config_asks) and (asked < of_class or asked * len(self._set.labels) < need):
        raise UserError(
          f"{where}: {metric} needs {of_class} images of each class and {need} in all, and set {self.set_name} asks for {asked} a class; raise its images_per_class, or leave it out"
        )

  @property
  def _config_asks(self) -> int:
    """Images a class; 0 = not known before they are read."""
    return self._set.fields.images_per_class

  @property
  def _lpips_folder(self) -> Path:
    return hub.locate(self.fields.lpips, self._root)

  def _lpips_variables(self) -> dict[str, Any]:
    folder = self._lpips_folder
    return _lpips(folder, self.fields.lpips_network, read.stamps(folder))

  def to_fetch(self) -> Iterable[hub.ToFetch]:
    yield from self._encoder.to_fetch()
    yield from self._lpips_to_fetch()

  def _lpips_to_fetch(self) -> list[hub.ToFetch]:
    own = self.fields.lpips
    return hub.to_fetch(own, self._root, {"": (metric_networks.STEM,)}) if own else []

  # --- what is there -----------------------------------------------------------------------------

  def _record(self) -> records.Record:
    identity = self.fields.identity() | {"class_ids": self._set.labels.ids}
    del identity["encoder"], identity["real"]  # what they are says more than their names
    identity |= self._encoder.classifier_identity if self._by_clip else self._encoder.identity
    if self._real:
      identity["real"] = self._real.source.digest
    if self.fields.lpips:
      identity["lpips"] = read.folder_digest(self._lpips_folder, (".",))
    inputs = {self._set.name: self._set.identity_hash()}
    return records.Record(self.name, identity, growth={"metrics": list(self._asked)}, inputs=inputs)

  @property
  def _basis(self) -> dict[str, Any]:
    """What may differ between two versions of the file."""
    basis: dict[str, Any] = {"images_per_class": self._set.asked}
    if self._learner:
      basis["classifier"] = records.digest(self._learner.identity)
    return basis

  @property
  def _file(self) -> epath.Path:
    return self.folder / _FILE

  def _status(self) -> Status:
    want = len(self._asked)
    if self._set.status().have == 0:
      return self._status_without()
    if self._learner and self._learner.status().state != DONE:
      return self._status_without()
    records.compare(self.folder, self._record())
    found = self._read()
    if found is None:
      return Status(MISSING, 0, want, "metrics")
    if found["basis"] != self._basis:
      return Status(STALE, 0, want, "metrics", why="the set has grown, or the classifier is another")
    have = sum(metric in found["asked"] for metric in self._asked)
    return Status(DONE if have == want else STALE, have, want, "metrics", is_idle=have == want)

  def _status_without(self) -> Status:
    return Status(MISSING, 0, len(self._asked), "metrics")

  def _read(self) -> dict[str, Any] | None:
    def read_file() -> dict[str, Any] | None:
      if not self._file.exists():
        return None
      return checksums.read_json(self._file, "metrics", {"basis": dict, "asked": list, "metrics": dict})

    return snapshot.once((self, "metrics"), read_file)

  def faults(self) -> list[Fault]:
    found = file_faults(self.folder)
    if (self.folder / "record.json").exists():
      records.compare(self.folder, self._record())
    return found

  # --- making it ---------------------------------------------------------------------------------

  def make(self, stop: Stop) -> bool:
    if self.status().state == DONE:
      return True
    if any(product.status().state != DONE for product in self.inputs):
      return False
    records.settle(self.folder, self._record())
    with self.claimed(_CLAIM, stop) as owner:
      if owner is None:
        return False
      if self.status().state == DONE:
        return True
      residents.begin(self.uses)
      basis, given = self._basis, self._given()
      body = self._kept(basis)
      missing = [metric for metric in self._asked if metric not in body["asked"]]
      progress = self.progress(len(missing), unit="metrics")
      for metric in progress.counting(missing):
        stop.check()
        body["asked"].append(metric)
        body["metrics"] |= {name: one.to_json() for name, one in self._measured(metric, given).items()}
      progress.close()
      checksums.replace(self._file, workdir.to_json(body))
      records.update(self.folder, self._record())
    return True

  def _kept(self, basis: Mapping[str, Any]) -> dict[str, Any]:
    """What was measured of the same images: a metric that is asked for later is added to it."""
    found = self._read()
    if found is None or found["basis"] != basis:
      return {"basis": basis, "asked": [], "metrics": {}}
    return {"basis": basis, "asked": list(found["asked"]), "metrics": dict(found["metrics"])}

  def _measured(self, metric: str, given: Given) -> dict[str, measured.Measure]:
    try:
      return measured.measure(metric, given)
    except UserError as e:
      raise UserError(f"{self.name}: {metric}: {e}") from None

  def _given(self) -> Given:
    fields, plan_and_shards = self.fields, self._set.requested()
    embedded = self._embeddings.embedded(plan_and_shards[1])
    places = select(embedded.labels, embedded.ids, None, self._set.asked)
    if fields.subsample and fields.subsample < len(places):
      places = places[feature_rows.by_share(embedded.labels[places], fields.subsample, fields.seed)]
    found = embedded.at(places)
    synthetic = Images(found.features, found.labels)
    return Given(
      synthetic,
      self._set.labels.ids,
      fields.seed,
      fields.neighbours,
      self._real_images() if self._real else None,
      answers=functools.partial(self._answers, synthetic, places),
      texts=functools.partial(self._texts, places),
      lpips=functools.partial(self._lpips, synthetic.labels_N, places),
    )

  def _real_images(self) -> Images:
    assert self._real
    found = self._real.load()
    real = Images(found.features, found.labels)
    return real.drawn(self.fields.subsample or len(real), self.fields.seed)

  def _answers(self, synthetic: Images, places: Array) -> Array:
    if self._learner:
      return answering.by_learner(self._learner, Part(self._set.as_source(), places, "measured"))
    return (synthetic.features_NxD @ self._encoder.zero_shot.T).argmax(axis=1)

  def _texts(self, places: Array) -> Array:
    """Features of the texts; a prompt of many images is encoded once."""
    examples = export.Examples(self._set.folder)
    prompts = [schema.parse(examples[int(place)])["prompt"] for place in places]
    texts = list(dict.fromkeys(prompts))
    place_of = {text: i for i, text in enumerate(texts)}
    return self._encoder.embed_texts(texts)[[place_of[prompt] for prompt in prompts]]

  def _lpips(self, labels_N: Array, places: Array) -> diversity.Spread:
    fields, source = self.fields, self._set.as_source()
    pairs = diversity.pairs(labels_N, self._set.labels.ids, fields.pairs, fields.seed)
    variables = self._lpips_variables()

    def pictures(at: Array) -> Array:
      size = (fields.size, fields.size)
      images = (source.image(int(places[i])).convert("RGB") for i in at)
      return np.stack([np.asarray(x.resize(size, Image.Resampling.BICUBIC)) for x in images])

    return lpips_diversity(variables, fields.lpips_network, pictures, pairs)

  # --- for others --------------------------------------------------------------------------------

  def rows(self) -> list[Row]:
    """One a number; empty until all are there."""
    found = self._read() if self.status().state == DONE else None
    before = dict(study=self._config.study, set=self.set_name, metrics=self.metrics_name)
    of_set = self._config.sets[self.set_name]
    before |= dict(encoder=self.fields.encoder, **dict(of_set.axes if isinstance(of_set, SampledSet) else ()))
    after = {"real": self.fields.real} if self.fields.real else {}
    return [
      {**before, "metric": name, "value": one["value"], "n": one["n"], **after}
      for name, one in self._numbers(found).items()
    ]

  def _numbers(self, found: Mapping[str, Any] | None) -> dict[str, Mapping[str, Any]]:
    """Of the metrics that are asked for: the file may hold more."""
    numbers = found["metrics"] if found else {}
    return {name: numbers[name] for name in measured.names(self._asked) if name in numbers}

  def about(self, asked: Asked | None = None) -> About:
    of = pages.SetMetrics(self.set_name, self.metrics_name, self.fields.encoder, self.fields.real)
    found = self._read() if asked and self.status().state == DONE else None
    numbers = tuple((name, float(one["value"]), int(one["n"])) for name, one in self._numbers(found).items())
    by_class = {name: one["by_class"] for name, one in self._numbers(found).items() if one["by_class"]}
    return About(metrics=dataclasses.replace(of, numbers=numbers, by_class=by_class))


@functools.lru_cache(maxsize=1)  # of all sets
def _lpips(folder: Path, network: Network, stamps: read.Stamps) -> dict[str, Any]:
  del stamps  # other files are another network
  return metric_networks.read_lpips(folder, network)
