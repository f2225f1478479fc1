"""Strategies whose lists a language model writes, as configs name them: what is refused, and what decides such a list."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from synthjax.labels.spaces import LabelSpace
from synthjax.prompts import language_models
from synthjax.prompts.asked import ASKED
from synthjax.prompts.sentences import without_article
from synthjax.runtime.errors import UserError
from synthjax.spec.fields import Prompts

_OF_ANSWERS = ("seed", "temperature", "top_p", "max_tokens", "reasks", "when_missing", "described_by")


def asks(fields: Prompts) -> bool:
  """Whether a language model writes the list: LE may also have a writer that is a function, captions lie in a file."""
  needs_none = fields.strategy in ("LE", "captions")
  return fields.strategy in ASKED and (not needs_none or bool(language_models.kind(fields.writer)))


def check(fields: Prompts, labels: LabelSpace, where: str) -> None:
  kind = language_models.kind(fields.writer)
  if kind == language_models.T5 and fields.strategy != "LE":
    raise UserError(
      f"{where}: a T5 writes sentences for strategy LE alone; for {fields.strategy} set writer to lm:... or server:..."
    )
  if not kind:
    raise UserError(
      f"{where}: strategy {fields.strategy} asks a language model; set writer to lm:REFERENCE, server:URL or recorded:LIST"
    )
  if fields.strategy == "captions" and kind == language_models.CHAT:
    raise UserError(f"{where}: a local language model takes no images; for captions set writer to server:...")
  if fields.strategy == "captions" and not fields.real:
    raise UserError(f"{where}: captions by a model are of real images; set real to one of config.real")
  if kind == language_models.SERVER and not fields.model:
    raise UserError(f"{where}: writer {fields.writer} needs the name of a model there; set model")
  if fields.draws < fields.per_class and fields.strategy == "LE":
    raise UserError(f"{where}: draws is {fields.draws}, fewer than per_class {fields.per_class}; raise draws")


def identity(fields: Prompts, labels: LabelSpace, model: Mapping[str, Any]) -> dict[str, Any]:
  """Of a list that this model writes; the URL of a server is not part of it, nor that answers are recorded ones."""
  own, given = (*ASKED[fields.strategy].uses, *_OF_ANSWERS), fields.identity()
  found = {name: given[name] for name in ("strategy", *own) if name in given}
  if "server" not in model and "top_k" in given:
    found["top_k"] = given["top_k"]
  found |= {"class_ids": labels.ids, "class_names": labels.names, "model": dict(model)}
  found |= {"template": template(fields, labels)}
  return found | language_models.MODELS.identity(language_models.kind(fields.writer))


def template(fields: Prompts, labels: LabelSpace) -> str:
  """Sentences have an article of their own: He et al.'s prompts are `a photo of {sentence}`."""
  given = fields.template or ("{}" if fields.strategy == "captions" else labels.template)
  return given if fields.template or fields.strategy != "LE" else without_article(given)


class OwnProduct:
  """In the table of strategies, for those whose lists are a kind of product of their own."""

  uses: tuple[str, ...] = ()

  def check(self, fields: Prompts, labels: LabelSpace, where: str) -> None:
    if fields.strategy in ASKED:
      check(fields, labels, where)

  def identity(self, fields: Prompts, labels: LabelSpace) -> NoReturn:
    raise NotImplementedError(fields.strategy)

  def write(self, fields: Prompts, labels: LabelSpace) -> NoReturn:
    raise NotImplementedError(fields.strategy)
