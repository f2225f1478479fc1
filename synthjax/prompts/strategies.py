"""Strategies turn a label space into prompts: B, templates, LE, file here, gloss and hypernyms in wordnet_strategies.py.

B and LE are those of He et al.: `a photo of a {class}`, and `a photo of a {sentence}` with sentences that a
writer made of the class name, exact repeats dropped.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from synthjax.labels.spaces import LabelSpace, check_template
from synthjax.prompts import by_model, writers
from synthjax.prompts.by_model import OwnProduct
from synthjax.prompts.captions import Captions
from synthjax.prompts.from_file import FromFile
from synthjax.prompts.sentences import fill, without_article
from synthjax.prompts.strategy import Strategy, Written
from synthjax.prompts.wordnet_strategies import Gloss, Hypernyms
from synthjax.runtime.errors import UserError
from synthjax.runtime.registry import Registry
from synthjax.spec.fields import Prompts
from synthjax.store.prompt import Prompt

_TYPES = {"class_id": str, "text": str, "repeat": int, "parts": dict, "origin": str}


def check(fields: Prompts, labels: LabelSpace, where: str = "config.prompts") -> None:
  strategy = STRATEGIES.find(fields.strategy, where)
  if fields.template:
    check_template(fields.template, where)
  strategy.check(fields, labels, where)


def identity(fields: Prompts, labels: LabelSpace) -> dict[str, Any]:
  """Of a list."""
  strategy = STRATEGIES[fields.strategy]
  given = fields.identity() | {"writer": writers.name_of(fields, labels)}
  found = {k: given[k] for k in ("strategy", *strategy.uses) if k in given}
  found |= {"class_ids": labels.ids, "class_names": labels.names}
  return found | strategy.identity(fields, labels) | STRATEGIES.identity(fields.strategy)


def write(fields: Prompts, labels: LabelSpace) -> Written:
  """The prompt list of one strategy; every class of the label space has at least one prompt."""
  check(fields, labels)
  written = STRATEGIES[fields.strategy].write(fields, labels)
  have = {p.class_id for p in written.prompts}
  without = [c for c in labels.ids if c not in have]
  if without:
    raise UserError(
      f"{len(without)} classes have no prompt ({some(without)}); add prompts for them, or take them out of the labels"
    )
  return written


class Basic:
  """B: the template with each class's name."""

  uses: tuple[str, ...] = ()

  def check(self, fields: Prompts, labels: LabelSpace, where: str) -> None:
    return

  def identity(self, fields: Prompts, labels: LabelSpace) -> dict[str, Any]:
    return {"template": fields.template or labels.template}

  def write(self, fields: Prompts, labels: LabelSpace) -> Written:
    template = fields.template or labels.template
    named = zip(labels.ids, labels.names, strict=True)
    return Written([Prompt(c, fill(template, name), origin=f"B: {template}") for c, name in named], [])


class Templates:
  """Every template of the label space with each class's name."""

  uses: tuple[str, ...] = ()

  def check(self, fields: Prompts, labels: LabelSpace, where: str) -> None:
    if not labels.templates:
      raise UserError(
        f"{where}: strategy templates: the label space has none; give `templates:` in the labels file, or use strategy B"
      )

  def identity(self, fields: Prompts, labels: LabelSpace) -> dict[str, Any]:
    return {"templates": labels.templates}

  def write(self, fields: Prompts, labels: LabelSpace) -> Written:
    named = list(zip(labels.ids, labels.names, strict=True))
    return Written(
      [Prompt(c, fill(t, name), origin=f"template: {t}") for c, name in named for t in labels.templates], []
    )


class LanguageEnhancement:
  """LE: the template with sentences that a writer makes of each class's name, exact repeats dropped."""

  uses: tuple[str, ...] = ("writer", "draws", "per_class", "seed")

  def check(self, fields: Prompts, labels: LabelSpace, where: str) -> None:
    if by_model.asks(fields):
      by_model.check(fields, labels, where)
      return
    writer = writers.name_of(fields, labels)
    written = writers.find(writer, where)
    if not (name := writers.foreign_to(writer, labels.names)):
      return
    example = " ".join(written("", name, 1, fields.seed)[0].text.split())[:100]
    others = "'templates'" if labels.templates else "'B', 'templates' with `templates:` in the labels file,"
    raise UserError(
      f"{where}: writer {writer!r} knows digits and letters alone, and writes of {name!r} "
      f"\"a photo of a {example}\"; use writer 'words', or strategy {others} or 'file' with sentences of your own"
    )

  def identity(self, fields: Prompts, labels: LabelSpace) -> dict[str, Any]:
    writer = writers.name_of(fields, labels)
    kind = {"kind": labels.kind} if writers.writes_of_kind(writer) else {}
    return {"template": fields.template or labels.template} | kind | writers.identity(writer)

  def write(self, fields: Prompts, labels: LabelSpace) -> Written:
    name_of_writer = writers.name_of(fields, labels)
    writer = writers.bound(writers.find(name_of_writer, "writer"), labels)
    template = fields.template or labels.template
    joined = without_article(template) if writers.writes_articles(name_of_writer) else template
    prompts, short = [], {}
    for class_id, name in zip(labels.ids, labels.names, strict=True):
      drawn = writer(class_id, name, fields.draws, fields.seed)
      distinct = list({s.text: s for s in drawn}.values())[: fields.per_class]
      if len(distinct) < fields.per_class:
        short[class_id] = len(distinct)
      origin = f"LE: {writers.title(name_of_writer)}, {joined}"
      prompts += [Prompt(class_id, fill(joined, s.text), parts=s.parts, origin=origin) for s in distinct]
    notes = []
    if short:
      fewest = min(short, key=short.__getitem__)
      notes.append(
        f"writer {name_of_writer} gave fewer than {fields.per_class} distinct sentences for {len(short)} classes "
        f"(fewest: {short[fewest]} for {fewest!r}); what it gave is used over again"
      )
    return Written(prompts, notes)


def some(items: Iterable[str], n: int = 5) -> str:
  items = list(items)
  return ", ".join(map(repr, items[:n])) + (", ..." if len(items) > n else "")


STRATEGIES: Registry[Strategy] = Registry(
  "prompt strategy",
  {
    "B": Basic(),
    "templates": Templates(),
    "LE": LanguageEnhancement(),
    "file": FromFile(),
    "captions": Captions(),
    "gloss": Gloss(),
    "hypernyms": Hypernyms(),
    "LAR": OwnProduct(),
    "CD": OwnProduct(),
    "SD": OwnProduct(),
    "mix": OwnProduct(),
  },
)


def read_list(text: str) -> list[Prompt]:
  """The prompts of a prompts.jsonl of ours."""
  bodies = (json.loads(line) for line in text.split("\n") if line)
  prompts = [Prompt(**{k: v for k, v in body.items() if k != "id"}) for body in bodies]
  if not all(isinstance(getattr(p, name), kind) for p in prompts for name, kind in _TYPES.items()):
    raise ValueError("a field of a prompt is of another type")
  return prompts
