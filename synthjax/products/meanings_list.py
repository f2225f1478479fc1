"""Stage prompts: LAR (Yu et al.). A language model lists the meanings of each class name, and the one that is most like the
class's real images is what the class is: m* = argmax_m mean_x cos(E_img(x), E_txt(m)).

Without real images it is the class's gloss where the label space has one, else the first meaning. Every meaning with its score
is in `meanings.jsonl`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np

from synthjax.disk import checksums
from synthjax.encoders.encoder import Encoder
from synthjax.labels import wordnet
from synthjax.products.asked_list import AskedList
from synthjax.products.base import Study
from synthjax.products.features import RealEmbeddings
from synthjax.prompts import by_model
from synthjax.prompts.class_prompts import ClassPrompts, Text
from synthjax.prompts.meanings import ClassMeanings, choose, mean_features
from synthjax.prompts.sentences import fill, without_article
from synthjax.runtime.errors import UserError
from synthjax.spec.study import StudySpec
from synthjax.store import records
from synthjax.weights import hub


class MeaningsList(AskedList):
  _encoder: Encoder | None = None
  _real: RealEmbeddings | None = None

  @classmethod
  def describes(cls, spec: StudySpec, *key: str) -> bool:
    return by_model.asks(spec.prompts[key[0]]) and spec.prompts[key[0]].strategy == "LAR"

  @classmethod
  def declare(cls, study: Study, *key: str) -> Self:
    found = super().declare(study, *key)
    fields = study.spec.prompts[key[0]]
    if fields.real:
      found._encoder = study.encoder(fields.encoder)
      found._real = study.get(RealEmbeddings, fields.real, fields.encoder)
      found.inputs = (*found.inputs, found._real)
    return found

  def check(self) -> None:
    if self._fields.real and self._fields.labels:
      raise UserError(
        f"{self._where}: real images of config.real have the study's classes, and this list has those of {self._fields.labels}; "
        "leave real or labels empty"
      )
    super().check()

  def to_fetch(self) -> Iterable[hub.ToFetch]:
    return [*super().to_fetch(), *(self._encoder.to_fetch() if self._encoder else ())]

  def _also(self) -> dict[str, Any]:
    if not (self._encoder and self._real):
      return super()._also()
    return super()._also() | {"real": self._real.source.digest, **self._encoder.identity}

  @property
  def _least(self) -> int:
    return 1

  def _chosen(self, written: list[ClassPrompts]) -> list[ClassPrompts]:
    names = dict(zip(self.labels.ids, self.labels.names, strict=True))
    glosses = {i: wordnet.gloss(self.labels, i) for i in self.labels.ids}
    described = [
      choose(one, glosses[one.class_id], scores)
      for one, scores in zip(written, self._scores(written), strict=True)
    ]
    checksums.replace(self.folder / "meanings.jsonl", records.to_lines(one.to_json() for one in described))
    found = []
    for one, own in zip(written, described, strict=True):
      text = self._text(names[one.class_id], own.chosen)
      texts = [Text(text, {"description": own.chosen, "chosen_by": own.chosen_by})] if own.chosen else []
      found.append(ClassPrompts(one.class_id, texts, one.dropped, one.meanings))
    return found

  def _text(self, name: str, meaning: str) -> str:
    return fill(self._template, f"{name}, {meaning}")

  def _scores(self, written: Sequence[ClassPrompts]) -> list[list[float] | None]:
    """Of each class's meanings, by its real images; None of a class that has none."""
    if not (self._encoder and self._real):
      return [None] * len(written)
    found = self._real.load()
    of_class = mean_features(found.features, found.labels, len(self.labels))
    # The meaning alone, as in the paper's formula: with a name that says enough, any meaning would do.
    alone = without_article(self._template)
    texts = [fill(alone, meaning) for one in written for meaning in one.meanings]
    features = self._encoder.embed_texts(texts) if texts else np.zeros((0, found.features.shape[1]))
    scores, start = [], 0
    for k, one in enumerate(written):
      own = features[start : start + len(one.meanings)]
      start += len(one.meanings)
      mean = of_class[k]
      scores.append(None if mean is None else (own @ mean).tolist())
    return scores

  def _meanings(self) -> Sequence[ClassMeanings]:
    file = self.folder / "meanings.jsonl"
    data = checksums.read(file, self.name)
    with checksums.parsing(file, self.name):
      return [ClassMeanings.from_line(line) for line in data.decode().splitlines()]
