"""metrics.jsonl and TensorBoard: each step once, also after a resume. They have a checksum once they are closed."""

from __future__ import annotations

import json

import tensorboardX
from etils import epath

from synthjax import checksums, workdir

FILE = "metrics.jsonl"
_EVENTS = "events.out.tfevents.*"


class Metrics:
  """Appends rows `{"step": n, ...}`. On opening, rows beyond the checkpoint that training goes on from are dropped."""

  def __init__(self, folder: epath.Path, step: int, writes: bool = True):
    self._file = self._events = None
    if not writes:  # another one of the joined processes does
      return
    folder.mkdir(parents=True, exist_ok=True)
    self._folder, path = folder, folder / FILE
    checksums.uncover(path)
    workdir.replace_bytes(
      path, "".join(line for line in _lines(path) if json.loads(line)["step"] <= step).encode()
    )
    self._file = path.open("a")
    self._events = tensorboardX.SummaryWriter(str(folder), purge_step=step + 1, write_to_disk=True)

  def __enter__(self) -> Metrics:
    return self

  def __exit__(self, *_: object) -> None:
    if self._file:
      self._file.close()
      self._events.close()
      for name in (FILE, *workdir.names(self._folder, _EVENTS)):
        if not checksums.is_covered(self._folder / name):
          checksums.cover(self._folder / name)

  def write(self, step: int, values: dict[str, float]) -> None:
    if not self._file:
      return
    self._file.write(json.dumps({"step": step, **values}) + "\n")
    self._file.flush()
    for name, value in values.items():
      self._events.add_scalar(name, value, step)


def _lines(path: epath.Path) -> list[str]:
  """Whole lines: a death may have cut the last one."""
  if not path.exists():
    return []
  return [line + "\n" for line in path.read_text().split("\n")[:-1]]


def read(folder: epath.Path) -> list[dict[str, float]]:
  return [json.loads(line) for line in _lines(folder / FILE)]
