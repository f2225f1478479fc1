"""Files of results: which examples of a test were right, and for what the others were taken. Compact, and read as written.

    <name>.npz     right       a bit an example, in the order of the test
                   cells       true class x K + named class of every pair that occurs, ascending
                   counts      how often each does
                   n, classes, loss_sum, among_five
    <name>.json    of older releases: the whole confusion as text, and no bits

A thousand classes and fifty thousand images take 40 to 80 kB, as they are mostly right or hardly; as text they took 9 MB.
"""

from __future__ import annotations

import io
import json

import numpy as np
from etils import epath

from synthjax.disk import checksums
from synthjax.disk.checksums import Fault
from synthjax.evaluation.accuracy import Tally
from synthjax.runtime.errors import UserError

_ENDINGS = (".npz", ".json")  # of which the first is written


def file_of(stem: epath.Path) -> epath.Path | None:
  """The file of the result named `stem`, whichever release wrote it; None where it is not there."""
  return next((path for path in _paths(stem) if path.exists()), None)


def publish(stem: epath.Path, tally: Tally) -> None:
  """A result that is there stays."""
  if file_of(stem) is None:
    stem.parent.mkdir(exist_ok=True)
    checksums.publish(_paths(stem)[0], _to_bytes(tally))


def read(stem: epath.Path, n: int) -> Tally:
  """Refused where it is not what was written, contradicts itself, or counts another number of examples than n."""
  path = file_of(stem) or _paths(stem)[0]
  data = checksums.read(path, "result")
  with checksums.parsing(path, "result"):
    tally = _from_bytes(data) if path.suffix == _ENDINGS[0] else Tally.from_json(json.loads(data))
  if why := _contradiction(tally, n):
    raise UserError(f"result: {path} is damaged: {why}; remove it and run again")
  return tally


def fault(stem: epath.Path, n: int) -> Fault | None:
  """For stage verify: what `read` would refuse; a result that is not there is no fault."""
  path = file_of(stem)
  if path is None:
    return None
  try:
    read(stem, n)
  except UserError as e:
    return Fault(str(e), path)
  return None


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


def _from_bytes(data: bytes) -> Tally:
  with np.load(io.BytesIO(data)) as found:
    n, classes = int(found["n"]), int(found["classes"])
    confusion = np.zeros(classes * classes, np.int64)
    confusion[found["cells"]] = found["counts"]
    right = np.unpackbits(found["right"], count=n).astype(bool)
    square = confusion.reshape(classes, classes)
    return Tally(square, float(found["loss_sum"]), int(found["among_five"]), right)
