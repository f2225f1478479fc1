"""Which images a set holds, in which order, from which noise, in which shard: before any is drawn.

The order is round by round: sample i of every class before sample i + 1 of any, and sample i uses prompt
i mod P. So "the first n a class" is a prefix. A set grows by segments; a segment begins a new shard, and
nothing about the images of earlier segments changes.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections import Counter
from collections.abc import Sequence

import numpy as np

from synthjax.store.prompt import Prompt


def stable_hash(*parts: object) -> str:
  """128 bits in hex. JSON keeps ("a", "bc") and ("ab", "c") apart."""
  return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()[:32]


def noise_id_of(class_id: str, text: str, use: int, parent_id: str, seed: int) -> str:
  """Sets that differ in guidance alone share their noise, which is what a comparison wants."""
  return stable_hash("noise", class_id, text, use, parent_id, seed)


def key_words(noise_id: str) -> np.ndarray:
  """The two 32-bit words of an image's random key. `jax.random.key(n)` would cut n to 32 bits."""
  return np.array([int(noise_id[:8], 16), int(noise_id[8:16], 16)], np.uint32)


@dataclasses.dataclass(frozen=True)
class Segment:
  """One growth of a set: so many further images of each class, in the label space's order."""

  counts: tuple[int, ...]
  round: int = 0  # 0: asked for by images_per_class; later ones: top-ups for some classes
  asked_by: str = ""  # of a top-up: filter, encoder and quota

  def to_json(self) -> dict:
    return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class Image:
  """One image to draw, and all that its record will say."""

  image_id: str
  noise_id: str
  label: int
  prompt: str
  prompt_id: str
  sample_index: int  # i: index within its class
  guidance: float
  round: int = 0
  parent_id: str = ""  # the real image it started from; "" = none
  strength: float = 1.0  # how much of the parent was noised away; 1 = all


@dataclasses.dataclass(frozen=True)
class Shard:
  index: int
  segment: int
  start: int  # within the segment's order
  stop: int

  def __len__(self) -> int:
    return self.stop - self.start


class Plan:
  """All images of a set, by shard. `drawing` is the hash of whatever decides a pixel beside the noise.

  With `parents`, ids of real images by class, sample i of a class begins as parent i mod their number.
  """

  def __init__(
    self,
    class_ids: Sequence[str],
    prompts: Sequence[Prompt],
    segments: Sequence[Segment],
    *,
    images_per_shard: int,
    drawing: str,
    guidance: float,
    seed: int,
    parents: Sequence[Sequence[str]] = (),
    strength: float = 1.0,
  ):
    self._class_ids = tuple(class_ids)
    by_class: dict[str, list[Prompt]] = {c: [] for c in class_ids}
    for prompt in prompts:
      by_class[prompt.class_id] += [prompt] * prompt.repeat
    self._lists = [by_class[c] for c in class_ids]
    self._uses = [_uses(prompts) for prompts in self._lists]
    self._drawing, self._guidance, self._seed = drawing, guidance, seed
    self._parents, self._strength = parents, strength
    self.segments = tuple(segments)
    self.shards: list[Shard] = []
    for s, segment in enumerate(self.segments):
      total = sum(segment.counts)
      for start in range(0, total, images_per_shard):
        stop = min(start + images_per_shard, total)
        self.shards.append(Shard(len(self.shards), s, start, stop))

  def __len__(self) -> int:
    return self.size(len(self.shards))

  def size(self, n_shards: int) -> int:
    """Images in the first so many shards."""
    return sum(map(len, self.shards[:n_shards]))

  def needed(self, target: int) -> int:
    """How many shards, from the first on, hold the first `target` images of every class, and every top-up."""
    for shard in reversed(self.shards):
      samples, _ = self._order(shard.segment)
      if self.segments[shard.segment].round or samples[shard.start] < target:
        return shard.index + 1
    return 0

  def counts(self, n_shards: int) -> list[int]:
    """Images of each class in the first so many shards."""
    counts = np.zeros(len(self._class_ids), int)
    for shard in self.shards[:n_shards]:
      _, labels = self._order(shard.segment)
      counts += np.bincount(labels[shard.start : shard.stop], minlength=len(counts))
    return counts.tolist()

  def asked_by(self) -> np.ndarray:
    """Who asked for each image of the set, in plan order."""
    return np.repeat([s.asked_by for s in self.segments], [sum(s.counts) for s in self.segments])

  def labels(self) -> np.ndarray:
    """Of each image of the set, in plan order."""
    return np.concatenate([self._order(s)[1] for s in range(len(self.segments))])

  def images(self, shard: Shard) -> list[Image]:
    samples, labels = self._order(shard.segment)
    rows = zip(samples[shard.start : shard.stop], labels[shard.start : shard.stop], strict=True)
    return [self._image(int(i), int(c), self.segments[shard.segment].round) for i, c in rows]

  def image_id(self, shard: Shard, place: int) -> str:
    """Of one image of it: a plan of millions is asked for few."""
    samples, labels = self._order(shard.segment)
    at = shard.start + place
    return self._image(int(samples[at]), int(labels[at]), self.segments[shard.segment].round).image_id

  @functools.lru_cache(maxsize=2)  # noqa: B019  a plan lives as long as its stage
  def _order(self, segment: int) -> tuple[np.ndarray, np.ndarray]:
    """(sample index, label) of each image of a segment, sample-major."""
    counts = np.array(self.segments[segment].counts)
    before = np.sum([s.counts for s in self.segments[:segment]], axis=0, initial=0) + np.zeros_like(counts)
    labels = np.repeat(np.arange(len(counts)), counts)
    samples = np.concatenate([np.arange(b, b + n) for b, n in zip(before, counts, strict=True)])
    order = np.lexsort((labels, samples))
    return samples[order], labels[order]

  def _image(self, i: int, label: int, round_: int) -> Image:
    prompts = self._lists[label]
    cycle, place = divmod(i, len(prompts))
    prompt = prompts[place]
    earlier, in_list = self._uses[label][place]
    parents = self._parents[label] if self._parents else ("",)
    parent = parents[i % len(parents)]
    noise_id = noise_id_of(self._class_ids[label], prompt.text, cycle * in_list + earlier, parent, self._seed)
    return Image(
      image_id=stable_hash("image", self._drawing, noise_id),
      noise_id=noise_id,
      label=label,
      prompt=prompt.text,
      prompt_id=prompt.id,
      sample_index=i,
      guidance=self._guidance,
      round=round_,
      parent_id=parent,
      strength=self._strength,
    )


def _uses(prompts: Sequence[Prompt]) -> list[tuple[int, int]]:
  """For each place of a class's list: how often its text stood before it, and how often it stands in all."""
  total, so_far, found = Counter(p.text for p in prompts), Counter(), []
  for prompt in prompts:
    found.append((so_far[prompt.text], total[prompt.text]))
    so_far[prompt.text] += 1
  return found
