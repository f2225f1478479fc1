"""Stage sample: a prompt list drawn by a generator, as the image set `images/<set>`."""

from __future__ import annotations

import functools
import gc
import io
import shutil
import sys
import tempfile
import weakref
from collections.abc import Collection
from pathlib import Path
from typing import Any

import jax
import numpy as np
from etils import epath
from PIL import Image

from synthjax.data.sources import open_parents
from synthjax.disk import checksums, workdir
from synthjax.generators import random_weights, samplers
from synthjax.generators.checkpoint import STEMS
from synthjax.generators.stable_diffusion import StableDiffusion
from synthjax.labels.spaces import LabelSpace
from synthjax.models import attention
from synthjax.products.image_set import ImageSet
from synthjax.products.product import DONE, owner_of, progress_of
from synthjax.products.prompts import PromptList
from synthjax.products.train import Network
from synthjax.runtime import devices, residents
from synthjax.runtime.errors import UserError
from synthjax.runtime.stopping import Stop
from synthjax.sampling import sampler
from synthjax.sampling.drawer import Drawer, Setting
from synthjax.sampling.parents import Parents, strength_of
from synthjax.spec.checks_limits import check_set_size
from synthjax.spec.fields import BY_SHOTS
from synthjax.spec.group import Kind
from synthjax.spec.references import named
from synthjax.spec.study import DrawnSet as DrawnSetSpec
from synthjax.spec.study import StudySpec
from synthjax.store import corrections, dataset, records, schema
from synthjax.store.plan import Plan, Segment
from synthjax.weights import clean_text, hub, read

_PARTS = (".", *STEMS, "tokenizer", "tokenizer_2", "scheduler")  # of a checkpoint's folder: whatever is read
_SESSION = {"seconds": float, "local_devices": int, "images": int}
SESSIONS = "sessions"  # one file for each time a process worked on the set: on what, how many, how fast
# What decides a pixel of an image beside its noise; two sets that agree in these share image ids. Corrections are absent
# where a set is drawn as it always was.
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


