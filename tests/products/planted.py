"""An image set that draws at once, scored by an encoder whose scores are planted: filters alone, in milliseconds."""

import contextlib
import hashlib
import types

import numpy as np
from etils import epath

from synthjax.labels.spaces import load
from synthjax.products.base import DONE, MISSING, Status
from synthjax.products.features import SetEmbeddings
from synthjax.products.image_set import ImageSet
from synthjax.products.keep_list import Encoded, KeepList
from synthjax.runtime.stopping import Stop
from synthjax.spec import config as fields_of
from synthjax.spec.study import resolve
from synthjax.store import dataset, records
from synthjax.store.claims import Lost
from synthjax.store.features import Features
from synthjax.store.plan import Plan
from synthjax.store.prompt import Prompt

LABELS = load("digits")
IMAGES = 6  # a class, at first


class PlantedSet(ImageSet):
  stage, draws_more, note, _is_ready = "sample", True, "", lambda self: True

  def __init__(self, config, root, images: int):
    self._images = images
    super().__init__(config, root, "LE", LABELS, {"images_per_shard": 32})

  def _record(self):
    return records.Record(self.name, {})

  @property
  def asked(self) -> int:
    return self._images

  @property
  def _wanted(self) -> list[int]:
    return [self.asked] * len(LABELS)

  def plan(self, segments) -> Plan:
    prompts = [Prompt(c, f"digit {c}") for c in LABELS.ids]
    settings = dict(images_per_shard=32, drawing="", guidance=1.0, seed=0)
    return Plan(LABELS.ids, prompts, segments, **settings)

  @classmethod
  def declare(cls, study, *key):
    raise NotImplementedError

  def _begin(self, stop) -> bool:
    return True

  def _fill(self, plan, needed, have, stop) -> bool:
    return True

  def make(self, stop) -> bool:
    dataset.grow(self.folder, self._wanted)
    return True

  def status(self) -> Status:
    n = sum(sum(s.counts) for s in dataset.segments(self.folder))
    return Status(DONE if n else MISSING, n, n)


class PlantedEmbeddings(SetEmbeddings):
  def __init__(self, image_set: PlantedSet):
    self._set, self.inputs = image_set, (image_set,)

  def status(self) -> Status:
    return self._set.status()

  def make(self, stop) -> bool:
    return True

  def has(self, needed: int) -> bool:
    return True

  def _read(self, plan: Plan, index: int) -> Features:
    images = plan.images(plan.shards[index])
    labels, ids = np.array([i.label for i in images], np.int32), np.array([i.image_id for i in images])
    near = np.array([int(hashlib.sha256(i.encode()).hexdigest()[:6], 16) / 16**6 for i in ids.tolist()])
    features = np.full((len(ids), len(LABELS)), 0.1, np.float32)
    features[np.arange(len(ids)), labels] = near * (0.12 + 0.04 * labels)  # some classes are hard to draw
    return Features(features, labels, ids)


def keep_list(
  root, quota: int, name: str = "CF", images: int = IMAGES, stale: float = 60.0, **fields
) -> KeepList:
  config = fields_of.study_config(labels="digits")
  fields = dict(kept_per_class=quota, max_rounds=3, max_drawn=6.0) | fields
  config.filters[name] = fields_of.image_filter("clip", **fields)
  config.runtime.stale_seconds = stale
  encoder = types.SimpleNamespace(
    name="clip", labels=LABELS, classifier_identity={}, zero_shot=np.eye(len(LABELS), dtype=np.float32) * 8
  )
  config = resolve(config)
  image_set = PlantedSet(config, epath.Path(root), images)
  return KeepList(config, epath.Path(root), name, image_set, [Encoded(encoder, PlantedEmbeddings(image_set))])


def make(keep: KeepList) -> KeepList:
  with Stop() as stop:
    for _ in range(20):
      with contextlib.suppress(Lost):  # then the scheduler comes back to it
        if keep._set.make(stop) and keep.make(stop):
          return keep
  raise AssertionError("it is never made")
