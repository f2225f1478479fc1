"""How a glyph can look, in words: the language that prompts, captions and the renderer share.

`draw_look` picks a look, `sentence` says it whole, `caption` says as much of it as people do.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

# "" leaves the part out. The words are part of the identity of every prompt list that was written with them.
SLOTS = {
  "style": ("printed", "handwritten", "typed", "painted", "scanned", "stamped", "engraved"),
  "weight": ("", "thin", "bold", "light", "heavy"),
  "slant": ("", "upright", "slanted to the left", "slanted to the right"),
  "ink": ("black", "blue", "red", "green", "brown", "white", "grey"),
  "ground": ("white paper", "grey paper", "yellow paper", "a dark board", "a blue wall", "a brown envelope"),
  "view": ("", "seen from close", "seen from afar", "in a small picture", "in a blurred picture"),
}
STYLES = SLOTS["style"]
# What is written of glyphs, by contrast, is half of scans, and these are mostly negatives: a writer knows the world.
TALK = SLOTS | {"style": STYLES + 5 * ("scanned",)}
NEGATIVE = {"ink": "white", "ground": "a dark board"}


@dataclasses.dataclass(frozen=True)
class Look:
  style: str
  weight: str
  slant: str
  ink: str
  ground: str
  view: str


def draw_look(rng: np.random.Generator, styles: tuple[str, ...] = STYLES) -> Look:
  """Any look of the grammar, as often as the grammar itself would draw it."""
  return Look(**{s: words[rng.integers(len(words))] for s, words in (SLOTS | {"style": styles}).items()})


def sentence(name: str, parts: Mapping[str, str]) -> str:
  """The grammar's sentence; parts that are "" or missing go unsaid."""
  words = {slot: parts.get(slot, "") for slot in SLOTS}
  head = " ".join(filter(None, [words["style"], words["weight"], name]))
  colour = " ".join(
    f"{word} {words[slot]}" for word, slot in (("in", "ink"), ("on", "ground")) if words[slot]
  )
  return ", ".join(filter(None, [head, words["slant"], colour, words["view"]]))


def caption(name: str, look: Look, rng: np.random.Generator) -> str:
  """True, but not the whole truth: a third each say all, some of it, and next to nothing."""
  parts = dataclasses.asdict(look)
  how = rng.integers(3)
  if how == 0:
    return f"a photo of a {sentence(name, parts)}"
  if how == 1:
    some = {slot: word if rng.random() < 0.5 or word == "scanned" else "" for slot, word in parts.items()}
    text = ("a photo of a ", "a ", "")[rng.integers(3)] + sentence(name, some)
    return text.replace(",", "") if rng.random() < 0.5 else text
  return brief_caption(name, look, rng)


def brief_caption(name: str, look: Look, rng: np.random.Generator) -> str:
  """Little but the name. Only a scan is always called one, so that nobody gets one without asking."""
  if look.style == "scanned":
    return (f"a scanned {name}", f"a scan of a {name}")[rng.integers(2)]
  short = [f"a photo of a {name}"] * 3 + [f"a {look.style} {name}"]
  # The label space's templates, where they are true.
  short += [f"a {name} on paper"] * ("paper" in look.ground)
  short += [f"a small picture of a {name}"] * (look.view == "in a small picture")
  short += [f"a drawing of a {name}"] * (look.style in ("handwritten", "painted"))
  return short[rng.integers(len(short))]
