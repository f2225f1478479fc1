"""The prompts of one class as they come together, and what is dropped of what a model wrote, by reason."""

from __future__ import annotations

import collections
import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import Any

from synthjax.disk import checksums
from synthjax.spec.fields import Prompts
from synthjax.store.prompt import Prompt

_WORD = re.compile(r"\w+")
_SHAPE = {"class_id": str, "texts": [{"text": str, "parts": dict}], "dropped": dict, "meanings": [str]}
UNNAMED, REPEATED, NEAR, LONG, BANNED = (
  "class not named",
  "repeated",
  "near repeat",
  "too long",
  "banned word",
)
USELESS = "answer of no use"
CHECKS = ("names_class", "overlap", "fits", "banned")  # fields that decide what is dropped

Lengths = Callable[[Sequence[str]], Sequence[bool]]  # which of some texts are too long for the generator


@dataclasses.dataclass(frozen=True)
class OneClass:
  """A class as strategies write of it."""

  id: str
  name: str
  description: str = ""  # which thing of that name is meant

  @property
  def described(self) -> str:
    return f"{self.name} ({self.description})" if self.description else self.name


@dataclasses.dataclass(frozen=True)
class Text:
  text: str
  parts: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class ClassPrompts:
  class_id: str
  texts: list[Text] = dataclasses.field(default_factory=list)
  dropped: dict[str, int] = dataclasses.field(default_factory=dict)  # by reason
  meanings: list[str] = dataclasses.field(default_factory=list)  # of the name

  def to_json(self) -> dict[str, Any]:
    return dataclasses.asdict(self)

  @classmethod
  def from_json(cls, body: object) -> ClassPrompts:
    found = checksums.shaped(body, _SHAPE)
    return cls(found["class_id"], [Text(**t) for t in found["texts"]], found["dropped"], found["meanings"])

  def prompts(self, origin: str) -> list[Prompt]:
    return [Prompt(self.class_id, t.text, parts=t.parts, origin=origin) for t in self.texts]


class Checks:
  """Takes the texts of a class one by one, keeps those of use until there are enough, and counts the others by reason."""

  def __init__(self, fields: Prompts, one: OneClass, too_long: Lengths):
    self._fields, self._one, self._too_long = fields, one, too_long
    self._banned = [w.strip().casefold() for w in fields.banned.split(",") if w.strip()]
    self._name = words_of(one.name)
    self._words: list[frozenset[str]] = []
    self._seen: set[str] = set()
    self._kept: list[Text] = []
    self._dropped: collections.Counter[str] = collections.Counter()

  @property
  def missing(self) -> int:
    return max(self._fields.per_class - len(self._kept), 0)

  def drop(self, reason: str, n: int = 1) -> None:
    self._dropped[reason] += n

  def take(self, texts: Sequence[Text]) -> None:
    for text, is_long in zip(texts, self._too_long([t.text for t in texts]), strict=True):
      if self.missing:
        why = LONG if is_long else self._why(text.text)
        if why:
          self.drop(why)
        else:
          self._kept.append(text)

  def _why(self, text: str) -> str:
    """Why a text is dropped; "" keeps it, and what comes after is held against it."""
    folded = " ".join(text.casefold().split())
    words = words_of(text)
    if folded in self._seen:
      return REPEATED
    if any(_has(words, words_of(banned)) for banned in self._banned):
      return BANNED
    if self._fields.names_class and not _has(words, self._name):
      return UNNAMED
    own = frozenset(words)
    if self._fields.overlap < 1 and any(_overlap(own, w) > self._fields.overlap for w in self._words):
      return NEAR
    self._seen.add(folded)
    self._words.append(own)
    return ""

  def result(self) -> ClassPrompts:
    return ClassPrompts(self._one.id, self._kept, dict(self._dropped))


def words_of(text: str) -> list[str]:
  return _WORD.findall(text.casefold())


def _has(words: Sequence[str], wanted: Sequence[str]) -> bool:
  """Whether the wanted words stand in a row; the last one may be in the plural."""
  n = len(wanted)
  if not n:
    return True
  for i in range(len(words) - n + 1):
    last = words[i + n - 1]
    if words[i : i + n - 1] == list(wanted[:-1]) and last in (
      wanted[-1],
      f"{wanted[-1]}s",
      f"{wanted[-1]}es",
    ):
      return True
  return False


def _overlap(a: frozenset[str], b: frozenset[str]) -> float:
  """Jaccard's index of two texts' words."""
  common = len(a & b)
  return common / (len(a) + len(b) - common) if a or b else 1.0
