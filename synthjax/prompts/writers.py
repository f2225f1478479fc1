"""Writers put a class name into sentences. A strategy asks one; language models will be further ones.

A writer is a function `(class id, class name, draws, seed) -> sentences`, which may repeat themselves:
the strategy drops repeats, as He et al. do with their word-to-sentence T5.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence


@dataclasses.dataclass(frozen=True)
class Sentence:
  text: str
  parts: dict[str, str]


Writer = Callable[[str, str, int, int], list[Sentence]]

# The glyph world: how digits and letters can look. "" leaves the part out.
_GRAMMAR = {
  "style": ("printed", "handwritten", "typed", "painted", "scanned", "stamped", "engraved"),
  "weight": ("", "thin", "bold", "light", "heavy"),
  "slant": ("", "upright", "slanted to the left", "slanted to the right"),
  "ink": ("black", "blue", "red", "green", "brown", "white", "grey"),
  "ground": ("white paper", "grey paper", "yellow paper", "a dark board", "a blue wall", "a brown envelope"),
  "view": ("", "seen from close", "seen from afar", "in a small picture", "in a blurred picture"),
}


def _pick(options: Sequence[str], *key: object) -> str:
  """The same choice on every machine and every version of Python, which `random` does not promise."""
  word = hashlib.sha256("|".join(map(str, key)).encode()).digest()[:8]
  return options[int.from_bytes(word, "big") % len(options)]


def grammar(class_id: str, name: str, draws: int, seed: int) -> list[Sentence]:
  """Seeded sentences like `handwritten bold digit 3, slanted to the left, in blue on grey paper`."""
  sentences = []
  for draw in range(draws):
    parts = {slot: _pick(options, seed, class_id, draw, slot) for slot, options in _GRAMMAR.items()}
    head = " ".join(word for word in (parts["style"], parts["weight"], name) if word)
    tail = [parts["slant"], f"in {parts['ink']} on {parts['ground']}", parts["view"]]
    sentences.append(Sentence(", ".join([head, *filter(None, tail)]), parts))
  return sentences


WRITERS: dict[str, Writer] = {"grammar": grammar}