class DrawnSet(ImageSet[DrawnSetSpec]):
  stage, draws_more = "sample", True

  def __init__(
    self,
    config: StudySpec,
    root: epath.Path,
    name: str,
    labels: LabelSpace,
    prompts: PromptList,
    network: Network | None = None,
  ):
    own = config.sets[name]
    assert isinstance(own, DrawnSetSpec)
    super().__init__(config, root, name, labels, own)
    self._config, self.prompts = config, prompts
    self._network = network  # of this study, whose weights draw
    self.inputs = (prompts, network) if network else (prompts,)
    check_set_size(f"config.sets.{name}", len(labels), self.fields)
    if not self.fields.generator:
      raise UserError(
        f"set {name!r} has no generator; set config.sampling.generator to a folder in diffusers' layout, or embedded:generator"
      )

  # --- what is wanted ----------------------------------------------------------------------------

  @functools.cached_property
  def _generator(self) -> StableDiffusion:
    return _read_generator(self._weights, self.fields.dtype, self._stamps)

  @functools.cached_property
  def _stamps(self) -> read.Stamps:
    """Of the weights whose digest is recorded."""
    return read.stamps(self._weights, _PARTS)

  @functools.cached_property
  def _weights(self) -> Path:
    """The checkpoint's folder. Random weights are made where none lie; --plan makes them for itself alone."""
    if self._network:
      return self._network.weights
    if not self._kept_weights:
      return hub.locate(self.fields.generator, self._root)
    if self._kept_weights.exists():
      return self._kept_weights
    passing = tempfile.mkdtemp(prefix="synthjax-")
    weakref.finalize(self, shutil.rmtree, passing, ignore_errors=True)
    return random_weights.make(self._architecture, Path(passing) / "weights")

  @property
  def _architecture(self) -> str:
    """Of `random:ARCHITECTURE`; "" for a folder."""
    return named("random", self.fields.generator)

  @property
  def _kept_weights(self) -> Path | None:
    """Where random weights lie, made once for all sets of the workdir."""
    return Path(self._root / "generators" / f"random-{self._architecture}") if self._architecture else None

  @functools.cached_property
  def _setting(self) -> Setting:
    fields = self.fields
    size = fields.size or self._generator.native_size
    stored = fields.stored_size or size
    return Setting(
      steps=fields.steps,
      guided=fields.guidance > 1.0,
      size=size,
      stored_size=stored,
      sampler=fields.sampler,
      eta=fields.eta,
      strength=self._strength,
      negative_prompt=fields.negative_prompt,
      group=fields.cpu_group if devices.platform() == "cpu" else 0,
      decode_batch=fields.decode_batch,
    )

  @functools.cached_property
  def _strength(self) -> float:
    fields = self.fields
    if fields.strength != BY_SHOTS:
      return fields.strength
    shots = self._config.real[fields.real_parents].shots
    return strength_of(self._generator.schedule, fields.sampler, fields.steps, shots)

  @functools.cached_property
  def _parents(self) -> Parents | None:
    """At strength 1 nothing is left of them, and the set is one without."""
    if not self._setting.has_parents:
      return None
    source = open_parents(self._config, self.fields.parents, self.labels)
    return Parents(source, self.labels, self._setting.size)

  @property
  def has_parents(self) -> bool:
    return self._parents is not None

  def _parents_as_png(self, ids: Collection[str]) -> dict[str, bytes]:
    return {i: _png(self._parents.pixels_of(i)) for i in ids} if self._parents else {}

  @functools.cached_property
  def _identity(self) -> dict[str, Any]:
    kept = self.fields.identity()
    resolved = {
      "generator": self._generator.digest,  # the weights, wherever they lie
      "size": self._setting.size,
      "stored_size": self._setting.stored_size,
      "strength": self._strength,
      "parents": self._parents.digest if self._parents else "",
      "key": "threefry2x32",
      "class_ids": self.labels.ids,
    }
    return kept | resolved | self._corrections()

  def _corrections(self) -> dict[str, list[str]]:
    schedule, setting = self._generator.schedule, self._setting
    if not len(setting.table(self._generator)):  # parents, decoded as they are
      return {}
    how = (setting.sampler, setting.steps)
    return corrections.applied(
      # A distilled UNet is told the guidance, whatever it is, so it draws as it always has.
      unguided=self.fields.guidance < 1 and not self._generator.guidance_width,
      scheduler_keys=samplers.has_ignored_keys(schedule, *how, setting.eta, setting.strength),
      trailing_steps=samplers.has_lost_step(schedule, *how),
      clean_text=self._has_cleaned_text,
    )

  @property
  def _has_cleaned_text(self) -> bool:
    texts = {prompt.text for prompt in self.prompts.read()}
    if self._setting.is_guided(self._generator):
      texts.add(self.fields.negative_prompt)
    return any(map(clean_text.is_altered, texts))

  @property
  def asked(self) -> int:
    preview, asked = self.fields.preview, self.fields.images_per_class
    return min(preview, asked) if preview else asked

  @property
  def _wanted(self) -> list[int]:
    return [self.asked] * len(self.labels)

  def _is_ready(self) -> bool:
    return self._can_draw and self.prompts.status().state == DONE

  @property
  def _can_draw(self) -> bool:
    """Whether a network of this study that draws is trained; until then nothing is known of its weights."""
    return self._network is None or self._network.status().state == DONE

  @property
  def kind(self) -> str:
    begun = ", begun as real ones" if self._parents else ""
    return f"{self.prompts.name}{begun}"

  @property
  def drawn_by(self) -> str:
    return self.fields.generator

  def record_of_prompts(self) -> dict[str, Any]:
    return workdir.read_json(self.prompts.folder / "record.json", "record")

  @property
  def note(self) -> str:
    begun = f", from {self.fields.parents} at strength {self._strength:.2g}" if self._parents else ""
    return f"guidance {self.fields.guidance:g}, {self.fields.steps} steps{begun}"

  def _flops_each(self) -> float:
    return self._setting.flops(self._generator) if self._can_draw else 0.0

  def _bytes_each(self) -> float:
    side = self._setting.stored_size if self._can_draw else self.fields.stored_size
    return 600 + 0.25 * side**2  # JPEG at 2 bits a pixel

  def _record(self) -> records.Record:
    sessions = [
      checksums.read_json(self.folder / SESSIONS / n, "session", _SESSION)
      for n in workdir.names(self.folder / SESSIONS, "*.json")
    ]
    runtime = self.fields.of_kind(Kind.RUNTIME)
    return records.Record(
      self.name,
      self._identity,
      growth={"images_per_class": self.asked},
      runtime=runtime
      | {"generator": hub.pinned(self.fields.generator, self._root), **self._runtime.to_dict()},
      inputs={self.prompts.name: self.prompts.content_hash()},
      cost={
        "device_seconds": round(sum(s["seconds"] * s["local_devices"] for s in sessions), 1),
        "images_drawn": sum(s["images"] for s in sessions),
      },
    )

  def plan(self, segments: list[Segment]) -> Plan:
    return Plan(
      self.labels.ids,
      self.prompts.read(),
      segments,
      images_per_shard=self.fields.images_per_shard,
      drawing=records.digest({k: self._identity[k] for k in _DRAWING if k in self._identity}),
      guidance=self.fields.guidance,
      seed=self.fields.seed,
      parents=self._parents.by_class if self._parents else (),
      strength=self._strength,
    )

  # --- making it ---------------------------------------------------------------------------------

  def make(self, stop: Stop) -> bool:
    if self._kept_weights:
      random_weights.make(self._architecture, self._kept_weights)
    prompts = self.prompts.read()
    if not self._is_begun_as_wanted():
      self._check_lengths([p.text for p in prompts] + [n for n in [self.fields.negative_prompt] if n])
      self.drawer().check()  # weights that do not fit are refused before anything is written
      records.settle(self.folder, self._record())
    plan = self.plan(dataset.grow(self.folder, self._wanted))
    needed = plan.needed(self.target)
    have = self._landed(plan, needed)
    if len(have) < needed and not self._sample(plan, needed, have, stop):
      return False
    return self._finish(plan, needed, stop)

  def _is_begun_as_wanted(self) -> bool:
    return records.compare(self.folder, self._record()) is not None

  def _check_lengths(self, texts: list[str]) -> None:
    """A prompt that the text encoder would cut is refused, or cut on request: never in silence."""
    distinct = sorted(set(texts))
    lengths = self._generator.tokenize(distinct).lengths
    long = int(np.sum(lengths > self._generator.max_tokens))
    if not long:
      return
    told = (
      f"{self.prompts.name}: {long} of {len(distinct)} prompts are longer than the {self._generator.max_tokens} tokens "
      f"the generator reads (longest: {lengths.max()}, {distinct[int(lengths.argmax())][:60]!r}...)"
    )
    if self.fields.long_prompts == "refuse":
      raise UserError(f"{told}; shorten them, or set config.sampling.long_prompts=cut")
    print(f"{told}; they are cut there", file=sys.stderr)

  def drawer(self) -> Drawer:
    residents.begin(self.stage)
    weights = self._weights, self.fields.dtype, self._stamps
    drawer = _drawer(*weights, self._setting, self.fields.per_device_batch)
    return drawer.with_parents(self._parents.pixels) if self._parents else drawer

  def sink(self, folder: epath.Path) -> sampler.Sink:
    fields = self.fields
    return sampler.Sink(
      folder,
      encode=functools.partial(schema.encode_jpeg, quality=fields.jpeg_quality, mark=fields.mark),
      serialize=schema.serializer(self.labels.ids),
      threads=self._runtime.encode_threads,
    )

  def _sample(self, plan: Plan, needed: int, have: list[int], stop: Stop) -> bool:
    with owner_of(self.folder, self._runtime) as owner, owner.making(stop):
      drawer = self.drawer()  # minutes of reading, in which this process shows that it lives
      drawer.check_fit(devices.memory_limit(self._runtime.device_memory_gb))
      attention.note_once(self.name, drawer.kernels)
      where, done = devices.describe(), sum(len(plan.shards[i]) for i in have)
      progress = progress_of(self.name, plan.size(needed), done, self._runtime)
      try:
        whole = sampler.sample(plan, needed, drawer, self.sink(self.folder), owner, progress, stop)
      except jax.errors.JaxRuntimeError as e:
        if "RESOURCE_EXHAUSTED" not in str(e):
          raise
        n = self.fields.per_device_batch
        raise UserError(
          f"{n} images at once do not fit on the device; lower config.sampling.per_device_batch"
        ) from e
      finally:
        progress.close()
        if progress.own:
          session = where | {
            "images": progress.own,
            "seconds": progress.seconds,
            "waiting_share": progress.waiting_share,
            "attention": drawer.kernels,
          }
          file = self.folder / SESSIONS / f"{owner.id}.json"
          file.parent.mkdir(exist_ok=True)
          workdir.publish_bytes(file, workdir.to_json(session))
          checksums.cover(file)  # after it: after a death between the two, nobody makes it anew
    stop.check()
    return whole


