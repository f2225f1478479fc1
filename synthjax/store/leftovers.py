"""What processes that died left in a workdir, removed when the next one starts: of a finished product nobody else does.

Looked for where products make files, by the names that they give to what is temporary; a set's own files are listed and
not read, and an export's neither. Nothing goes that a living process may hold, on this machine or another one.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable, Iterator

from etils import epath

from synthjax.disk import bucket, drafts, in_bucket, workdir
from synthjax.disk.bucket import BucketPath
from synthjax.disk.listing import Listing, listing
from synthjax.runtime.errors import UserError
from synthjax.spec.fields import RuntimeFields
from synthjax.store import export_folder, kept
from synthjax.store.claims import Owner

KINDS = (
  "prompts",
  "images",
  "embeddings",
  "keep",
  "metrics",
  "runs",
  "networks",
  "generators",
  "weights",
  "report",
  "benchmark",
)
_KEPT = "keep"  # the kind that has lists
ROOT_FILES = ("results.jsonl", "matrix.csv", "predictions.csv", workdir.PROBE)
_ORBAX = ".orbax-checkpoint-tmp"  # in the name of a checkpoint until it is whole
_OF_ORBAX = ("checkpoints", "best", "checkpoints.damaged", "best.damaged")
_DEPTH = 5  # runs/<hash>/group-00000/phase-0/checkpoints


def sweep(roots: Iterable[epath.Path], runtime: RuntimeFields) -> None:
  """Of studies. Several processes may do so at once, while others are at work. What cannot be removed stays."""
  for root in roots:
    with contextlib.suppress(OSError):
      _sweep(root, runtime)


def _sweep(root: epath.Path, runtime: RuntimeFields) -> None:
  if isinstance(root, BucketPath):
    return _sweep_bucket(root, runtime)
  older_than = workdir.now(root) - runtime.stale_seconds
  for name in ROOT_FILES:
    drafts.sweep_drafts(root, older_than, of=name)
  drafts.sweep_drafts(root / export_folder.DEFAULT, older_than)
  for kind in KINDS:
    for place, there in _places(root / kind, _DEPTH):
      with contextlib.suppress(OSError):
        drafts.sweep_drafts(place, older_than, among=there.names)
        _sweep_place(root / kind, place, there, runtime)


def _sweep_bucket(root: BucketPath, runtime: RuntimeFields) -> None:
  """Claims alone, which one listing shows: nothing is in the making there."""
  in_bucket.sweep_probes(root, workdir.PROBE)
  below = bucket.below(root)
  products = {
    root / name.partition(f"/{workdir.WORKING}/")[0] for name in below if f"/{workdir.WORKING}/" in name
  }
  for product in sorted(products):
    with contextlib.suppress(OSError):
      _sweep_place(root / product.relative_to(root).parts[0], product, listing(product), runtime)


def _sweep_place(kind: epath.Path, place: epath.Path, there: Listing, runtime: RuntimeFields) -> None:
  checkpoints = [place / name for name in there.folders if _ORBAX in name]
  lists = kind.name == _KEPT and kept.LISTS in there.folders and _has_older(place)
  if not (checkpoints or lists or workdir.WORKING in there.names):
    return
  product, seconds = kind / place.relative_to(kind).parts[0] if checkpoints else place, runtime.stale_seconds
  with Owner(product, heartbeat_seconds=runtime.heartbeat_seconds, stale_seconds=seconds) as owner:
    _sweep_product(place, owner, lists, checkpoints)


def _sweep_product(place: epath.Path, owner: Owner, lists: bool, checkpoints: list[epath.Path]) -> None:
  if checkpoints and owner.is_alone():  # found before: who begins now has begun none of them
    for folder in checkpoints:
      shutil.rmtree(folder, ignore_errors=True)
  if lists and owner.take(kept.CLAIM):
    kept.sweep(place)
    owner.release(kept.CLAIM)
  owner.take_all_from_dead()


def _places(folder: epath.Path, depth: int) -> Iterator[tuple[epath.Path, Listing]]:
  """A folder and those in it, without checkpoints' and what is hidden. One may be a link to where there is room."""
  there = listing(folder)
  yield folder, there
  if depth and folder.name not in _OF_ORBAX:
    for name in (*there.folders, *(there.links if depth == _DEPTH else ())):
      yield from _places(folder / name, depth - 1)


def _has_older(place: epath.Path) -> bool:
  with contextlib.suppress(UserError, OSError):  # what is wrong with it is reported when it is read
    return bool(kept.older(place))
  return False
