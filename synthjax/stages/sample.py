"""Stage sample: a prompt list drawn by a generator, as the image set `images/<set>`."""

from __future__ import annotations

import functools
import itertools
import shutil
import sys
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from etils import epath
from ml_collections import ConfigDict

from synthjax import config as fields_of
from synthjax import devices, records, workdir
from synthjax.data.sources import open_source
from synthjax.errors import UserError
from synthjax.generators import random_weights
from synthjax.generators.stable_diffusion import StableDiffusion
from synthjax.labels.spaces import LabelSpace
from synthjax.pages import contact_sheet
from synthjax.sampling import sampler
from synthjax.sampling.drawer import Drawer, Setting
from synthjax.sampling.parents import Parents
from synthjax.sampling.plan import Plan, Segment
from synthjax.stages.product import DONE, MISSING, STALE, Product, Status, owner_of, progress_of
from synthjax.stages.prompts import PromptList
from synthjax.stages.train import Network
from synthjax.stopping import Stop
from synthjax.store import dataset, schema, shards
from synthjax.weights import hub

SESSIONS = "sessions"  # one file for each time a process worked on the set: on what, how many, how fast
SHEET = "contact_sheet.png"
_SHEET_COLUMNS = 8
# What decides a pixel of an image beside its noise; two sets that agree in these share image ids.
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
)


