"""Stage prompts: a strategy's prompt list, as `prompts/<list>/prompts.jsonl`."""

from __future__ import annotations

import functools
import hashlib
import sys
from pathlib import Path
from typing import Any

from etils import epath

from synthjax.disk import checksums, documents
from synthjax.disk.checksums import Fault
from synthjax.labels.spaces import LabelSpace
from synthjax.pages.inputs import Described
from synthjax.products.product import DONE, MISSING, Product, Status, file_faults
from synthjax.prompts import strategies
from synthjax.runtime.errors import UserError
from synthjax.runtime.stopping import Stop
from synthjax.spec.study import StudySpec
from synthjax.store import records

# The fields that decide what a strategy writes; the others may change without making another list.
_USED = {"B": (), "templates": (), "LE": ("writer", "draws", "per_class", "seed"), "file": ()}


class PromptList(Described):
  stage = "prompts"
  inputs: tuple[Product, ...] = ()

  def __init__(self, config: StudySpec, root: epath.Path, name: str, labels: LabelSpace):
    self.name, self.folder, self._labels = f"prompts/{name}", root / "prompts" / name, labels
    self._fields = config.prompts[name]
    self._read: list[strategies.Prompt] | None = None
    strategies.check(self._fields, labels, f"config.prompts.{name}")
    if self._fields.strategy == "file" and not self._file.exists():
      strategies.write(self._fields, labels)  # a wrong line is told now, and not after hours of stage train

  @property
  def _file(self) -> epath.Path:
    return self.folder / "prompts.jsonl"

  @functools.cached_property
  def _wanted(self) -> records.Record:
    fields, strategy = self._fields, self._fields.strategy
    given = fields.identity()
    identity: dict[str, Any] = {k: given[k] for k in ("strategy", *_USED.get(strategy, ())) if k in given}
    identity |= {"class_ids": self._labels.ids, "class_names": self._labels.names}
    if strategy in ("B", "LE"):
      identity["template"] = fields.template or self._labels.template
    if strategy == "templates":
      identity["templates"] = self._labels.templates
    runtime = {}
    if strategy == "file":
      runtime["file"] = fields.file
      identity["file_sha256"] = self._file_sha256()
    return records.Record(self.name, identity, runtime=runtime)

  def _file_sha256(self) -> str:
    file = Path(self._fields.file).expanduser()
    if not file.is_file():
      return ""
    data = documents.read_bytes(file, f"prompt file {file}", most=documents.MOST_OF_LINES)
    return hashlib.sha256(data).hexdigest()

  def status(self) -> Status:
    found = records.compare(self.folder, self._wanted)
    if found is None or not self._file.exists():
      return Status(MISSING, unit="prompts")
    n = sum(p.repeat for p in self.read())
    return Status(DONE, n, n, "prompts", bytes=self._file.stat().length)

  def make(self, stop: Stop) -> bool:
    del stop
    if self.status().state == DONE:
      return True
    written = strategies.write(self._fields, self._labels)  # before anything is on disk
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

  def faults(self) -> list[Fault]:
    found = file_faults(self.folder)
    records.compare(self.folder, self._wanted)
    return found

  def content_hash(self) -> str:
    """What depends on the list records this."""
    return hashlib.sha256(self._file.read_bytes()).hexdigest()
