"""What a page says of a prompt list that a language model wrote."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Mapping, Sequence

from synthjax.pages.page import Meaning, Prompts
from synthjax.prompts.class_prompts import words_of
from synthjax.prompts.meanings import ClassMeanings
from synthjax.store.prompt import Prompt

_EXAMPLES = 10  # of a class


def described(
  name: str,
  written_by: str,
  prompts: Sequence[Prompt],
  dropped: Mapping[str, int],
  meanings: Sequence[ClassMeanings],
  spread: tuple[str, float] | None = None,
) -> Prompts:
  of_class: dict[str, list[str]] = collections.defaultdict(list)
  for prompt in prompts:
    of_class[prompt.class_id].append(prompt.text)
  fewest = min(of_class, key=lambda class_id: len(of_class[class_id]))
  return Prompts(
    name=name,
    written_by=written_by,
    prompts=len(prompts),
    fewest=(fewest, len(of_class[fewest])),
    distinct=(distinct([p.text for p in prompts], 1), distinct([p.text for p in prompts], 2)),
    spread=spread,
    dropped=tuple(sorted(dropped.items(), key=lambda one: -one[1])),
    examples=tuple((class_id, tuple(texts[:_EXAMPLES])) for class_id, texts in of_class.items()),
    meanings=tuple((one.class_id, one.chosen_by, _meanings(one)) for one in meanings),
  )


def distinct(texts: Sequence[str], n: int) -> float:
  """Distinct-n (Li et al. 2016): different n-grams of words, of all."""
  seen, count = set[tuple[str, ...]](), 0
  for text in texts:
    words = words_of(text)
    for gram in zip(*(itertools.islice(words, i, None) for i in range(n)), strict=False):
      seen.add(gram)
      count += 1
  return len(seen) / count if count else 0.0


def _meanings(one: ClassMeanings) -> tuple[Meaning, ...]:
  scores = one.scores or [None] * len(one.meanings)
  found = [Meaning(text, score, text == one.chosen) for text, score in zip(one.meanings, scores, strict=True)]
  if one.chosen not in one.meanings:
    found.append(Meaning(one.chosen, None, True))
  return tuple(found)
