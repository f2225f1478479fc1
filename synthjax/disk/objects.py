"""Objects below a URL of an object store, `s3://`, `gs://` or `az://`: listed, and fetched to files. Needs `pip install synthjax[buckets]`.

Credentials, endpoints and regions are what the clouds' own tools use: environment variables, instance identities, and so on.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fnmatch
import functools
import os
import re
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from etils import epath

from synthjax.disk import drafts, faults
from synthjax.runtime.errors import UserError, chain

if TYPE_CHECKING:
  from obstore.store import ObjectStore

SCHEMES = ("s3://", "gs://", "az://")
_BLOCK = 8 << 20
_TRIES = 3  # of one object: a connection may break in the middle of it
_GLOB = "*?["
_WAITS = (0.5, 2.0, 5.0)
_PATIENT: Any = {}  # obstore's own: 3 minutes
_IMPATIENT: Any = {"retry_config": {"max_retries": 2, "retry_timeout": timedelta(seconds=10)}}


class Unreachable(Exception):
  """A store that does not answer, refuses, or has no such bucket; in a few words."""


@dataclasses.dataclass(frozen=True)
class Object:
  """`name`: below the URL, with / between folders."""

  name: str
  size: int
  tag: str  # another one is another content


def is_url(text: str) -> bool:
  return text.startswith(SCHEMES)


@dataclasses.dataclass(frozen=True)
class Place:
  """What a URL names: all objects below a folder, one object, or those that a pattern fits."""

  url: str

  @property
  def folder(self) -> str:
    """The URL as far as it names no pattern."""
    head, parts = self.url.split("://", 1)
    kept: list[str] = []
    for part in parts.split("/"):
      if any(c in part for c in _GLOB):
        break
      kept.append(part)
    return f"{head}://{'/'.join(kept)}".rstrip("/")

  @property
  def pattern(self) -> str:
    return self.url[len(self.folder) :].strip("/")

  @property
  def name(self) -> str:
    """Of the folder: the last of its parts."""
    return PurePosixPath(self.folder.split("://", 1)[1]).name

  def objects(self) -> tuple[list[Object], bool]:
    """Sorted by name; and whether the URL is that of a single one, whose name is then the last part of it."""
    store = open_store(self.folder)
    with _answering(self.url):
      found = sorted(_listed(store, ""), key=lambda o: o.name)
    if self.pattern:
      return [o for o in found if fnmatch.fnmatchcase(o.name, self.pattern)], False
    if found:
      return found, False
    above, _, name = self.folder.rpartition("/")
    if above.endswith("/"):  # the bucket itself, and nothing is in it
      return [], False
    with _answering(self.url):
      return _single(open_store(above), name), True


def fetch(folder: str, one: Object, target: Path) -> None:
  """The object below the URL of a folder, whole, under a name that is its own once it is."""
  import obstore

  store = open_store(folder)
  target.parent.mkdir(parents=True, exist_ok=True)
  for left in reversed(range(_TRIES)):
    draft = drafts.draft_of(target)
    try:
      with _answering(f"{folder}/{one.name}"):
        save(obstore.get(store, one.name), draft)
        if (size := draft.stat().st_size) != one.size:
          raise Unreachable(f"{folder}/{one.name}: {size:,} of {one.size:,} bytes came")
      draft.replace(target)
      return
    except Unreachable:
      if not left:
        raise
    finally:
      draft.unlink(missing_ok=True)


def save(got: Any, file: Path) -> None:
  """Writes what a get returned, block by block."""
  with faults.needing_room(epath.Path(file.parent)), open(file, "wb") as out:
    for block in got.stream(min_chunk_size=_BLOCK):
      out.write(block)


def open_store(url: str, is_impatient: bool = False) -> ObjectStore:
  try:
    from obstore.store import from_url
  except ImportError:
    raise UserError(f"{url}: reading object stores needs `pip install synthjax[buckets]`") from None
  with _answering(url):
    return from_url(url, **(_IMPATIENT if is_impatient else _PATIENT))


_impatient: ContextVar[bool] = ContextVar("impatient", default=False)


@contextlib.contextmanager
def impatient() -> Iterator[None]:
  """Meanwhile a store that does not answer is given up in seconds: at the start, a name is wrong rather than a network."""
  token = _impatient.set(True)
  try:
    yield
  finally:
    _impatient.reset(token)


@functools.lru_cache(maxsize=64)
def _connection(bucket: str, pid: int, is_impatient: bool) -> Any:
  del pid  # a child of this process has connections of its own
  return open_store(bucket, is_impatient)


def waits() -> tuple[float, ...]:
  """Seconds before each further try of what broke in the middle."""
  return () if _impatient.get() else _WAITS


def connection(url: str) -> ObjectStore:
  """As `open_store`; the same one again in the same process."""
  return _connection(url, os.getpid(), _impatient.get())


def _listed(store: Any, prefix: str) -> Iterator[Object]:
  """Names that lead out of the folder are passed over, as no file can have them; so are marks of empty folders."""
  import obstore

  for page in obstore.list(store, prefix or None):
    for meta in page:
      name = str(meta["path"])
      parts = name.split("/")
      if not name.endswith("/") and not {"", ".", ".."} & set(parts):
        yield Object(name, int(meta["size"]), str(meta["e_tag"] or meta["last_modified"]))


def _single(store: Any, name: str) -> list[Object]:
  import obstore

  try:
    meta = obstore.head(store, name)
  except FileNotFoundError:
    return []
  return [Object(name, int(meta["size"]), str(meta["e_tag"] or meta["last_modified"]))]


@contextlib.contextmanager
def _answering(url: str) -> Iterator[None]:
  """Makes a few words of what a store, or the way to it, raises."""
  try:
    yield
  except (Unreachable, UserError):
    raise
  except Exception as e:
    if not is_of_store(e):
      raise
    raise Unreachable(f"{url}: {words(e)}") from e


def is_of_store(error: BaseException) -> bool:
  return any(type(e).__module__.startswith("obstore") for e in chain(error)) or isinstance(
    error, FileNotFoundError | PermissionError | ValueError
  )


def words(error: BaseException) -> str:
  """Of many lines of a library in Rust: what the server says, or else the first."""
  text = str(error)
  status = re.search(r"status code: (\d{3}[A-Za-z ]*)", text)
  said = [found[1] for name in ("Code", "Message") if (found := re.search(rf"<{name}>([^<\n]+)", text))]
  if status and said:
    return f"{status[1].strip()}: {', '.join(said)}"[:300]
  first = next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)
  return first[:300]


def total(objects: Iterable[Object]) -> int:
  return sum(o.size for o in objects)
