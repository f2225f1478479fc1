"""Writers put a class name into sentences. A strategy asks one.

A writer is a function `(class id, class name, draws, seed) -> sentences`, which may repeat themselves: the strategy drops
repeats, as He et al. do with their word-to-sentence T5. One that has a further argument `labels` gets the label space too.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from synthjax.labels.spaces import LabelSpace, load
from synthjax.prompts import from_file
from synthjax.prompts.sentences import Sentence, pick
from synthjax.prompts.words import words
from synthjax.runtime.errors import UserError
from synthjax.runtime.registry import Registry
from synthjax.small_world import looks
from synthjax.spec.fields import Prompts

Writer = Callable[..., list[Sentence]]  # (class id, class name, draws, seed), and perhaps labels=
_GLYPHS = frozenset(name.casefold() for name in load("glyphs").names)  # digit 0 to letter Z
_WHOLE = frozenset({"words"})  # whose sentences have an article of their own where they need one

_WITHOUT = frozenset(
  {"gloss", "hypernyms", "captions", "mix", "LAR", "CD", "SD"}
)  # strategies that ask no writer of these


def grammar(class_id: str, name: str, draws: int, seed: int) -> list[Sentence]:
  """The glyph world's writer: seeded sentences like `handwritten bold digit 3, slanted to the left, in blue on grey paper`."""
  sentences = []
  for draw in range(draws):
    parts = {slot: pick(options, seed, class_id, draw, slot) for slot, options in looks.TALK.items()}
    if parts["style"] == "scanned" and pick("yyyn", seed, class_id, draw, "negative") == "y":
      parts |= looks.NEGATIVE
    sentences.append(Sentence(looks.sentence(name, parts), parts))
  return sentences


def foreign_to(writer: str, names: Sequence[str]) -> str:
  """The first of the names of which the writer can write nothing but nonsense; "" where there is none.

  Names decide, for nothing else of a class is said in a sentence: `like: digits`, or a space of the user's own with
  such names, is the grammar's; ids 0 to 9 alone are not, they may be of anything.
  """
  return next((n for n in names if n.casefold() not in _GLYPHS), "") if writer == "grammar" else ""


def name_of(fields: Prompts, labels: LabelSpace) -> str:
  """The writer of a list: its field, or the default of its strategy and its classes. B, templates and file ask none, and say
  `grammar`, as their pages always did."""
  if fields.writer or fields.strategy in _WITHOUT:
    return fields.writer
  return "words" if fields.strategy == "LE" and foreign_to("grammar", labels.names) else "grammar"


def takes_labels(writer: Writer) -> bool:
  return "labels" in inspect.signature(writer).parameters


def bound(writer: Writer, labels: LabelSpace) -> Writer:
  """The writer as a function of class id, class name, draws and seed."""
  return functools.partial(writer, labels=labels) if takes_labels(writer) else writer


def writes_of_kind(writer: str) -> bool:
  """Whether what it writes depends on more of the label space than ids and names."""
  return not writer.startswith(FILE) and takes_labels(WRITERS[writer])


def writes_articles(writer: str) -> bool:
  """Whether a template's own article before the sentence would be a second one."""
  return writer in _WHOLE or writer.startswith(FILE)


WRITERS: Registry[Writer] = Registry("writer", {"grammar": grammar, "words": words})
FILE = "file:"


def find(name: str, where: str) -> Writer:
  """Raises UserError where there is none of that name."""
  return _of_file(name.removeprefix(FILE), where) if name.startswith(FILE) else WRITERS.find(name, where)


def identity(name: str) -> dict[str, Any]:
  """What it adds to that of a list: of a file its contents, wherever it lies."""
  if not name.startswith(FILE):
    return WRITERS.identity(name)
  return {"writer": "file", "file_sha256": from_file.sha256(Path(name.removeprefix(FILE)).expanduser())}


def title(name: str) -> str:
  """As prompts name their origin."""
  return f"{FILE}{Path(name.removeprefix(FILE)).name}" if name.startswith(FILE) else name


def _of_file(path: str, where: str) -> Writer:
  """Sentences that somebody wrote already, such as He et al.'s published lists: of each class the first draws."""
  file = Path(path).expanduser()
  if not path or not file.is_file():
    raise UserError(
      f"{where}: writer {FILE}{path}: no such file; name one with lines of class id, tab, sentence, or a .jsonl"
    )
  by_class: dict[str, list[Sentence]] = {}

  def of_file(class_id: str, name: str, draws: int, seed: int, labels: LabelSpace) -> list[Sentence]:
    del name, seed
    if not by_class:
      for row in from_file.rows(file, labels.ids):
        by_class.setdefault(row.class_id, []).extend([Sentence(row.text.strip(), {})] * row.repeat)
    return by_class.get(class_id, [])[:draws]

  return of_file
