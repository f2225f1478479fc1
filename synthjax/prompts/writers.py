"""Writers put a class name into sentences. A strategy asks one; language models will be further ones.

A writer is a function `(class id, class name, draws, seed) -> sentences`, which may repeat themselves:
the strategy drops repeats, as He et al. do with their word-to-sentence T5.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence

from synthjax.embedded import looks


@dataclasses.dataclass(frozen=True)
class Sentence:
  text: str
  parts: dict[str, str]


Writer = Callable[[str, str, int, int], list[Sentence]]


def _pick(options: Sequence[str], *key: object) -> str:
  """The same choice on every machine and every version of Python, which `random` does not promise."""
  word = hashlib.sha256("|".join(map(str, key)).encode()).digest()[:8]
  return options[int.from_bytes(word, "big") % len(options)]


def grammar(class_id: str, name: str, draws: int, seed: int) -> list[Sentence]:
  """The glyph world's writer: seeded sentences like `handwritten bold digit 3, slanted to the left, in blue on grey paper`."""
  sentences = []
  for draw in range(draws):
    parts = {slot: _pick(options, seed, class_id, draw, slot) for slot, options in looks.TALK.items()}
    if parts["style"] == "scanned" and _pick("yyyn", seed, class_id, draw, "negative") == "y":
      parts |= looks.NEGATIVE
    sentences.append(Sentence(looks.sentence(name, parts), parts))
  return sentences


WRITERS: dict[str, Writer] = {"grammar": grammar}
