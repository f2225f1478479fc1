"""Writers put a class name into sentences. A strategy asks one; language models will be further ones.

A writer is a function `(class id, class name, draws, seed) -> sentences`, which may repeat themselves:
the strategy drops repeats, as He et al. do with their word-to-sentence T5.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence

from synthjax.labels.spaces import load
from synthjax.runtime.registry import Registry
from synthjax.small_world import looks


@dataclasses.dataclass(frozen=True)
class Sentence:
  text: str
  parts: dict[str, str]


Writer = Callable[[str, str, int, int], list[Sentence]]


def _pick(options: Sequence[str], *key: object) -> str:
  """The same choice on every machine and every version of Python, which `random` does not promise."""
  word = hashlib.sha256("|".join(map(str, key)).encode()).digest()[:8]
  return options[int.from_bytes(word, "big") % len(options)]


_GLYPHS = frozenset(name.casefold() for name in load("glyphs").names)  # digit 0 to letter Z


def grammar(class_id: str, name: str, draws: int, seed: int) -> list[Sentence]:
  """The glyph world's writer: seeded sentences like `handwritten bold digit 3, slanted to the left, in blue on grey paper`."""
  sentences = []
  for draw in range(draws):
    parts = {slot: _pick(options, seed, class_id, draw, slot) for slot, options in looks.TALK.items()}
    if parts["style"] == "scanned" and _pick("yyyn", seed, class_id, draw, "negative") == "y":
      parts |= looks.NEGATIVE
    sentences.append(Sentence(looks.sentence(name, parts), parts))
  return sentences


def foreign_to(writer: str, names: Sequence[str]) -> str:
  """The first of the names of which the writer can write nothing but nonsense; "" where there is none.

  Names decide, for nothing else of a class is said in a sentence: `like: digits`, or a space of the user's own with
  such names, is the grammar's; ids 0 to 9 alone are not, they may be of anything.
  """
  return next((n for n in names if n.casefold() not in _GLYPHS), "") if writer == "grammar" else ""


WRITERS: Registry[Writer] = Registry("writer", {"grammar": grammar})
