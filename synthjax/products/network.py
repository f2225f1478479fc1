"""Stage train: the small world's own networks, as `networks/<name>`, with `weights/` in the layout of real checkpoints.

What a generator is made from are networks of this study, or parts of the one that ships: `embedded:generator`. How each
kind is trained, and the files of its weights, stand in learning/small_networks.py.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Self

from etils import epath

from synthjax.disk import checksums, drafts, workdir
from synthjax.disk.checksums import Fault
from synthjax.labels.spaces import LabelSpace
from synthjax.learning import rates, small_networks
from synthjax.learning.loop import Pace, train
from synthjax.learning.small_networks import SmallNetwork
from synthjax.products.base import DONE, MISSING, STALE, Product, Status, Study, file_faults
from synthjax.runtime import residents
from synthjax.runtime.errors import UserError
from synthjax.runtime.stopping import Stop
from synthjax.small_world import weights as embedded
from synthjax.spec.fields import OF_NETWORKS
from synthjax.spec.study import StudySpec
from synthjax.store import corrections, records
from synthjax.weights import clean_text, read

_RESULT, _WEIGHTS = "result.json", "weights"
_SHIPPED = "embedded:"


class Network(Product):
  stage = "train"

  def __init__(
    self,
    config: StudySpec,
    root: epath.Path,
    name: str,
    labels: LabelSpace,
    networks: Mapping[str, Network] = MappingProxyType({}),
  ):
    """`networks` has those that it may be made from."""
    self.name, self._folder = f"networks/{name}", root / "networks" / name
    self._root, self._runtime = root, config.runtime
    self._fields = config.networks[name]
    self._labels = labels
    self.inputs = tuple(
      networks[name] for f in self._made_from if (name := getattr(self._fields, f)) in networks
    )

  def check_devices(self) -> None:
    self._needs_one_process()

  @classmethod
  def wanted(cls, spec: StudySpec) -> Iterable[tuple[str, ...]]:
    return ((name,) for name in spec.networks)

  @classmethod
  def declare(cls, study: Study, *key: str) -> Self:
    (name,) = key
    own, known = study.spec.networks[name], study.spec.networks
    fields = OF_NETWORKS if own.task == "denoise" else ()
    others = {other: study.get(Network, other) for f in fields if (other := getattr(own, f)) in known}
    return cls(study.spec, study.root, name, study.label_space(own.labels), others)

  @property
  def weights(self) -> Path:
    """On this machine."""
    return workdir.local_folder(self.folder / _WEIGHTS)

  def _other(self, field: str) -> Path | None:
    """The weights of the network that a field names."""
    name = getattr(self._fields, field)
    if name.startswith(_SHIPPED):
      return embedded.folder(name) / ("vae" if field == "autoencoder" else "")
    return workdir.local_folder(self._root / "networks" / name / _WEIGHTS) if name else None

  @property
  def _made_from(self) -> tuple[str, ...]:
    """The fields that name other networks."""
    return OF_NETWORKS if self._fields.task == "denoise" else ()

  @property
  def _others(self) -> dict[str, Path]:
    """All networks that this one is made from, by the fields that name them."""
    return {f: path for f in self._made_from if (path := self._other(f))}

  def _is_ready(self) -> bool:
    """Weights of another network that is to be trained further are not those to begin with."""
    return all(network.status().state == DONE for network in self.inputs) and all(
      path.exists() for path in self._others.values()
    )

  def _record(self) -> records.Record:
    identity = self._fields.identity()
    del identity["labels"]  # the classes themselves say it
    for field in ("text_encoder", "begin_with"):  # the inputs say it
      del identity[field]
    identity |= {"class_ids": self._labels.ids, "class_names": self._labels.names}
    others = dict(self._labels.also_called)
    if others:
      identity["also_called"] = others
    reads = self._fields.task != "autoencode"  # captions, in which nothing but the names is the user's
    is_altered = reads and any(
      map(clean_text.is_altered, [*self._labels.names, *itertools.chain(*others.values())])
    )
    identity |= corrections.applied(clean_text=is_altered)
    inputs = {
      name
      if (name := getattr(self._fields, field)).startswith(_SHIPPED)
      else f"networks/{name}": read.folder_digest(path, (".", "unet", "text_encoder"))
      for field, path in self._others.items()
    }
    return records.Record(self.name, identity, growth={"steps": self._fields.steps}, inputs=inputs)

  def _finished_steps(self) -> int:
    """Without its weights a network is to be written again, from its last checkpoint."""
    path = self.folder / _RESULT
    whole = path.exists() and (self.folder / _WEIGHTS).is_dir()
    return checksums.read_json(path, "result", {"steps": int})["steps"] if whole else 0

  def _status(self) -> Status:
    begun, done, want = (self.folder / "record.json").exists(), self._finished_steps(), self._fields.steps
    if begun and (grown := next((n for n in self.inputs if n.status().state == STALE), None)):
      raise UserError(
        f"{self.name} was made from {grown.name}, which is to be trained further; put its steps back, or give it or "
        f"{self.name} another name, or remove {self.folder}"
      )
    if begun and self._is_ready():
      records.compare(self.folder, self._record())
    state = DONE if done >= want else STALE if done else MISSING
    return Status(state, min(done, want), want, "steps", seconds=lambda: self._seconds(want - done))

  def _seconds(self, steps: int) -> float:
    rate = rates.of_training(self.folder) if steps > 0 else 0.0
    return steps * self._fields.batch / rate if rate else 0.0

  def make(self, stop: Stop) -> bool:
    if self.status().state == DONE:
      return True
    if not self._is_ready():
      return False  # another process is still training what this one is made from
    with self.claimed("run", stop) as owner:
      if owner is None:
        return False
      if self.status().state == DONE:
        return True
      records.settle(self.folder, self._record())
      residents.begin(self.uses)
      fields = self._fields
      making = workdir.making(self.folder)
      tokenizer = making / "tokenizer" if making == self.folder else drafts.draft_of(making / "tokenizer")
      network = SmallNetwork(self.name, fields, self._labels, self._others, Path(tokenizer))
      task, batch_at, export = small_networks.build(network)
      recipe = small_networks.recipe(fields)
      pace = Pace(save_seconds=self._runtime.save_seconds, log_seconds=self._runtime.log_seconds)
      state = train(
        task, batch_at, recipe, self.folder, name=self.name, batch_size=fields.batch, pace=pace, stop=stop
      )
      draft = drafts.draft_of(making / _WEIGHTS)
      export(state, Path(draft))
      for folder in (draft, tokenizer):
        for path in checksums.files(folder):
          checksums.cover(path)
      stop.look()
      workdir.replace_folder(draft, self.folder / _WEIGHTS)
      records.update(self.folder, self._record())
      # Last: nobody looks at a network again that has its result.
      checksums.replace(self.folder / _RESULT, workdir.to_json({"steps": recipe.steps}))
    return True

  def faults(self) -> list[Fault]:
    """Without its result a network is exported again, from its last checkpoint."""
    found = [Fault(fault, *{*fault.files, self.folder / _RESULT}) for fault in file_faults(self.folder)]
    if self._is_ready():
      records.compare(self.folder, self._record())
    return found
