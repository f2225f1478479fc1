"""What names a learner's run: all that decides what is learnt. What it is only evaluated by tells its results apart.

Older releases hashed more: the whole set where a part of it is learnt from, and the fields that only evaluate. Their runs
are found under the hashes that they gave to the same learning.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from etils import epath

from synthjax.data.selection import part_digest
from synthjax.data.sources import open_real
from synthjax.labels.spaces import LabelSpace
from synthjax.learning import settings
from synthjax.learning.tasks import TASKS
from synthjax.products.image_set import ImageSet
from synthjax.products.run import folder_of
from synthjax.products.selection import Selection
from synthjax.runtime.errors import NotHere, UserError
from synthjax.spec import entries, group
from synthjax.spec import fields as fields_of
from synthjax.spec.references import named
from synthjax.spec.study import StudySpec
from synthjax.store import corrections, records
from synthjax.weights import read

_EVALUATING = ("probe", "neighbours", "test_norm")  # those of them that the task has
_NOT_HASHED = (
  "images_per_class",
  "ratio",
  "subset_tests",
)  # the images themselves are; or another test's result


class Naming:
  """Of one learner. Reads what it is made from, which must be there."""

  def __init__(
    self,
    config: StudySpec,
    root: epath.Path,
    fields: entries.Learner,
    labels: LabelSpace,
    study_labels: LabelSpace,
    selection: Selection | None,
    begun_from: Naming | None,
  ):
    self._config, self._root, self._fields = config, root, fields
    self._labels, self._study_labels = labels, study_labels
    self._selection, self._from = selection, begun_from
    self._known = group.fields(type(fields))
    self._evaluating = [field for field in _EVALUATING if field in self._known]

  @property
  def identities(self) -> list[dict[str, Any]]:
    """As it is hashed now; then as older releases hashed the same run."""
    return self._identities(self._images)

  @property
  def _images(self) -> tuple[str, ...]:
    return self._selection.now().digests if self._selection else ("",)

  def _identities(self, images: tuple[str, ...], is_corrected: bool = True) -> list[dict[str, Any]]:
    fields = self._fields.identity()
    learnt = {field: value for field, value in fields.items() if field not in _NOT_HASHED}
    if self._fields.drawn_from:  # the images are those that seeds draw from
      learnt |= {name: getattr(self._fields, name) for name in ("images_per_class", "ratio")}
    learnt |= {"real": self._real, "class_ids": self._labels.ids}
    learnt |= TASKS.identity(self._fields.task)
    learnt |= corrections.applied(decay=settings.decays_otherwise(self._fields)) if is_corrected else {}
    default = {field: self._known[field].default for field in self._evaluating}
    found: dict[str, dict[str, Any]] = {}
    for evaluated in (default, self._evaluated):
      for digest in images:
        for origin in self._origins(is_corrected):
          identity = learnt | evaluated | {"images": digest, "init": origin}
          found.setdefault(records.digest(identity), identity)
    return list(found.values())

  @property
  def place(self) -> tuple[epath.Path, bool]:
    """The run's folder; and whether its name says how it is evaluated, so that the results' names need not."""
    places = [
      (self._folder(i), all(i[field] == value for field, value in self._evaluated.items()))
      for i in self.identities
    ]
    there = sorted((p for p in places if (p[0] / "run.json").exists()), key=lambda p: not p[1])
    return (there or places)[0]

  def result(self, metric: str) -> str:
    """What tells a result from the same run's with other values; "" where these are at their defaults."""
    fields = self._fields
    found = "+auxiliary" if fields.test_domain else ""
    if metric != "top1":
      found += f"+{records.digest(self._probe)[:8]}"
    if metric == "knn" and fields.neighbours != self._known["neighbours"].default:
      found += f"+{fields.neighbours}"
    return found

  @property
  def before_corrections(self) -> str:
    """That an older release made the same run under a rule that has been corrected since; "" where none did. Folders are
    named by identities, so none is read."""
    if not (rule := self._rule):
      return ""
    now = [self._folder(identity) for identity in self.identities]
    others = map(self._folder, self._identities(self._images, is_corrected=False))
    older = [folder for folder in others if folder not in now and (folder / "run.json").exists()]
    return f"an older result, runs/{older[0].name}, {rule}" if older else ""

  @property
  def _rule(self) -> str:
    if own := corrections.since({}, self.identities[0]):
      return f"was made before: {own}"
    rule = self._from._rule if self._from else ""
    return f"is initialised from learner {self._fields.begins_with}, which {rule}" if rule else ""

  def without_images(self, image_set: ImageSet, kept_by: str) -> str:
    """That an older release learnt it from no image of the set at all; "" where none did."""
    ids = image_set.as_source().keys
    none = tuple(dict.fromkeys(part_digest(ids[:n], ()) for n in image_set.sizes()))
    folders = map(self._folder, self._identities(none))
    older = next((folder for folder in folders if (folder / "run.json").exists()), None)
    return f"an older result, runs/{older.name}, was trained without any image of {kept_by}" if older else ""

  def _folder(self, identity: Mapping[str, Any]) -> epath.Path:
    return folder_of(self._root, identity)

  @property
  def _evaluated(self) -> dict[str, Any]:
    return {field: getattr(self._fields, field) for field in self._evaluating} | {"probe": self._probe}

  @functools.cached_property
  def _real(self) -> Any:
    return self._of_real(self._fields.real)

  @functools.cached_property
  def _probe(self) -> Any:
    return self._of_real(self._fields.probe)

  def _of_real(self, name: str) -> Any:
    if not name:
      return ""
    digest = open_real(self._config.real[name], self._study_labels).digest
    return self._config.real[name].to_dict() | {"digest": digest}

  def _origins(self, is_corrected: bool) -> list[str]:
    """Of what it begins with; of another learner, the domain that its test uses too: that is what is taken of it."""
    if not self._from:
      return [self._begun_folder]
    begun = self._from._identities(self._from._images, is_corrected)
    domain = {field: value for field, value in self._from._evaluated.items() if field == "test_norm"}
    return list(dict.fromkeys(records.digest(identity | domain) for identity in begun))

  @functools.cached_property
  def _begun_folder(self) -> str:
    folder = begin_folder(self._fields)
    return read.folder_digest(folder, (".",), ("model",)) if folder else ""


def begin_folder(fields: fields_of.Learning) -> Path | None:
  """Of weights that a learner begins with, where they are no other learner's."""
  path = named("folder", fields.init)
  return Path(path).expanduser() if path else None


def check_begin_folder(fields: fields_of.Learning) -> None:
  """Raises UserError where there is one that holds no weights."""
  if not (folder := begin_folder(fields)):
    return
  try:
    read.tensor_files(folder, "model")
  except UserError as e:
    if folder.exists():
      raise
    raise NotHere(str(e), fields.init, f"there is no {folder}", "weights") from None
