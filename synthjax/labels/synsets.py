"""WordNet 3.0's synsets of the published label spaces: what a class is, and what it is a kind of.

`synsets.json` has a line for each synset and each of its hypernyms: `"n02012849": [lemmas, gloss, parent]`, the gloss of those
alone that label spaces name. `python -m synthjax.labels.make_wordnet` writes it from WordNet's files.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from synthjax.runtime.errors import UserError

FILE = Path(__file__).parent / "synsets.json"


@dataclasses.dataclass(frozen=True)
class Synset:
  gloss: str  # the definition, without examples
  hypernyms: tuple[str, ...]  # names, from its parent to the root, `entity`


@functools.cache
def _lines() -> Mapping[str, tuple[list[str], str, str]]:
  return json.loads(FILE.read_text())


@functools.cache
def shipped(wnid: str) -> Synset | None:
  """By its WordNet id, n and eight digits; None: it does not ship."""
  known = _lines()
  if wnid not in known or not known[wnid][1]:
    return None
  _, gloss, above = known[wnid]
  names = []
  while above:
    lemmas, _, parent = known[above]
    names.append(lemmas[0])
    above = parent
  return Synset(gloss, tuple(names))


def parse(value: Any, where: str) -> Synset:
  """What a labels file says of one class: the id of a synset that ships, or a gloss and its hypernyms."""
  if isinstance(value, str):
    if found := shipped(value):
      return found
    raise UserError(f"{where}: synset {value!r} does not ship; give {{gloss: TEXT, hypernyms: [TEXT, ...]}}")
  if isinstance(value, dict) and set(value) <= {"gloss", "hypernyms"}:
    gloss, hypernyms = value.get("gloss"), value.get("hypernyms", [])
    are_texts = isinstance(hypernyms, list) and all(isinstance(h, str) and h.strip() for h in hypernyms)
    if isinstance(gloss, str) and gloss.strip() and are_texts:
      return Synset(gloss, tuple(hypernyms))
  raise UserError(
    f"{where} is a synset's id, like n02012849, or {{gloss: TEXT, hypernyms: [TEXT, ...]}}, not {str(value)[:60]!r}"
  )
