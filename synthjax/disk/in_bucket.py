"""What workdir.py does, where the workdir is in an object store. Nothing is in the making there: a put appears whole."""

from __future__ import annotations

import contextlib
import shutil
import time
from pathlib import Path

from etils import epath

from synthjax.disk import bucket, cached, drafts, objects
from synthjax.disk.bucket import BucketPath, Changed, Exists, StoreFault
from synthjax.runtime.errors import UserError

_PROBE_SECONDS = 3600.0  # after which one that is there was left by a dead process


def open_root(url: str, probe_name: str) -> BucketPath:
  """Refuses a store that does not let exactly one of two puts win: all else rests on it."""
  root = BucketPath(url.rstrip("/"))
  if len(root.parts) < 2:
    raise UserError(
      f"workdir {url} names no bucket; give --workdir {url.partition('://')[0]}://BUCKET/FOLDER"
    )
  probe = drafts.draft_of(root / probe_name)
  try:
    with objects.impatient():
      first = bucket.put(probe, b"", "create")
      fault = _allows(probe, "create", Exists) or _allows_old(probe, first)
      bucket.remove(probe)
  except StoreFault as e:
    raise UserError(
      f"workdir {url}: {e.why}; give another --workdir, or see to the bucket's name, region and endpoint, and to the credentials"
    ) from e
  if fault:
    raise UserError(
      f"workdir {url}: the store {fault}, so processes cannot share it; use one that honours conditional puts"
    )
  bucket.set_root(root)
  cached.sweep()
  return root


def _allows(path: BucketPath, mode: object, refusal: type[Exception]) -> str:
  try:
    bucket.put(path, b"2", mode)
  except refusal:
    return ""
  return (
    "lets an object be created twice"
    if refusal is Exists
    else "replaces an object that is not the one that was read"
  )


def _allows_old(path: BucketPath, first: bucket.Version) -> str:
  try:
    bucket.put(path, b"1", first.as_mode())
  except Changed:
    return "does not replace an object that is the one that was read"
  return _allows(path, first.as_mode(), Changed)


def publish(made: epath.Path, final: BucketPath) -> bool:
  file = Path(made)
  try:
    version = bucket.put(final, file, "create")
  except Exists:
    file.unlink(missing_ok=True)
    return False
  cached.adopt(final, file, version)
  return True


def publish_bytes(final: BucketPath, data: bytes) -> bool:
  try:
    bucket.put(final, data, "create")
  except Exists:
    return False
  return True


def replace_bytes(final: BucketPath, data: bytes, always: bool) -> None:
  """Only of the one that was read: who was stopped for long in between looks whether what it writes is still its own."""
  while True:
    try:
      before, version = bucket.read_now(final)
    except FileNotFoundError:
      before, version = None, None
    if before == data and not always:
      return
    try:
      bucket.put(final, data, version.as_mode() if version else "create")
      return
    except (Exists, Changed):
      drafts.check_again()


def replace_folder(made: Path, final: BucketPath) -> None:
  """Object by object, in the order in which they were written: for what nobody reads before the last one, or another file,
  says that it is whole."""
  written = sorted(
    (path for path in made.rglob("*") if path.is_file()), key=lambda path: path.stat().st_mtime_ns
  )
  files = {str(path.relative_to(made)): path for path in written}
  for name, path in files.items():
    bucket.put(final / name, path)
  for name in bucket.below(final).keys() - files.keys():
    bucket.remove(final / name)
  shutil.rmtree(made)


def create_exclusive(path: BucketPath, text: str) -> bool:
  """The answer to a put that was done may be lost, and the put repeated: a text that is ours alone says so."""
  try:
    bucket.put(path, text.encode(), "create")
  except Exists:
    with contextlib.suppress(FileNotFoundError):
      return bool(text) and bucket.read_now(path)[0] == text.encode()
    return False
  return True


def touch(path: BucketPath) -> float:
  bucket.put(path, b"")
  found = bucket.head(path)
  return found.modified if found else time.time()


def modified(path: BucketPath) -> float | None:
  found = bucket.entry(path)
  return found.modified if found else None


def sweep_probes(root: BucketPath, probe_name: str) -> None:
  """Of processes that died over them."""
  here, _ = bucket.listing(root)
  for name, found in here.items():
    if name.startswith(f".{probe_name}.") and found.modified < time.time() - _PROBE_SECONDS:
      bucket.remove(root / name)
