"""One list out of several: a share of each class's prompts from the last, the rest from the others in turn."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Iterator, Sequence

from synthjax.store.prompt import Prompt


def mix(
  lists: Sequence[Sequence[Prompt]], share: float, per_class: int, class_ids: Sequence[str]
) -> list[Prompt]:
  """Spread evenly, so that the first prompts of a class, which a small set uses alone, hold the same share. A list that has too
  few is used up, and the others fill its places."""
  by_class: list[dict[str, list[Prompt]]] = [collections.defaultdict(list) for _ in lists]
  for own, prompts in zip(by_class, lists, strict=True):
    for prompt in prompts:
      own[prompt.class_id].append(prompt)
  found = []
  for class_id in class_ids:
    found += itertools.islice(_spread([own[class_id] for own in by_class], share), per_class)
  return found


def _spread(lists: Sequence[Sequence[Prompt]], share: float) -> Iterator[Prompt]:
  *others, last = (collections.deque(prompts) for prompts in lists)
  turn, taken, seen = itertools.cycle(range(len(others))), 0, set[str]()
  for n in itertools.count(1):
    # The nearest whole number of the share at every length: round half up, the same on every machine.
    from_last = bool(last) and (taken + 1 <= share * n + 0.5 or not any(others))
    if from_last:
      source = last
      taken += 1
    elif any(others):
      source = next(others[i] for i in turn if others[i])
    else:
      return
    prompt = source.popleft()
    if prompt.text not in seen:
      seen.add(prompt.text)
      yield prompt
