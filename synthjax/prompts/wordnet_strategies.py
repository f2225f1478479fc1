"""Strategies gloss and hypernyms: a class's name with its WordNet definition, or with what it is a kind of.

Two of the prompt configurations of Fan et al. How they join name and text is (open): here by a comma, in the name's place.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from synthjax.labels import wordnet
from synthjax.labels.spaces import LabelSpace
from synthjax.prompts.sentences import fill
from synthjax.prompts.strategy import Written
from synthjax.runtime.errors import UserError
from synthjax.spec.fields import Prompts
from synthjax.store.prompt import Prompt


class Gloss:
  """`a photo of a crane, large long-necked wading bird of marshes and plains in many parts of the world`."""

  uses: tuple[str, ...] = ()

  def check(self, fields: Prompts, labels: LabelSpace, where: str) -> None:
    for class_id, name in zip(labels.ids, labels.names, strict=True):
      if not self._text(fields, labels, class_id):
        raise UserError(
          f"{where}: strategy {fields.strategy}: no WordNet {self._what} of class {class_id!r} ({name}); give "
          f"`wordnet: {{{class_id}: {{gloss: TEXT, hypernyms: [TEXT, ...]}}}}` in the labels file, or the id of a synset that ships"
        )

  def identity(self, fields: Prompts, labels: LabelSpace) -> dict[str, Any]:
    texts = [self._text(fields, labels, class_id) for class_id in labels.ids]
    digest = hashlib.sha256(json.dumps(texts).encode()).hexdigest()
    return {"template": fields.template or labels.template, "wordnet_sha256": digest}

  def write(self, fields: Prompts, labels: LabelSpace) -> Written:
    template, prompts = fields.template or labels.template, []
    for class_id, name in zip(labels.ids, labels.names, strict=True):
      text = self._text(fields, labels, class_id)
      prompt = fill(template, f"{name}, {text}")
      parts = {"description": text}
      prompts.append(Prompt(class_id, prompt, parts=parts, origin=f"{fields.strategy}: WordNet, {template}"))
    return Written(prompts, [])

  _what = "definition"

  def _text(self, fields: Prompts, labels: LabelSpace, class_id: str) -> str:
    del fields
    return wordnet.gloss(labels, class_id)


class Hypernyms(Gloss):
  """`a photo of a crane, wading bird, aquatic bird, bird`, the nearest ones first."""

  uses = ("hypernyms",)
  _what = "hypernyms"

  def _text(self, fields: Prompts, labels: LabelSpace, class_id: str) -> str:
    return ", ".join(wordnet.hypernyms(labels, class_id)[: fields.hypernyms or None])
