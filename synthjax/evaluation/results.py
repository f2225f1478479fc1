"""Files of results: which examples of a test were right, and for what the others were taken. Compact, and read as written.

    <name>.npz     right       a bit an example, in the order of the test
                   cells       true class x K + named class of every pair that occurs, ascending
                   counts      how often each does
                   n, classes, loss_sum, among_five
    <name>.json    of older releases: the whole confusion as text, and no bits

A thousand classes and fifty thousand images take 40 to 80 kB, as they are mostly right or hardly; as text they took 9 MB.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import json

import numpy as np
from etils import epath

from synthjax.disk import checksums, snapshot, workdir
from synthjax.disk.checksums import Fault
from synthjax.evaluation.accuracy import Tally
from synthjax.runtime.errors import UserError

Array = np.ndarray
_ENDINGS = (".npz", ".json")  # of which the first is written
_KEPT = 1 << 11  # results that were read, of 40 to 80 kB at most


@dataclasses.dataclass(frozen=True)
class _Counts:
  """What a file says, as compact as it lies there: of a thousand classes a tally is 8 MB."""

  classes: int
  cells: Array
  counts: Array
  loss_sum: float
  among_five: int
  right_N: Array | None

  def tally(self) -> Tally:
    confusion = np.zeros(self.classes * self.classes, np.int64)
    confusion[self.cells] = self.counts
    square = confusion.reshape(self.classes, self.classes)
    return Tally(square, self.loss_sum, self.among_five, self.right_N)


def file_of(stem: epath.Path) -> epath.Path | None:
  """The file of the result named `stem`, whichever release wrote it; None where it is not there."""
  found = _found(stem)
  return found[0] if found else None


def publish(stem: epath.Path, tally: Tally) -> None:
  """A result that is there stays."""
  if file_of(stem) is None:
    stem.parent.mkdir(exist_ok=True)
    checksums.publish(_paths(stem)[0], _to_bytes(tally))


def read(stem: epath.Path, n: int) -> Tally:
  """Refused where it is not what was written, contradicts itself, or counts another number of examples than n."""
  path, stamp = _found(stem) or (_paths(stem)[0], None)
  return _checked(path, _counts(path, stamp), n)


def fault(stem: epath.Path, n: int) -> Fault | None:
  """For stage verify: what `read` would refuse, from reading every byte; a result that is not there is no fault."""
  path = file_of(stem)
  if path is None:
    return None
  try:
    _checked(path, _read(path), n)
  except UserError as e:
    return Fault(str(e), path)
  return None


def _checked(path: epath.Path, counts: _Counts, n: int) -> Tally:
  tally = counts.tally()
  if why := _contradiction(tally, n):
    raise UserError(f"result: {path} is damaged: {why}; remove it and run again")
  return tally


def _found(stem: epath.Path) -> tuple[epath.Path, workdir.Stamp] | None:
  """A status asks whether a result is there, and what reads it then asks whether it is still the same file."""

  def look() -> tuple[epath.Path, workdir.Stamp] | None:
    stamped = ((path, workdir.stamp(path)) for path in _paths(stem))
    return next(((path, stamp) for path, stamp in stamped if stamp), None)

  return snapshot.once((stem, "result"), look)


def _paths(stem: epath.Path) -> list[epath.Path]:
  return [stem.with_name(stem.name + ending) for ending in _ENDINGS]


def _contradiction(tally: Tally, n: int) -> str:
  right = int(np.trace(tally.confusion_KxK))
  if tally.n != n:
    return f"it counts {tally.n} examples of a test of {n}"
  if (tally.confusion_KxK < 0).any() or tally.among_five > n:
    return "a number in it cannot be"
  if tally.right_N is None:  # an older release's
    return ""
  if len(tally.right_N) != n or int(tally.right_N.sum()) != right:
    return f"{int(tally.right_N.sum())} of {len(tally.right_N)} examples are marked as right, and it counts {right}"
  return "" if tally.among_five >= right else f"{tally.among_five} are right among five, and {right} at once"


def _to_bytes(tally: Tally) -> bytes:
  assert tally.right_N is not None
  cells = np.flatnonzero(tally.confusion_KxK)
  buffer = io.BytesIO()
  np.savez_compressed(
    buffer,
    right=np.packbits(tally.right_N),
    cells=cells.astype(np.uint32),
    counts=tally.confusion_KxK.ravel()[cells].astype(np.uint32),
    n=tally.n,
    classes=len(tally.confusion_KxK),
    loss_sum=tally.loss_sum,
    among_five=tally.among_five,
  )
  return buffer.getvalue()


@functools.lru_cache(maxsize=_KEPT)  # a study's rows, its page and its summary each read all results
def _counts(path: epath.Path, stamp: workdir.Stamp | None) -> _Counts:
  del stamp  # another one is another file
  return _read(path)


def _read(path: epath.Path) -> _Counts:
  data = checksums.read(path, "result")
  with checksums.parsing(path, "result"):
    counts = _from_bytes(data) if path.suffix == _ENDINGS[0] else _from_json(data)
    counts.tally()  # raises where these cells are not of so many classes
  return counts


def _from_bytes(data: bytes) -> _Counts:
  with np.load(io.BytesIO(data)) as found:
    right = np.unpackbits(found["right"], count=int(found["n"])).astype(bool)
    return _Counts(
      classes=int(found["classes"]),
      cells=found["cells"],
      counts=found["counts"],
      loss_sum=float(found["loss_sum"]),
      among_five=int(found["among_five"]),
      right_N=right,
    )


def _from_json(data: bytes) -> _Counts:
  tally = Tally.from_json(json.loads(data))
  classes, cells = len(tally.confusion_KxK), np.flatnonzero(tally.confusion_KxK)
  counts = tally.confusion_KxK.ravel()[cells]
  return _Counts(classes, cells, counts, tally.loss_sum, tally.among_five, right_N=None)
