"""How far the prompts of a class are from one another in a text encoder."""

from __future__ import annotations

import collections
from collections.abc import Callable, Sequence

import numpy as np

from synthjax.store.prompt import Prompt

MOST = 20  # prompts of a class that are compared: the first ones


def mean_distance(prompts: Sequence[Prompt], embed: Callable[[Sequence[str]], np.ndarray]) -> float:
  """1 - cosine, mean over all pairs of a class's prompts, then over classes that have two. `embed` gives normalised features."""
  of_class: dict[str, list[str]] = collections.defaultdict(list)
  for prompt in prompts:
    if len(of_class[prompt.class_id]) < MOST:
      of_class[prompt.class_id].append(prompt.text)
  texts = [text for own in of_class.values() for text in own]
  features = np.asarray(embed(texts), np.float64)
  distances, start = [], 0
  for own in of_class.values():
    n, total = len(own), features[start : start + len(own)].sum(axis=0)
    start += n
    if n > 1:  # the square of the sum holds each pair twice, and each text once with itself
      distances.append(1 - (total @ total - n) / (n * (n - 1)))
  return float(np.mean(distances)) if distances else 0.0