class ImageSet:
  stage = "sample"

  def __init__(
    self,
    config: ConfigDict,
    root: epath.Path,
    name: str,
    labels: LabelSpace,
    prompts: PromptList,
    network: Network | None = None,
  ):
    self.name, self.folder = f"images/{name}", root / "images" / name
    self._set, self._root, self._labels, self._prompts = name, root, labels, prompts
    self.inputs: tuple[Product, ...] = (prompts, network) if network else (prompts,)
    self._network = network  # of this study, whose weights draw
    self._landed_plan: tuple[Plan, int] | None = (
      None  # a status looks at it, and plans take half a second a million
    )
    self.fields = fields_of.set_fields(config, name)
    self._runtime = config.runtime
    if not self.fields["generator"]:
      raise UserError(
        f"set {name!r} has no generator; set config.sampling.generator to a folder in diffusers' layout, or embedded:generator"
      )

  # --- what is wanted ----------------------------------------------------------------------------

  @functools.cached_property
  def _generator(self) -> StableDiffusion:
    return StableDiffusion(self._weights, self.fields["dtype"])

  @functools.cached_property
  def _weights(self) -> Path:
    """The checkpoint's folder. Random weights are made where none lie; --plan makes them for itself alone."""
    if self._network:
      return self._network.weights
    if not self._kept_weights:
      return hub.locate(self.fields["generator"], self._root)
    if self._kept_weights.exists():
      return self._kept_weights
    passing = tempfile.mkdtemp(prefix="synthjax-")
    weakref.finalize(self, shutil.rmtree, passing, ignore_errors=True)
    return random_weights.make(self._architecture, Path(passing) / "weights")

  @property
  def _architecture(self) -> str:
    """Of `random:ARCHITECTURE`; "" for a folder."""
    scheme, _, architecture = self.fields["generator"].partition(":")
    return architecture if scheme == "random" else ""

  @property
  def _kept_weights(self) -> Path | None:
    """Where random weights lie, made once for all sets of the workdir."""
    return Path(self._root / "generators" / f"random-{self._architecture}") if self._architecture else None

  @functools.cached_property
  def _setting(self) -> Setting:
    fields = self.fields
    size = fields["size"] or self._generator.native_size
    stored = fields["stored_size"] or size
    return Setting(
      steps=fields["steps"],
      guided=fields["guidance"] != 1.0,
      size=size,
      stored_size=stored,
      sampler=fields["sampler"],
      eta=fields["eta"],
      strength=fields["strength"],
      negative_prompt=fields["negative_prompt"],
      group=fields["cpu_group"] if devices.platform() == "cpu" else 0,
      decode_batch=fields["decode_batch"],
    )

  @functools.cached_property
  def _parents(self) -> Parents | None:
    """At strength 1 nothing is left of them, and the set is one without."""
    if not self._setting.has_parents:
      return None
    return Parents(open_source(self.fields["parents"], self._labels), self._labels, self._setting.size)

  @functools.cached_property
  def _identity(self) -> dict[str, Any]:
    kept = {k: self.fields[k] for k in fields_of.of_kind(fields_of.SAMPLING, fields_of.IDENTITY)}
    resolved = {
      "generator": self._generator.digest,  # the weights, wherever they lie
      "size": self._setting.size,
      "stored_size": self._setting.stored_size,
      "parents": self._parents.digest if self._parents else "",
      "key": "threefry2x32",
      "class_ids": self._labels.ids,
    }
    return kept | resolved

  @property
  def _target(self) -> int:
    """Images a class."""
    preview, asked = self.fields["preview"], self.fields["images_per_class"]
    return min(preview, asked) if preview else asked

  def _record(self) -> records.Record:
    sessions = [
      workdir.read_json(self.folder / SESSIONS / n, "session") for n in workdir.names(self.folder / SESSIONS)
    ]
    runtime = {k: self.fields[k] for k in fields_of.of_kind(fields_of.SAMPLING, fields_of.RUNTIME)}
    return records.Record(
      self.name,
      self._identity,
      growth={"images_per_class": self._target},
      runtime=runtime
      | {"generator": hub.pinned(self.fields["generator"], self._root), **self._runtime.to_dict()},
      inputs={self._prompts.name: self._prompts.content_hash()},
      cost={
        "device_seconds": round(sum(s["seconds"] * s["local_devices"] for s in sessions), 1),
        "images_drawn": sum(s["images"] for s in sessions),
      },
    )

  def plan(self, segments: list[Segment]) -> Plan:
    return Plan(
      self._labels.ids,
      self._prompts.read(),
      segments,
      images_per_shard=self.fields["images_per_shard"],
      drawing=records.digest({k: self._identity[k] for k in _DRAWING}),
      guidance=self.fields["guidance"],
      seed=self.fields["seed"],
      parents=self._parents.by_class if self._parents else (),
      strength=self.fields["strength"],
    )

  # --- what is there -----------------------------------------------------------------------------

  def landed(self) -> tuple[Plan, int]:
    """The plan of what has been asked for so far, and how many of its shards are needed. Only once it is begun."""
    segments = tuple(dataset.grown(dataset.segments(self.folder), self._target, len(self._labels)))
    if self._landed_plan is None or self._landed_plan[0].segments != segments:
      plan = self.plan(list(segments))
      self._landed_plan = plan, plan.needed(self._target)
    return self._landed_plan

  def identity_hash(self) -> str:
    """What depends on the set records this: growth does not change it."""
    return self._record().hash

  def read_shard(self, index: int) -> Iterator[dict[str, Any]]:
    return dataset.read_shard(self.folder, index, self._labels)

  def top_up(self, counts: Sequence[int], have: int, asked_by: str) -> None:
    """A further round: so many more of each class, as segment number `have`, unless another process was first."""
    dataset.add_segment(self.folder, have, Segment(tuple(counts), have, asked_by))

  @property
  def asked(self) -> int:
    """Images a class that the config asks for; top-ups come on top."""
    return self._target

  def status(self) -> Status:
    n_classes = len(self._labels)
    if self._network and self._network.status().state != DONE:
      return Status(MISSING, 0, self._target * n_classes)
    if self._prompts.status().state != DONE:
      return self._status_of(MISSING, [], 0, self._target * n_classes, self._target * n_classes)
    if records.compare(self.folder, self._record()) is None:
      return self._status_of(MISSING, [], 0, self._target * n_classes, self._target * n_classes)
    plan, needed = self.landed()
    total, have = plan.size(needed), self._landed(plan, needed)
    images = sum(len(plan.shards[i]) for i in have)
    listed = self._manifest_images()
    state = DONE if len(have) == needed and listed >= total else STALE if listed else MISSING
    return self._status_of(state, have, images, total, total - images, needed)

  def _landed(self, plan: Plan, needed: int) -> list[int]:
    """The needed shards that are there, each still as it landed."""
    have = [i for i in shards.landed(self.folder) if i < needed]
    for index in have:
      shards.check_landed(self.folder, index, len(plan.shards[index]))
    return have

  def _status_of(
    self, state: str, have: list[int], images: int, total: int, left: int, planned: int = 0
  ) -> Status:
    planned = planned or -(-total // self.fields["images_per_shard"])
    on_disk = sum(shards.facts(self.folder, i).bytes for i in have)
    setting = self._setting
    # Where nothing is drawn yet, a guess: JPEG at 2 bits a pixel.
    each = on_disk / images if images else 600 + 0.25 * setting.stored_size**2

    def flops() -> float:
      return left * setting.flops(self._generator) if left else 0.0

    return Status(state, images, total, "images", f"{len(have)}/{planned}", on_disk + each * left, flops)

  def _manifest_images(self) -> int:
    """Images that the set's metadata list; 0 where its files do not agree, and must be written again."""
    manifest, info = self.folder / "manifest.json", self.folder / "dataset_info.json"
    if not manifest.exists() or not info.exists():
      return 0
    images = workdir.read_json(manifest, "manifest")["images"]
    splits = workdir.read_json(info, "data set info").get("splits", [])
    return images if images == sum(int(n) for s in splits for n in s["shardLengths"]) else 0

  def faults(self) -> list[tuple[int, str]]:
    """For stage verify: every byte is read."""
    segments = dataset.segments(self.folder)
    if not segments:
      raise UserError(f"{self.name} is missing: there is nothing to verify; run stage sample first")
    records.compare(self.folder, self._record())
    plan = self.plan(dataset.grown(segments, self._target, len(self._labels)))
    return list(dataset.faults(self.folder, plan, plan.needed(self._target), self._labels))

  # --- making it ---------------------------------------------------------------------------------

  def make(self, stop: Stop) -> bool:
    if self._kept_weights:
      random_weights.make(self._architecture, self._kept_weights)
    prompts = self._prompts.read()
    if not self._is_begun_as_wanted():
      self._check_lengths([p.text for p in prompts] + [n for n in [self.fields["negative_prompt"]] if n])
      self.drawer().check()  # weights that do not fit are refused before anything is written
      records.settle(self.folder, self._record())
    plan = self.plan(dataset.grow(self.folder, self._target, len(self._labels)))
    needed = plan.needed(self._target)
    have = self._landed(plan, needed)
    if len(have) < needed and not self._sample(plan, needed, have, stop):
      return False
    return self._finish(plan, needed)

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
      f"{self._prompts.name}: {long} of {len(distinct)} prompts are longer than the {self._generator.max_tokens} tokens "
      f"the generator reads (longest: {lengths.max()}, {distinct[int(lengths.argmax())][:60]!r}...)"
    )
    if self.fields["long_prompts"] == "refuse":
      raise UserError(f"{told}; shorten them, or set config.sampling.long_prompts=cut")
    print(f"{told}; they are cut there", file=sys.stderr)

  def drawer(self) -> Drawer:
    batch, parents = self.fields["per_device_batch"], self._parents
    return _drawer(self._weights, self.fields["dtype"], self._setting, batch, parents)

  def sink(self, folder: epath.Path) -> sampler.Sink:
    fields = self.fields
    return sampler.Sink(
      folder,
      encode=functools.partial(schema.encode_jpeg, quality=fields["jpeg_quality"], mark=fields["mark"]),
      serialize=schema.serializer(self._labels.ids),
      threads=self._runtime.encode_threads,
    )

  def _sample(self, plan: Plan, needed: int, have: list[int], stop: Stop) -> bool:
    drawer = self.drawer()
    drawer.check_fit(devices.memory_limit(self._runtime.device_memory_gb))
    if devices.is_speaker():
      kernels = "; ".join(f"{kernel} {', '.join(of)}" for kernel, of in drawer.kernels.items())
      print(f"{self.name}: attention: {kernels}", file=sys.stderr)
    where, done = devices.describe(), sum(len(plan.shards[i]) for i in have)
    progress = progress_of(self.name, plan.size(needed), done, self._runtime)
    with owner_of(self.folder, self._runtime) as owner:
      try:
        whole = sampler.sample(plan, needed, drawer, self.sink(self.folder), owner, progress, stop)
      except jax.errors.JaxRuntimeError as e:
        if "RESOURCE_EXHAUSTED" not in str(e):
          raise
        n = self.fields["per_device_batch"]
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
          (self.folder / SESSIONS).mkdir(exist_ok=True)
          workdir.publish_bytes(self.folder / SESSIONS / f"{owner.id}.json", workdir.to_json(session))
    stop.check()
    return whole

  def _finish(self, plan: Plan, needed: int) -> bool:
    """What is derived from the shards, by one process at a time: another may have asked for more, or for less."""
    with owner_of(self.folder, self._runtime) as owner:
      if not owner.take("metadata"):
        return False
      if self._manifest_images() < plan.size(needed):
        self._write_sheet()
        dataset.write_metadata(self.folder, self._set, plan, needed, self._labels)
      records.update(self.folder, self._record())
    return True

  def first(self, n: int) -> list[dict[str, Any]]:
    """The first n images of each class among those that are there, in plan order; fewer where there are fewer."""
    rows, left = [], [n] * len(self._labels)
    places = itertools.islice(
      (row for i in shards.landed(self.folder) for row in self.read_shard(i)), n * len(self._labels)
    )
    for row in places:  # sample by sample of all classes: further back there are none of the first n
      if left[row["label"]]:
        left[row["label"]] -= 1
        rows.append(row)
    return rows

  def _write_sheet(self) -> None:
    columns = min(_SHEET_COLUMNS, self._target)
    rows: list[list[bytes]] = [[] for _ in self._labels.ids]
    for row in self.first(columns):
      rows[row["label"]].append(row["image"])
    named = [(f"{i}  {n}", r) for i, n, r in zip(self._labels.ids, self._labels.names, rows, strict=True)]
    title = f"{self._set}: the first {columns} images of each class, guidance {self.fields['guidance']}"
    workdir.replace_bytes(self.folder / SHEET, contact_sheet.draw(named, title))


@functools.lru_cache(maxsize=1)  # the parameters of one generator at a time
def _loaded(folder: Path, dtype: str) -> tuple[StableDiffusion, Any]:
  _loaded.cache_clear()  # let go of the one before, and of the drawers that hold it
  _drawer.cache_clear()
  generator = StableDiffusion(folder, dtype)
  return generator, generator.load_params(devices.local_mesh())


@functools.lru_cache(maxsize=4)  # sets that differ in guidance or prompts share a compiled program
def _drawer(
  folder: Path, dtype: str, setting: Setting, per_device_batch: int, parents: Parents | None
) -> Drawer:
  generator, params = _loaded(folder, dtype)
  parent = parents.pixels if parents else None
  return Drawer(generator, params, setting, devices.local_mesh(), per_device_batch, parent)
