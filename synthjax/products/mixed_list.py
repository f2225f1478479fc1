"""Stage prompts: a list that is made of others: Yu et al. take styles for a share of the prompts and contexts for the rest."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Self

from etils import epath

from synthjax.disk import checksums
from synthjax.labels.spaces import LabelSpace
from synthjax.products.base import DONE, MISSING, Status, Study
from synthjax.products.prompt_list import PromptList
from synthjax.prompts import mixing
from synthjax.runtime.stopping import Stop
from synthjax.spec.checks_prompts import mixed
from synthjax.spec.study import StudySpec
from synthjax.store import records


class MixedList(PromptList):
  def __init__(
    self, config: StudySpec, root: epath.Path, name: str, labels: LabelSpace, lists: Sequence[PromptList]
  ):
    super().__init__(config, root, name, labels)
    self.inputs = self._lists = tuple(lists)

  @classmethod
  def describes(cls, spec: StudySpec, *key: str) -> bool:
    return spec.prompts[key[0]].strategy == "mix"

  @classmethod
  def declare(cls, study: Study, *key: str) -> Self:
    (name,) = key
    fields = study.spec.prompts[name]
    lists = [study.get(PromptList, own) for own in mixed(fields)]
    return cls(study.spec, study.root, name, study.label_space(fields.labels), lists)

  @functools.cached_property
  def _wanted(self) -> records.Record:
    fields = self._fields
    names = [p.name for p in self._lists]
    identity = {"strategy": "mix", "lists": names, "share": fields.share, "per_class": fields.per_class}
    return records.Record(self.name, identity, inputs={p.name: p.content_hash() for p in self._lists})

  def _is_ready(self) -> bool:
    return all(needed.status().state == DONE for needed in self.inputs)

  def _status(self) -> Status:
    return super()._status() if self._is_ready() else Status(MISSING, unit="prompts")

  def make(self, stop: Stop) -> bool:
    del stop
    if not self._is_ready():
      return False
    if self.status().state == DONE:
      return True
    records.settle(self.folder, self._wanted)
    prompts = mixing.mix(
      [p.read() for p in self._lists], self._fields.share, self._fields.per_class, self.labels.ids
    )
    checksums.publish(self._file, "".join(p.to_line() + "\n" for p in prompts).encode())
    return True
