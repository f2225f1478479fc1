"""Data sets of object stores on this machine: fetched once, read as files, the oldest removed where room is short.

    CACHE/<hash>/objects.json       what was fetched: names, sizes and tags; written last
    CACHE/<hash>/fetching.json      likewise, while they are fetched: a death costs the objects in hand alone
    CACHE/<hash>/data/NAME/...      the objects, NAME being the last part of the URL
    CACHE/<hash>.lock               whoever reads the files holds it with others, whoever changes them alone; its time is the last use

CACHE is `$SYNTHJAX_DATA`, or ~/.cache/synthjax/data; `$SYNTHJAX_DATA_GB` limits it. Processes of a machine share it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

from synthjax.disk import drafts, objects
from synthjax.disk.objects import Object, Place
from synthjax.runtime.errors import UserError
from synthjax.runtime.progress import Progress, note_once

_MANIFEST, _UNFINISHED = "objects.json", "fetching.json"
_AT_ONCE = 16
_LOOK_SECONDS = 1.0
_GB = 1e9
_MB = 1_000_000

_READ: dict[str, tuple[Path, IO[str]]] = {}  # by URL and part: what this process has looked at, and its lock


class NotFetched(Exception):
  """So many bytes of a URL would have to be fetched."""

  def __init__(self, files: int, size: int):
    super().__init__(files, size)
    self.files, self.size = files, size


def local(
  url: str, wanted: Callable[[str], bool] = lambda name: True, part: str = "", fetches: bool = True
) -> Path:
  """The folder or file that a URL names, on this machine. `part` names what `wanted` chooses of it.

  A process asks the store once. Raises objects.Unreachable; and NotFetched in the place of fetching what is not here.
  """
  key = f"{url}\0{part}"
  if key not in _READ:
    _READ[key] = _read(url, wanted, part, fetches)
  return _READ[key][0]


def _read(url: str, wanted: Callable[[str], bool], part: str, fetches: bool) -> tuple[Path, IO[str]]:
  place = Place(url)
  found, is_one = place.objects()
  found = [o for o in found if wanted(o.name)]
  if not found:
    raise UserError(f"{url}: there is no object below it{f' for {part}' if part else ''}; fix the URL")
  cache = cache_folder()
  folder = cache / hashlib.sha256(f"{url}\0{part}".encode()).hexdigest()[:16]
  data = folder / "data" if is_one else folder / "data" / place.name
  source = place.folder.rpartition("/")[0] if is_one else place.folder
  result = data / found[0].name if is_one else data / place.pattern if place.pattern else data
  if not fetches and not _is_fetched(folder, found):
    raise NotFetched(len(found), objects.total(found))
  while True:
    lock = _waited_for(folder, fcntl.LOCK_SH, url)
    if _is_fetched(folder, found):
      os.utime(lock.name)
      return result, lock
    lock.close()
    with _waited_for(folder, fcntl.LOCK_EX, url):
      if not _is_fetched(folder, found):
        _fetch(url, source, found, folder, data)


def _fetch(url: str, source: str, found: Sequence[Object], folder: Path, data: Path) -> None:
  before = {o.name: o for o in _manifest(folder) or _manifest(folder, _UNFINISHED) or ()}
  wanted = {o.name: o for o in found}
  for name in (name for name, o in before.items() if wanted.get(name) != o):
    (data / name).unlink(missing_ok=True)
  _write(folder, _UNFINISHED, url, found)
  (folder / _MANIFEST).unlink(missing_ok=True)  # until all is there again
  missing = [o for o in found if before.get(o.name) != o or not (data / o.name).is_file()]
  _make_room(url, objects.total(missing), folder)
  progress = Progress(f"fetching {url}", objects.total(found) // _MB, unit="MB")
  done = objects.total(found) - objects.total(missing)
  with contextlib.closing(progress), ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="fetch") as pool:
    progress.seen(done // _MB)

    def one(o: Object) -> int:
      objects.fetch(source, o, data / o.name)
      return o.size

    for size in pool.map(one, missing):
      done += size
      progress.seen(done // _MB)
  _write(folder, _MANIFEST, url, found)
  (folder / _UNFINISHED).unlink(missing_ok=True)


def _write(folder: Path, name: str, url: str, found: Sequence[Object]) -> None:
  draft = drafts.draft_of(folder / name)
  draft.write_text(json.dumps({"url": url, "objects": [dataclasses.asdict(o) for o in found]}))
  draft.replace(folder / name)


def _manifest(folder: Path, name: str = _MANIFEST) -> list[Object] | None:
  try:
    return [Object(**o) for o in json.loads((folder / name).read_text())["objects"]]
  except (OSError, ValueError, KeyError, TypeError):  # none, or of another release: fetched again
    return None


def _is_fetched(folder: Path, found: Sequence[Object]) -> bool:
  return _manifest(folder) == list(found)


def cache_folder() -> Path:
  return Path(os.environ.get("SYNTHJAX_DATA") or "~/.cache/synthjax/data").expanduser()


def limit() -> float:
  text = os.environ.get("SYNTHJAX_DATA_GB") or "inf"
  with contextlib.suppress(ValueError):
    if (gb := float(text)) > 0:
      return gb * _GB
  raise UserError(f"SYNTHJAX_DATA_GB is {text!r}; it is a number above 0, or is not set")


def _make_room(url: str, need: int, own: Path) -> None:
  """Removes what was used longest ago, of what nobody reads."""
  cache, most = own.parent, limit()
  sizes = {path.parent: objects.total(_manifest(path.parent) or ()) for path in cache.glob(f"*/{_MANIFEST}")}
  sizes.pop(own, None)
  used = sum(sizes.values())

  def fits() -> bool:
    return used + need <= most and need <= shutil.disk_usage(cache).free

  for folder in sorted(sizes, key=_last_use):
    if fits():
      return
    with contextlib.suppress(BlockingIOError), _locked(folder, fcntl.LOCK_EX | fcntl.LOCK_NB):
      shutil.rmtree(folder, ignore_errors=True)
      used -= sizes[folder]
  if not fits():
    free = min(most - used, shutil.disk_usage(cache).free)
    raise UserError(
      f"{url}: {need / _GB:.3g} GB are to be fetched, and {cache} has room for {max(free, 0) / _GB:.3g} GB; raise "
      "SYNTHJAX_DATA_GB, free some room, or name a larger disk's folder, SYNTHJAX_DATA"
    )


def _last_use(folder: Path) -> float:
  return _lock_file(folder).stat().st_mtime if _lock_file(folder).exists() else 0.0


def _lock_file(folder: Path) -> Path:
  return folder.with_name(f"{folder.name}.lock")


def _locked(folder: Path, how: int) -> IO[str]:
  """Held until it is closed, or the process ends."""
  folder.mkdir(parents=True, exist_ok=True)
  file = open(_lock_file(folder), "a")  # noqa: SIM115
  try:
    fcntl.flock(file, how)
  except BaseException:
    file.close()
    raise
  return file


def _waited_for(folder: Path, how: int, url: str) -> IO[str]:
  while True:
    with contextlib.suppress(BlockingIOError):
      return _locked(folder, how | fcntl.LOCK_NB)
    note_once(f"waiting for other processes that {'fetch' if how == fcntl.LOCK_SH else 'read'} {url}")
    time.sleep(_LOOK_SECONDS)
