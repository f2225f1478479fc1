"""Which images a set holds, in which order, from which noise, in which shard: before any is drawn.

The order is round by round: sample i of every class before sample i + 1 of any, and sample i uses prompt
i mod P. So "the first n a class" is a prefix. A set grows by segments; a segment begins a new shard, and
nothing about the images of earlier segments changes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Sequence

import numpy as np

from synthjax.store.image_ids import KnownIds, PackedIds
from synthjax.store.prompt import Prompt
from synthjax.store.sample_order import SampleOrder

_json = json.JSONEncoder(ensure_ascii=False).encode
_DIGITS = 32


def stable_hash(*parts: object) -> str:
  """128 bits in hex. JSON keeps ("a", "bc") and ("ab", "c") apart."""
  return hashlib.sha256(_json(parts).encode()).hexdigest()[:_DIGITS]


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

  It holds no object an image: 16 bytes once its id has been asked for. All who read a set share its plan.
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
    # Of classes whose ids were asked for: how the texts of noise ids begin, and `_uses`.
    self._begins: list[list[bytes]] = [[] for _ in class_ids]
    self._use_arrays: dict[int, np.ndarray] = {}
    self._drawing, self._guidance, self._seed = drawing, guidance, seed
    self._parents, self._strength = parents, strength
    self.segments = tuple(segments)
    self.shards: list[Shard] = []
    self._orders: list[SampleOrder] = []
    before = np.zeros(len(self._class_ids), np.int64)
    for s, segment in enumerate(self.segments):
      self._orders.append(SampleOrder(before, segment.counts))
      before = before + np.asarray(segment.counts, np.int64)
      total = len(self._orders[-1])
      for start in range(0, total, images_per_shard):
        stop = min(start + images_per_shard, total)
        self.shards.append(Shard(len(self.shards), s, start, stop))
    self._ends = list(itertools.accumulate(map(len, self.shards)))
    self._known = KnownIds(self._ends)

  def __len__(self) -> int:
    return self.size(len(self.shards))

  @property
  def ends(self) -> Sequence[int]:
    """Of each shard, in images."""
    return self._ends

  def size(self, n_shards: int) -> int:
    """Images in the first so many shards."""
    return self._ends[min(n_shards, len(self._ends)) - 1] if n_shards and self._ends else 0

  def needed(self, target: int, segments: int | None = None) -> int:
    """How many shards, from the first on, hold the first `target` images of every class, and every top-up.

    `segments`: when the set had so many of them; None = all.
    """
    for shard in reversed(self.shards):
      if segments is not None and shard.segment >= segments:
        continue
      order = self._orders[shard.segment]
      if self.segments[shard.segment].round or order.sample(shard.start) < target:
        return shard.index + 1
    return 0

  def counts(self, n_shards: int) -> list[int]:
    """Images of each class in the first so many shards."""
    return np.bincount(self.labels(n_shards), minlength=len(self._class_ids)).tolist()

  def asked_by(self) -> np.ndarray:
    """Who asked for each image of the set, in plan order."""
    return np.repeat([s.asked_by for s in self.segments], [sum(s.counts) for s in self.segments])

  def labels(self, n_shards: int | None = None) -> np.ndarray:
    """Of each image of the set, or of the first so many shards, in plan order."""
    return self._rows(n_shards)[1]

  def samples(self) -> np.ndarray:
    """The index within its class of each image of the set, in plan order."""
    return self._rows(None)[0]

  def ids(self, n_shards: int) -> PackedIds:
    """Of the images of the first so many shards, in plan order."""
    return self._known.of(range(min(n_shards, len(self.shards))), self._packed_ids)

  def shard_ids(self, shard: Shard) -> PackedIds:
    return self._known.of(range(shard.index, shard.index + 1), self._packed_ids)

  def shard_labels(self, shard: Shard) -> np.ndarray:
    return self._order(shard)[1]

  def images(self, shard: Shard) -> list[Image]:
    """With all that their records will say: an object each, for those who sample or verify a shard."""
    rows, round_ = zip(*self._order(shard), strict=True), self.segments[shard.segment].round
    return [self._image(int(i), int(c), round_) for i, c in rows]

  def image_id(self, shard: Shard, place: int) -> str:
    """Of one image of it: a plan of millions is asked for few."""
    at = shard.start + place
    (sample,), (label,) = self._orders[shard.segment].rows(at, at + 1)
    return self._image(int(sample), int(label), self.segments[shard.segment].round).image_id

  def share_ids(self, earlier: Plan) -> None:
    """Takes over what a plan of the same set, with fewer segments, knows: growth changes no image."""
    same = 0
    for own, other in zip(self.shards, earlier.shards, strict=False):
      if own != other or self.segments[own.segment] != earlier.segments[own.segment]:
        break
      same += 1
    self._known.take(earlier._known, same)

  def _order(self, shard: Shard) -> tuple[np.ndarray, np.ndarray]:
    """(index within its class, label) of each image of a shard."""
    return self._orders[shard.segment].rows(shard.start, shard.stop)

  def _rows(self, n_shards: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Likewise, of the first so many."""
    left = len(self) if n_shards is None else self.size(n_shards)
    samples, labels = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for order in self._orders:
      found = order.rows(0, min(left, len(order)))
      left -= len(found[0])
      samples.append(found[0])
      labels.append(found[1])
    return np.concatenate(samples), np.concatenate(labels)

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

  def _packed_ids(self, shards: range) -> np.ndarray:
    """The image ids of shards: what `_image` says of each, with the JSON of its hashes put together from parts."""
    rows = [self._order(self.shards[index]) for index in shards]
    samples, labels = (np.concatenate(column) for column in zip(*rows, strict=True))
    by_class = np.argsort(labels, kind="stable")  # a class's prompts are at hand then: twice as fast
    sha256, begun = hashlib.sha256, hashlib.sha256(f'["image", {_json(self._drawing)}, "'.encode()).copy
    found = []
    for own in np.split(by_class, np.flatnonzero(np.diff(labels[by_class])) + 1) if len(labels) else ():
      for noise in self._noise_texts(samples[own], int(labels[own[0]])):
        image = begun()
        image.update(sha256(noise).hexdigest()[:_DIGITS].encode() + b'"]')
        found.append(image.digest()[: _DIGITS // 2])
    packed = np.empty((len(found), _DIGITS // 2), np.uint8)
    packed[by_class] = np.frombuffer(b"".join(found), np.uint8).reshape(packed.shape)
    return packed

  def _noise_texts(self, samples: np.ndarray, label: int) -> list[bytes]:
    """What the noise id of each image of a class is the hash of."""
    if not self._begins[label]:
      texts = (_json(["noise", self._class_ids[label], prompt.text]) for prompt in self._lists[label])
      self._begins[label] = [text[:-1].encode() for text in texts]
      self._use_arrays[label] = np.array(self._uses[label]).T
    begins, (earlier, in_list) = self._begins[label], self._use_arrays[label]
    cycles, places = np.divmod(samples, len(begins))
    uses = cycles * in_list[places] + earlier[places]
    each = zip(places.tolist(), uses.tolist(), strict=True)
    if not self._parents:
      end = f', "", {_json(self._seed)}]'.encode()
      return [b"%b, %d%b" % (begins[place], use, end) for place, use in each]
    ends = [f", {_json(parent)}, {_json(self._seed)}]".encode() for parent in self._parents[label]]
    of_parents = (ends[i] for i in (samples % len(ends)).tolist())
    return [b"%b, %d%b" % (begins[p], use, end) for (p, use), end in zip(each, of_parents, strict=True)]


def _uses(prompts: Sequence[Prompt]) -> list[tuple[int, int]]:
  """For each place of a class's list: how often its text stood before it, and how often it stands in all."""
  total, so_far, found = Counter(p.text for p in prompts), Counter(), []
  for prompt in prompts:
    found.append((so_far[prompt.text], total[prompt.text]))
    so_far[prompt.text] += 1
  return found