def _png(pixels: np.ndarray) -> bytes:
  buffer = io.BytesIO()
  Image.fromarray(pixels).save(buffer, "PNG")
  return buffer.getvalue()


@functools.lru_cache(maxsize=4)  # without parameters: what it costs and is named by is the same for every set
def _read_generator(folder: Path, dtype: str, stamps: read.Stamps) -> StableDiffusion:
  del stamps  # other files are another generator
  return StableDiffusion(folder, dtype)


@functools.lru_cache(maxsize=1)  # the parameters of one generator at a time
def _loaded(folder: Path, dtype: str, stamps: read.Stamps) -> tuple[StableDiffusion, Any]:
  if _release():  # the one before, and the drawers that hold it
    gc.collect()
  generator = _read_generator(folder, dtype, stamps)
  params = generator.load_params(devices.local_mesh())
  read.check_unchanged(folder, stamps, _PARTS)
  return generator, params


@functools.lru_cache(maxsize=16)  # sets that differ in guidance, prompts or parents share a compiled program
def _drawer(folder: Path, dtype: str, stamps: read.Stamps, setting: Setting, per_device_batch: int) -> Drawer:
  generator, params = _loaded(folder, dtype, stamps)
  return Drawer(generator, params, setting, devices.local_mesh(), per_device_batch)


def _release() -> bool:
  held = _loaded.cache_info().currsize + _drawer.cache_info().currsize
  _loaded.cache_clear()
  _drawer.cache_clear()
  return held > 0


residents.register(residents.GENERATOR, _release)
