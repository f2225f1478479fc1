"""Stage prompts: captions of real images that a server writes, with the class's name before them (Fan et al.'s IN-Captions)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Self

import numpy as np

from synthjax.data.decoding import Unreadable
from synthjax.data.source import Source
from synthjax.products.asked_list import AskedList
from synthjax.products.base import Study
from synthjax.prompts import asked, by_model
from synthjax.prompts.asking import Ask
from synthjax.prompts.class_prompts import ClassPrompts, OneClass
from synthjax.runtime.errors import UserError
from synthjax.spec.study import StudySpec


class CaptionedList(AskedList):
  _opened: Callable[[], Source]

  @classmethod
  def describes(cls, spec: StudySpec, *key: str) -> bool:
    return by_model.asks(spec.prompts[key[0]]) and spec.prompts[key[0]].strategy == "captions"

  @classmethod
  def declare(cls, study: Study, *key: str) -> Self:
    found = super().declare(study, *key)
    found._opened = functools.partial(study.source, study.spec.prompts[key[0]].real)
    return found

  def check(self) -> None:
    if self._fields.labels:
      raise UserError(f"{self._where}: real images have the study's classes; leave labels empty")
    super().check()

  @property
  def _source(self) -> Source:
    return self._opened()

  def _also(self) -> dict[str, Any]:
    return super()._also() | {"images": self._source.digest}

  @functools.cached_property
  def _images(self) -> dict[str, list[int]]:
    """Of each class, the places of its first images, as many as prompts are kept."""
    labels = np.asarray(self._source.labels)
    return {
      i: np.flatnonzero(labels == k)[: self._fields.per_class].tolist() for k, i in enumerate(self.labels.ids)
    }

  def _requests(self) -> float:
    return sum(map(len, self._images.values()))

  def _ask(self, one: OneClass, common: list[str]) -> Ask[ClassPrompts]:
    del common
    return asked.captions(self._fields, one, self._template, self._pictures(one), self._lengths)

  def _pictures(self, one: OneClass) -> list[bytes]:
    found = []
    for i in self._images[one.id]:
      try:
        found.append(self._source.encoded(i))
      except Unreadable as e:
        raise UserError(f"{self.name}: {e}; remove the image, or fetch it again") from None
    return found
