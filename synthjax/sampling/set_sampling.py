"""How a set is sampled: its fields with the generator they name, what of that decides a pixel, and the program.

The parameters of one generator stay in memory, for all sets that it samples (runtime/residents.py).
"""

from __future__ import annotations

import functools
import gc
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from synthjax.data.sources import open_parents
from synthjax.generators import samplers
from synthjax.generators.checkpoint import STEMS
from synthjax.generators.stable_diffusion import StableDiffusion
from synthjax.labels.spaces import LabelSpace
from synthjax.runtime import devices, residents
from synthjax.runtime.errors import UserError
from synthjax.sampling.parents import Parents, strength_of
from synthjax.sampling.program import SamplingProgram, Setting
from synthjax.spec.entries import SampledSet
from synthjax.spec.fields import BY_SHOTS
from synthjax.spec.study import StudySpec
from synthjax.store import corrections, records
from synthjax.store.plan import Plan, Segment
from synthjax.store.prompt import Prompt
from synthjax.weights import clean_text, read

_PARTS = (".", *STEMS, "tokenizer", "tokenizer_2", "scheduler")  # of a checkpoint's folder: whatever is read
# What decides a pixel of an image beside its noise; two sets that agree in these share image ids. Corrections are absent
# where a set is sampled as it always was.
_DRAWING = (
  "generator",
  "sampler",
  "key",
  "steps",
  "guidance",
  "negative_prompt",
  "eta",
  "parents",
  "strength",
  "size",
  "stored_size",
  "jpeg_quality",
  "mark",
  "dtype",
  corrections.KEY,
)


class SetSampling:
  """Of one set, whose weights lie in a folder."""

  def __init__(self, fields: SampledSet, config: StudySpec, labels: LabelSpace, weights: Path):
    self._fields, self._config, self._labels, self._folder = fields, config, labels, weights
    self._stamps = read.stamps(weights, _PARTS)  # of the weights whose digest is recorded

  @functools.cached_property
  def generator(self) -> StableDiffusion:
    return _opened(self._folder, self._fields.dtype, self._stamps)

  @functools.cached_property
  def setting(self) -> Setting:
    fields = self._fields
    size = fields.size or self.generator.native_size
    return Setting(
      steps=fields.steps,
      guided=fields.guidance > 1.0,
      size=size,
      stored_size=fields.stored_size or size,
      sampler=fields.sampler,
      eta=fields.eta,
      strength=self.strength,
      negative_prompt=fields.negative_prompt,
      group=fields.cpu_group if devices.platform() == "cpu" else 0,
      decode_batch=fields.decode_batch,
    )

  @functools.cached_property
  def strength(self) -> float:
    fields = self._fields
    if fields.strength != BY_SHOTS:
      return fields.strength
    shots = self._config.real[fields.real_parents].shots
    return strength_of(self.generator.schedule, fields.sampler, fields.steps, shots)

  @functools.cached_property
  def parents(self) -> Parents | None:
    """At strength 1 nothing is left of them, and the set is one without."""
    if not self.setting.has_parents:
      return None
    source = open_parents(self._config, self._fields.parents, self._labels)
    return Parents(source, self._labels, self.setting.size)

  def flops(self) -> float:
    """Of an image."""
    return self.setting.flops(self.generator)

  def identity(self, texts: Collection[str]) -> dict[str, Any]:
    """All of the set's but its prompts, the `texts`, of which it says only whether their cleaning was corrected."""
    resolved = {
      "generator": self.generator.digest,  # the weights, wherever they lie
      "size": self.setting.size,
      "stored_size": self.setting.stored_size,
      "strength": self.strength,
      "parents": self.parents.digest if self.parents else "",
      "key": "threefry2x32",
      "class_ids": self._labels.ids,
    }
    return self._fields.identity() | resolved | self._corrections(texts)

  def _corrections(self, texts: Collection[str]) -> dict[str, list[str]]:
    schedule, setting = self.generator.schedule, self.setting
    if not len(setting.table(self.generator)):  # parents, decoded as they are
      return {}
    if setting.is_guided(self.generator):
      texts = {*texts, self._fields.negative_prompt}
    how = (setting.sampler, setting.steps)
    return corrections.applied(
      # A distilled UNet takes the guidance, whatever it is, so it draws as it always has.
      unguided=self._fields.guidance < 1 and not self.generator.guidance_width,
      scheduler_keys=samplers.has_ignored_keys(schedule, *how, setting.eta, setting.strength),
      trailing_steps=samplers.has_lost_step(schedule, *how),
      clean_text=any(map(clean_text.is_altered, texts)),
    )

  def plan(self, identity: dict[str, Any], prompts: Sequence[Prompt], segments: Sequence[Segment]) -> Plan:
    return Plan(
      self._labels.ids,
      prompts,
      segments,
      images_per_shard=self._fields.images_per_shard,
      drawing=records.digest({k: identity[k] for k in _DRAWING if k in identity}),
      guidance=self._fields.guidance,
      seed=self._fields.seed,
      parents=self.parents.by_class if self.parents else (),
      strength=self.strength,
    )

  def check_lengths(self, name: str, texts: Collection[str]) -> None:
    """A prompt that the text encoder would cut is refused, or cut on request: never in silence."""
    distinct = sorted(set(texts))
    lengths = self.generator.tokenize(distinct).lengths
    long = int(np.sum(lengths > self.generator.max_tokens))
    if not long:
      return
    message = (
      f"{name}: {long} of {len(distinct)} prompts are longer than the {self.generator.max_tokens} tokens "
      f"the generator reads (longest: {lengths.max()}, {distinct[int(lengths.argmax())][:60]!r}...)"
    )
    if self._fields.long_prompts == "refuse":
      raise UserError(f"{message}; shorten them, or set config.sampling.long_prompts=cut")
    print(f"{message}; they are cut there", file=sys.stderr)

  def program(self) -> SamplingProgram:
    """Reads the parameters, unless they are there."""
    weights = self._folder, self._fields.dtype, self._stamps
    program = _program(*weights, self.setting, self._fields.per_device_batch)
    return program.with_parents(self.parents.pixels) if self.parents else program


@functools.lru_cache(maxsize=4)  # without parameters: what it costs and is named by is the same for every set
def _opened(folder: Path, dtype: str, stamps: read.Stamps) -> StableDiffusion:
  del stamps  # other files are another generator
  return StableDiffusion(folder, dtype)


@functools.lru_cache(maxsize=1)  # the parameters of one generator at a time
def _loaded(folder: Path, dtype: str, stamps: read.Stamps) -> tuple[StableDiffusion, Any]:
  if _release():  # the one before, and the programs that hold it
    gc.collect()
  generator = _opened(folder, dtype, stamps)
  params = generator.load_params(devices.local_mesh())
  read.check_unchanged(folder, stamps, _PARTS)
  return generator, params


@functools.lru_cache(maxsize=16)  # sets that differ in guidance, prompts or parents share a compiled program
def _program(
  folder: Path, dtype: str, stamps: read.Stamps, setting: Setting, per_device_batch: int
) -> SamplingProgram:
  generator, params = _loaded(folder, dtype, stamps)
  return SamplingProgram(generator, params, setting, devices.local_mesh(), per_device_batch)


def _release() -> bool:
  held = _loaded.cache_info().currsize + _program.cache_info().currsize
  _loaded.cache_clear()
  _program.cache_clear()
  return held > 0


residents.register(residents.GENERATOR, _release)
