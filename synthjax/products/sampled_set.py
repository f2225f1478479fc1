"""Stage sample: a prompt list sampled by a generator, as the image set `images/<set>`."""

from __future__ import annotations

import functools
import io
import shutil
import tempfile
import weakref
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, Self

import jax
import numpy as np
from etils import epath
from PIL import Image

from synthjax.disk import checksums, workdir
from synthjax.generators import random_weights
from synthjax.generators.checkpoint import STEMS, read_checkpoint
from synthjax.labels.spaces import LabelSpace
from synthjax.learning import rates
from synthjax.models import attention
from synthjax.products.base import DONE, Status, Study
from synthjax.products.image_set import ImageSet
from synthjax.products.network import Network
from synthjax.products.prompt_list import PromptList
from synthjax.runtime import absence, devices, residents
from synthjax.runtime.errors import NotHere, UserError
from synthjax.runtime.stopping import Stop
from synthjax.sampling import sampler
from synthjax.sampling.program import SamplingProgram
from synthjax.sampling.set_sampling import SetSampling
from synthjax.spec.checks_limits import check_set_size
from synthjax.spec.entries import SampledSet as SampledSetSpec
from synthjax.spec.group import Kind
from synthjax.spec.references import named
from synthjax.spec.study import StudySpec
from synthjax.store import records, schema
from synthjax.store.plan import Plan, Segment
from synthjax.weights import hub

_SESSION = {"seconds": float, "local_devices": int, "images": int}
SESSIONS = "sessions"  # one file for each time a process worked on the set: on what, how many, how fast


