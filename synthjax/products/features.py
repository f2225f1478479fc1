"""Stage embed: what an encoder makes of an image set, or of real images, as `embeddings/<what>/<encoder>`.

A file a shard (real images: one file), each whole or not there: features [n, D], labels, and the images' ids. So a set
that grows is embedded where it grew, and processes share the shards by claims.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self

import numpy as np
from etils import epath

from synthjax.data.decoding import Unreadable
from synthjax.data.feeding import AsJpeg, Readable, check_faults, in_threads
from synthjax.data.source import Source
from synthjax.disk import checksums, snapshot, workdir
from synthjax.disk.checksums import Fault
from synthjax.encoders.encoder import Encoder
from synthjax.products.base import DONE, MISSING, STALE, Product, Status, Study, file_faults
from synthjax.products.image_set import ImageSet
from synthjax.runtime import residents
from synthjax.runtime.errors import UserError
from synthjax.runtime.stopping import Stop
from synthjax.spec.study import StudySpec
from synthjax.store import dataset, features, records
from synthjax.store.features import EmbeddedImages, Features
from synthjax.store.image_ids import PackedIds
from synthjax.store.plan import Plan
from synthjax.weights import hub

Array = np.ndarray
_SKIPPED = "left_out.json"


class SetEmbeddings(Product):
  """Of an image set."""

  stage, uses = "embed", (residents.GENERATOR, residents.ENCODER)

  def __init__(self, config: StudySpec, root: epath.Path, image_set: ImageSet, encoder: Encoder):
    set_name = image_set.set_name
    self.name = f"embeddings/{set_name}/{encoder.name}"
    self._folder = root / "embeddings" / set_name / encoder.name
    self.inputs = (image_set,)
    self._set, self._encoder, self._runtime = image_set, encoder, config.runtime
    self._reached = 0  # shards that are embedded, from the first on, as last listed
    self._compared: set[int] = set()  # with the plan: ids are hashes, a million take seconds

  @classmethod
  def declare(cls, study: Study, *key: str) -> Self:
    image_set, encoder = key
    return cls(study.spec, study.root, study.get(ImageSet, image_set), study.encoder(encoder))

  def to_fetch(self) -> Iterable[hub.ToFetch]:
    return self._encoder.to_fetch()

  def _record(self, images: int = 0) -> records.Record:
    inputs = {self._set.name: self._set.identity_hash()}
    return records.Record(self.name, self._encoder.identity, growth={"images": images}, inputs=inputs)

  def _status(self) -> Status:
    whole = self._set.status()
    if whole.have == 0:
      return Status(MISSING, 0, whole.want)
    records.compare(self.folder, self._record())
    plan, needed = self._set.requested()
    missing = set(self._missing(needed))
    have = sum(len(plan.shards[i]) for i in range(needed) if i not in missing)
    state = DONE if have == whole.want else STALE if have else MISSING
    return Status(state, have, whole.want)

  def make(self, stop: Stop) -> bool:
    if self._set.status().state != DONE:
      return False
    plan, needed = self._set.requested()
    missing = self._missing(needed)
    if not missing:
      self._write_growth(plan.size(needed))
      return True
    records.settle(self.folder, self._record())
    if not self.is_any_free(self._file(i).name for i in missing):
      return False
    residents.begin(self.uses)
    total = plan.size(needed)
    progress = self.progress(total, total - sum(len(plan.shards[i]) for i in missing))
    with self.owner() as owner, owner.making(stop):
      for file in self.unclaimed(map(self._file, missing), owner, stop):
        index = int(file.stem)
        rows = list(self._set.read_shard(index))
        labels = np.array([row["label"] for row in rows], np.int32)
        ids = np.array([row["image_id"].decode() for row in rows])
        planned = plan.shard_ids(plan.shards[index])
        dataset.check_ids(self._set.folder, index, ids.tolist(), planned)
        found = self._encoder.embed(progress.counting(in_threads(self._pixels, rows)))
        features.write(file, Features(found, labels, ids))
    progress.close()
    if not self.has(needed):
      return False
    self._write_growth(total)
    return True

  def _write_growth(self, images: int) -> None:
    """What the record says of it: a death may have come after the last features."""
    found = records.load(self.folder)
    if found and found.growth["images"] < images:
      records.update(self.folder, self._record(images))

  def _pixels(self, row: Mapping[str, Any]) -> np.ndarray:
    try:
      return self._encoder.preprocess.decode(row["image"], f"image {row['image_id'].decode()}")
    except Unreadable as e:
      raise UserError(f"{self._set.name}: {e}; --stages verify says what to remove") from None

  def _file(self, index: int) -> epath.Path:
    return self.folder / self._file_name(index)

  def _file_name(self, index: int) -> str:
    return f"{index:05d}.npz"

  def has(self, needed: int) -> bool:
    """Whether the first so many shards are embedded."""
    return not self._missing(needed)

  def _missing(self, needed: int) -> list[int]:
    """By one listing, of which is remembered how far all is there: each result that depends on them asks."""
    there = set(workdir.names(self.folder))
    missing = [i for i in range(needed) if self._file_name(i) not in there]
    self._reached = missing[0] if missing else needed
    return missing

  def reach(self) -> int:
    """How many shards are embedded, from the first on. A filter, or another process, may just have asked for more."""
    _, needed = self._set.requested()
    if self._reached < needed:
      self._missing(needed)
    return min(self._reached, needed)

  def _read(self, plan: Plan, index: int) -> Features:
    found = features.read(self._file(index))
    if index not in self._compared and (why := self._differs(plan, index, found.labels, found.ids)):
      raise UserError(f"{self.name}: {why}")
    self._compared.add(index)
    return found

  def _plan(self, reach: int) -> Plan:
    if not reach:
      raise UserError(f"{self.name} is missing; add embed to --stages")
    return self._set.requested()[0]

  def _differs(self, plan: Plan, index: int, labels: Array, ids: Array) -> str:
    """Whether a file holds the features of another shard than the one that it is named by."""
    shard = plan.shards[index]
    if ids.tolist() == list(plan.shard_ids(shard)) and np.array_equal(labels, plan.shard_labels(shard)):
      return ""
    return f"{self._file(index)} holds features of other images than shard {index}; remove it and run again"

  def faults(self) -> list[Fault]:
    found = file_faults(self.folder)
    records.compare(self.folder, self._record())
    plan, needed = self._set.requested()
    for i in (i for i in range(needed) if self._file(i).exists()):
      try:
        why = self._differs(plan, i, *features.read_names(self._file(i)))
      except UserError as e:
        why = str(e)
      if why and not any(self._file(i) in fault.files for fault in found):
        found.append(Fault(why, self._file(i)))
    return found

  def names(self, reach: int) -> tuple[Array, PackedIds]:
    """(labels, ids) of the first so many shards, as they are planned: no file is opened."""
    plan = self._plan(reach)
    return plan.labels(reach).astype(np.int32), plan.ids(reach)

  def embedded(self, reach: int) -> EmbeddedImages:
    """Their images, by place. A file of features that holds those of others is refused when it is read."""
    plan, (labels, ids) = self._plan(reach), self.names(reach)
    return EmbeddedImages(labels, ids, plan.ends[:reach], functools.partial(self._read, plan))


class RealEmbeddings(Product):
  """Of real images: those of a test, or some to learn from."""

  stage, uses = "embed", (residents.GENERATOR, residents.ENCODER)

  def __init__(
    self,
    config: StudySpec,
    root: epath.Path,
    of: str,
    opened: Callable[[], Source],
    encoder: Encoder,
    jpeg: int = 0,
  ):
    """`jpeg`: of the images encoded as JPEGs of this quality, as generated ones are; 0 = as they are."""
    folder = f"{encoder.name}.jpeg{jpeg}" if jpeg else encoder.name  # no name in a config has a dot
    self.name, self._folder, self._jpeg = f"embeddings/{of}/{folder}", root / "embeddings" / of / folder, jpeg
    self._opened, self._encoder, self._runtime = opened, encoder, config.runtime
    self._reference = config.tests[of] if of in config.tests else config.real[of].source

  @classmethod
  def declare(cls, study: Study, *key: str) -> Self:
    of, encoder, *jpeg = key
    quality = int(jpeg[0].removeprefix("jpeg")) if jpeg else 0
    opened = functools.partial(study.source, of)
    return cls(study.spec, study.root, of, opened, study.encoder(encoder), quality)

  def check(self) -> None:
    self.source  # noqa: B018  what it names is there

  def to_fetch(self) -> Iterable[hub.ToFetch]:
    return self._encoder.to_fetch()

  @property
  def source(self) -> Source:
    return self._opened()

  @functools.cached_property
  def _record(self) -> records.Record:
    identity = self._encoder.identity | {"images": self.source.digest, "class_ids": self._encoder.labels.ids}
    identity |= {"jpeg": self._jpeg} if self._jpeg else {}
    return records.Record(self.name, identity, runtime={"source": self._reference})

  @property
  def _file(self) -> epath.Path:
    return self.folder / "all.npz"

  def _status(self) -> Status:
    records.compare(self.folder, self._record)
    n = len(self.source)
    return Status(DONE, n, n) if self._file.exists() else Status(MISSING, 0, n)

  def make(self, stop: Stop) -> bool:
    if self.status().state == DONE:
      return True
    stop.check()
    records.settle(self.folder, self._record)
    with self.claimed("all", stop) as owner:
      if owner is None:
        return False
      if self._file.exists():
        return True
      residents.begin(self.uses)
      progress = self.progress(len(self.source))
      view = self._encoder.preprocess
      images = Readable(self.source, AsJpeg(view, self._jpeg) if self._jpeg else view)
      found = self._encoder.embed(progress.counting(images))
      progress.close()
      check_faults(self.name, self._reference, images.faults, len(self.source), self._runtime.unreadable)
      if images.faults:
        skipped = [{"where": str(f.where), "why": f.why} for f in images.faults]
        checksums.replace(self.folder / _SKIPPED, workdir.to_json(skipped))
      labels, ids = np.asarray(self.source.labels)[images.places], np.array(self.source.keys)[images.places]
      features.write(self._file, Features(found, labels.astype(np.int32), ids))
    return True

  def skipped(self) -> list[dict[str, str]]:
    """Images that could not be read: `where` and `why` of each."""
    path = self.folder / _SKIPPED

    def read() -> list[dict[str, str]]:
      return (
        checksums.read_json(path, "skipped images", [{"where": str, "why": str}]) if path.exists() else []
      )

    return snapshot.once((self, "skipped"), read)

  def count(self) -> int:
    """Of those that could be read."""
    return snapshot.once((self, "count"), lambda: features.count(self._file))

  def load(self) -> Features:
    found = features.read(self._file)
    if why := self._differs(found.labels, found.ids):
      raise UserError(f"{self.name}: {why}")
    return found

  def _differs(self, labels: Array, ids: Array) -> str:
    """Whether the file holds other images than the source's, in its order; some may be unreadable."""
    keys = iter(enumerate(self.source.keys))
    at = [next((i for i, key in keys if key == wanted), -1) for wanted in ids.tolist()]
    whole = len(ids) + len(self.skipped()) == len(self.source)
    if whole and -1 not in at and (np.asarray(self.source.labels)[at] == labels).all():
      return ""
    return f"{self._file} holds features of other images than {self._reference}; remove it and run again"

  def faults(self) -> list[Fault]:
    """The list of what could not be read comes with the features, and is made again with them."""
    lost = self.folder / _SKIPPED
    found = [Fault(f, self._file, lost) if lost in f.files else f for f in file_faults(self.folder)]
    records.compare(self.folder, self._record)
    if found or not self._file.exists():
      return found
    try:
      why = self._differs(*features.read_names(self._file))
    except UserError as e:
      why = str(e)
    return [Fault(why, self._file)] if why else []
