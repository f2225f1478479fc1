"""Stage prompts: a strategy's prompt list, as `prompts/<list>/prompts.jsonl`."""

from __future__ import annotations

import functools
import hashlib
import sys
from collections.abc import Iterable
from typing import Self

from etils import epath

from synthjax.disk import checksums
from synthjax.disk.checksums import Fault
from synthjax.labels.spaces import LabelSpace
from synthjax.products.base import DONE, MISSING, Product, Status, Study, file_faults
from synthjax.prompts import by_model, strategies, writers
from synthjax.runtime.errors import UserError
from synthjax.runtime.stopping import Stop
from synthjax.spec.study import StudySpec
from synthjax.store import records


class PromptList(Product):
  stage = "prompts"

  def __init__(self, config: StudySpec, root: epath.Path, name: str, labels: LabelSpace):
    self.list_name, self.name, self._folder = name, f"prompts/{name}", root / "prompts" / name
    self.labels = labels
    self._fields, self._runtime = config.prompts[name], config.runtime
    self._read: list[strategies.Prompt] | None = None

  @classmethod
  def wanted(cls, spec: StudySpec) -> Iterable[tuple[str, ...]]:
    return ((name,) for name in spec.prompts if cls.describes(spec, name))

  @classmethod
  def describes(cls, spec: StudySpec, *key: str) -> bool:
    own = spec.prompts[key[0]]
    return own.strategy != "mix" and not by_model.asks(own)

  @classmethod
  def declare(cls, study: Study, *key: str) -> Self:
    (name,) = key
    return cls(study.spec, study.root, name, study.label_space(study.spec.prompts[name].labels))

  def check(self) -> None:
    strategies.check(self._fields, self.labels, f"config.{self.name.replace('/', '.')}")
    if self._fields.strategy in ("file", "captions") and not self._file.exists():
      strategies.write(self._fields, self.labels)  # a wrong line is found now, not after hours of training

  @property
  def writer(self) -> str:
    """That its field names, or stands for."""
    return writers.name_of(self._fields, self.labels)

  @property
  def written_by(self) -> str:
    """What pages and rows call its writer: `LE: words`, so that nobody takes word lists for a language model; else ""."""
    return "LE: words" if (self._fields.strategy, self.writer) == ("LE", "words") else ""

  @property
  def _unit(self) -> str:
    return f"prompts ({self.written_by})" if self.written_by else "prompts"

  @property
  def _file(self) -> epath.Path:
    return self.folder / "prompts.jsonl"

  @functools.cached_property
  def _wanted(self) -> records.Record:
    fields = self._fields
    runtime = {"file": fields.file} if fields.file else {}
    return records.Record(self.name, strategies.identity(fields, self.labels), runtime=runtime)

  def _status(self) -> Status:
    found = records.compare(self.folder, self._wanted)
    if found is None or not self._file.exists():
      return Status(MISSING, unit=self._unit)
    n = sum(p.repeat for p in self.read())
    return Status(DONE, n, n, self._unit, bytes=self._file.stat().length)

  def make(self, stop: Stop) -> bool:
    del stop
    if self.status().state == DONE:
      return True
    written = strategies.write(self._fields, self.labels)  # before anything is on disk
    for note in written.notes:
      print(f"{self.name}: {note}", file=sys.stderr)
    records.settle(self.folder, self._wanted)
    checksums.publish(self._file, "".join(p.to_line() + "\n" for p in written.prompts).encode())
    return True

  def read(self) -> list[strategies.Prompt]:
    if not self._file.exists():
      raise UserError(f"{self.name} is missing; add prompts to --stages")
    if self._read is None:  # published once, and never changed
      data = checksums.read(self._file, self.name)
      with checksums.parsing(self._file, self.name):
        self._read = strategies.read_list(data.decode())
    return self._read

  def descriptions(self) -> dict[str, str]:
    """Which thing each class is, for lists that are described by this one."""
    found = {p.class_id: p.parts["description"] for p in reversed(self.read()) if "description" in p.parts}
    if missing := [c for c in self.labels.ids if c not in found]:
      raise UserError(
        f"{self.name} describes no class {strategies.some(missing)}; lists of strategy LAR and gloss describe classes"
      )
    return found

  def faults(self) -> list[Fault]:
    found = file_faults(self.folder)
    records.compare(self.folder, self._wanted)
    return found

  def content_hash(self) -> str:
    """What depends on the list records this."""
    return hashlib.sha256(self._file.read_bytes()).hexdigest()
