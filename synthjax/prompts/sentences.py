"""A sentence about a class, as writers make it, and how it goes into a template."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Sentence:
  text: str
  parts: dict[str, str]


def pick(options: Sequence[str], *key: object) -> str:
  """The same choice on every machine and every version of Python, which `random` does not promise."""
  word = hashlib.sha256("|".join(map(str, key)).encode()).digest()[:8]
  return options[int.from_bytes(word, "big") % len(options)]


_ARTICLE = re.compile(r"\b(?:an?|the) (?=\{\})", re.IGNORECASE)


def without_article(template: str) -> str:
  """`a photo of {}` of `a photo of a {}`: for sentences that have an article of their own where they need one, as He et al.
  join them."""
  return _ARTICLE.sub("", template)


def fill(template: str, text: str) -> str:
  return template.replace("{}", text)  # not str.format: a template is data