class SampledSet(ImageSet[SampledSetSpec]):
  stage, draws_more = "sample", True
  uses = (residents.GENERATOR, residents.ENCODER)  # the rounds of a filter go to and fro between them

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
    assert isinstance(own, SampledSetSpec)
    super().__init__(config, root, name, labels, own)
    self._config, self.prompts = config, prompts
    self._network = network  # of this study, whose weights sample
    self.inputs = (prompts, network) if network else (prompts,)
    self._sessions_read: dict[str, dict[str, Any]] = {}

  @classmethod
  def describes(cls, spec: StudySpec, *key: str) -> bool:
    return isinstance(spec.sets[key[0]], SampledSetSpec)

  @classmethod
  def declare(cls, study: Study, *key: str) -> Self:
    own = study.spec.sets[key[0]]
    assert isinstance(own, SampledSetSpec)
    prompts = study.get(PromptList, own.prompts)
    network = study.get(Network, own.network) if own.network else None
    return cls(study.spec, study.root, key[0], prompts.labels, prompts, network)

  def check(self) -> None:
    check_set_size(f"config.sets.{self.set_name}", len(self.labels), self.fields)
    if not self.fields.generator:
      raise UserError(
        f"set {self.set_name!r} has no generator; set config.sampling.generator to a folder in diffusers' layout, or embedded:generator"
      )
    # Its weights are there and can be sampled from: known now, and not after prompts are written and networks trained.
    if self._architecture:
      random_weights.check_name(self._architecture)
    elif not self._network:
      read_checkpoint(self._weights)

  def reads(self) -> Iterable[tuple[str, LabelSpace]]:
    own = self.fields
    if own.parents and own.strength != 1:
      yield self._config.real[own.real_parents].source if own.real_parents else own.parents, self.labels

  # --- what is wanted ----------------------------------------------------------------------------

  @functools.cached_property
  def _sampling(self) -> SetSampling:
    return SetSampling(self.fields, self._config, self.labels, self._weights)

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
    if not self._architecture:
      return None
    return Path(workdir.making(self._root) / "generators" / f"random-{self._architecture}")

  @property
  def has_parents(self) -> bool:
    return self._sampling.parents is not None

  def _parents_as_png(self, ids: Collection[str]) -> dict[str, bytes]:
    parents = self._sampling.parents
    return {i: _png(parents.pixels_of(i)) for i in ids} if parents else {}

  @functools.cached_property
  def _identity(self) -> dict[str, Any]:
    return self._sampling.identity({prompt.text for prompt in self.prompts.read()})

  @property
  def asked(self) -> int:
    preview, asked = self.fields.preview, self.fields.images_per_class
    return min(preview, asked) if preview else asked

  @property
  def _wanted(self) -> list[int]:
    return [self.asked] * len(self.labels)

  def _is_ready(self) -> bool:
    return self._can_sample and self.prompts.status().state == DONE

  @property
  def _can_sample(self) -> bool:
    """Whether a network of this study that samples is trained; until then nothing is known of its weights."""
    return self._network.status().state == DONE if self._network else self._are_weights_here

  @functools.cached_property
  def _are_weights_here(self) -> bool:
    try:
      self._weights  # noqa: B018
    except NotHere as e:
      absence.note(e)
      return False
    return True

  def _status_without(self) -> Status:
    return self._status_of_none()

  @property
  def kind(self) -> str:
    begun = ", started from real images" if self.has_parents else ""
    return f"{self.prompts.name}{begun}"

  @property
  def drawn_by(self) -> str:
    return self.fields.generator

  @property
  def written_by(self) -> str:
    return self.prompts.written_by

  def to_fetch(self) -> Iterable[hub.ToFetch]:
    return hub.to_fetch(self.fields.generator, self._root, {part: (stem,) for part, stem in STEMS.items()})

  def record_of_prompts(self) -> dict[str, Any]:
    return workdir.read_json(self.prompts.folder / "record.json", "record")

  @property
  def note(self) -> str:
    begun = (
      f", from {self.fields.parents} at strength {self._sampling.strength:.2g}" if self.has_parents else ""
    )
    return f"guidance {self.fields.guidance:g}, {self.fields.steps} steps{begun}"

  @property
  def seconds_each(self) -> float:
    cost = self._record().cost
    return cost["device_seconds"] / cost["images_drawn"] if cost["images_drawn"] else 0.0

  def flops_each(self) -> float:
    return self._sampling.flops() if self._can_sample else 0.0

  def _images_a_second(self) -> float:
    return rates.of_sessions(self.folder / SESSIONS)

  @property
  def stored_side(self) -> int:
    return self._sampling.setting.stored_size if self._can_sample else self.fields.stored_size

  def _bytes_each(self) -> float:
    return 600 + 0.25 * self.stored_side**2  # JPEG at 2 bits a pixel

  def _record(self) -> records.Record:
    sessions = self._sessions()
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

  def _sessions(self) -> list[dict[str, Any]]:
    """Each is written once and read once: there are as many as processes that ever sampled."""
    names = workdir.names(self.folder / SESSIONS, "*.json")
    for name in names:
      if name not in self._sessions_read:
        file = self.folder / SESSIONS / name
        self._sessions_read[name] = checksums.read_json(file, "session", _SESSION)
    return [self._sessions_read[name] for name in names]

  def plan(self, segments: list[Segment]) -> Plan:
    return self._sampling.plan(self._identity, self.prompts.read(), segments)

  # --- making it ---------------------------------------------------------------------------------

  def _begin(self, stop: Stop) -> bool:
    if self._kept_weights:
      random_weights.make(self._architecture, self._kept_weights)
    if not self._is_begun_as_wanted():
      texts = [p.text for p in self.prompts.read()] + [n for n in [self.fields.negative_prompt] if n]
      self._sampling.check_lengths(self.prompts.name, texts)
      self.program().check()  # weights that do not fit are refused before anything is written
      records.settle(self.folder, self._record())
    return True

  def _is_begun_as_wanted(self) -> bool:
    return records.compare(self.folder, self._record()) is not None

  def program(self) -> SamplingProgram:
    residents.begin(self.uses)
    return self._sampling.program()

  def sink(self, folder: epath.Path) -> sampler.Sink:
    fields = self.fields
    return sampler.Sink(
      folder,
      encode=functools.partial(schema.encode_jpeg, quality=fields.jpeg_quality, mark=fields.mark),
      serialize=schema.serializer(self.labels.ids),
      threads=self._runtime.encode_threads,
    )

  def _fill(self, plan: Plan, needed: int, have: list[int], stop: Stop) -> bool:
    with self.owner() as owner, owner.making(stop):
      program = self.program()  # minutes of reading, in which this process shows that it lives
      program.check_fit(devices.memory_limit(self._runtime.device_memory_gb))
      attention.note_once(self.name, program.kernels)
      where, done = devices.describe(), sum(len(plan.shards[i]) for i in have)
      progress = self.progress(plan.size(needed), done)
      try:
        whole = sampler.sample(plan, needed, program, self.sink(self.folder), owner, progress, stop)
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
            "attention": program.kernels,
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
