"""A workdir in an object store: paths below `s3://`, `gs://` or `az://`, and what is done with them.

An object appears whole, and a put can ask that its name be new, or that the object be the one that was read: all that several
processes share rests on these two. Folders are names with a / in them. Within one look (snapshot.py) names, sizes and times
come from one listing of the whole workdir, and what has not changed since it was read is not read again.
"""

from __future__ import annotations

import collections
import dataclasses
import errno
import fnmatch
import functools
import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from etils import epath
from etils.epath.stat_utils import StatResult

from synthjax.disk import objects, snapshot
from synthjax.disk.contents import Contents
from synthjax.runtime.errors import Unavailable, UserError

_REMEMBERED = 1 << 26  # bytes of small objects
_SINGLE_PUT = 1 << 32  # bytes: what is larger goes up in parts, and these put no condition

counts: collections.Counter[str] = collections.Counter()  # requests of this process, by kind


class StoreFault(Unavailable, OSError):
  """A store that does not answer, or refuses, for longer than is waited for. Heartbeats pass over it as over a disk's."""

  def __init__(self, path: BucketPath, why: str):
    super().__init__(f"{path}: {why}; run the same command again to go on")
    self.why = why


@dataclasses.dataclass(frozen=True)
class Version:
  """Of an object, as a put or a listing returned it."""

  e_tag: str | None
  version: str | None

  def as_mode(self) -> Any:
    return {k: v for k, v in dataclasses.asdict(self).items() if v is not None}


@dataclasses.dataclass(frozen=True)
class Entry:
  size: int
  modified: float  # by the store's clock
  version: Version


class BucketPath(epath.Path):
  """Like a path on a disk, for what products ask of one. What writes whole files of others' is in workdir.py."""

  def __str__(self) -> str:
    if not self.parts or self.parts[0][-1] != ":":  # relative to another
      return "/".join(self.parts)
    return f"{self.parts[0]}//{'/'.join(self.parts[1:])}"

  def __fspath__(self) -> str:
    return str(self)

  def __repr__(self) -> str:
    return f"BucketPath({str(self)!r})"

  @property
  def bucket(self) -> str:
    return f"{self.parts[0]}//{self.parts[1]}"

  @property
  def key(self) -> str:
    return "/".join(self.parts[2:])

  def absolute(self) -> BucketPath:
    return self

  def resolve(self, strict: bool = False) -> BucketPath:
    del strict
    return self

  def expanduser(self) -> BucketPath:
    return self

  def exists(self) -> bool:
    return entry(self) is not None or self.is_dir()

  def is_file(self) -> bool:
    return entry(self) is not None

  def is_dir(self) -> bool:
    objects_here, folders = listing(self)
    return bool(objects_here or folders)

  def iterdir(self) -> Iterator[BucketPath]:
    return (self / name for name in names(self))

  def glob(self, pattern: str) -> Iterator[BucketPath]:
    if "/" in pattern or "**" in pattern:
      raise NotImplementedError(pattern)
    return (self / name for name in fnmatch.filter(names(self), pattern))

  def walk(self, **_: Any) -> Iterator[tuple[BucketPath, list[str], list[str]]]:
    objects_here, folders = listing(self)
    folders = sorted(folders)
    yield self, folders, sorted(objects_here)
    for name in folders:  # the caller may have shortened them
      yield from (self / name).walk()

  def mkdir(self, mode: int | None = None, parents: bool = False, exist_ok: bool = False) -> None:
    """There is nothing to make."""

  def rmtree(self, missing_ok: bool = False) -> None:
    del missing_ok
    remove_folder(self)

  def unlink(self, missing_ok: bool = False) -> None:
    if not missing_ok and entry(self) is None:
      raise FileNotFoundError(str(self))
    remove(self)

  def stat(self) -> StatResult:
    found = entry(self)
    if found is None:
      raise FileNotFoundError(str(self))
    return StatResult(is_directory=False, length=found.size, mtime=int(found.modified))

  def read_bytes(self) -> bytes:
    return read(self)[0]

  def open(
    self, mode: str = "r", encoding: str | None = None, errors: str | None = None, **_: Any
  ) -> IO[Any]:
    """What is written is put when it is closed."""
    del errors
    if "a" in mode or "+" in mode:
      raise NotImplementedError(f"{self}: objects cannot be appended to")
    raw = _Put(self) if "w" in mode else io.BytesIO(read(self)[0])
    return raw if "b" in mode else io.TextIOWrapper(raw, encoding=encoding or "utf-8")


class _Put(io.BytesIO):
  def __init__(self, path: BucketPath):
    super().__init__()
    self._path = path

  def close(self) -> None:
    if not self.closed:
      put(self._path, self.getvalue())
    super().close()


# --- requests --------------------------------------------------------------------------------------


def requested(kind: str, path: BucketPath, ask: Callable[[Any, str], Any]) -> Any:
  """One request. obstore repeats it for some minutes where the store fails; it is repeated here where the connection broke
  in the middle: who puts with a condition may then find the object that it has put itself."""
  for wait in (*objects.waits(), None):
    counts[kind] += 1
    try:
      return _asked(path, ask)
    except _Broken as e:
      if wait is None:
        raise StoreFault(path, objects.words(e.__cause__ or e)) from e.__cause__
      time.sleep(wait)
  raise AssertionError


class _Broken(Exception):
  """Whether it was done is not known."""


def _asked(path: BucketPath, ask: Callable[[Any, str], Any]) -> Any:
  try:
    return ask(objects.connection(path.bucket), path.key)
  except UserError:
    raise
  except FileNotFoundError as e:
    raise NoObject(path, objects.words(e)) from None
  except objects.Unreachable as e:
    raise StoreFault(path, str(e).removeprefix(f"{path.bucket}: ")) from e
  except Exception as e:
    match type(e).__name__:
      case "AlreadyExistsError":
        raise Exists(str(path)) from None
      case "PreconditionError":
        raise Changed(
          f"{path}: another process has replaced it; run the same command again to go on"
        ) from None
      case "GenericError" | "JoinError":
        raise _Broken from e
      case _ if objects.is_of_store(e):
        raise StoreFault(path, objects.words(e)) from e
    raise


class NoObject(FileNotFoundError):
  def __init__(self, path: BucketPath, why: str):
    super().__init__(errno.ENOENT, "there is no such object", str(path))
    self.why = why


class Exists(Exception):
  """An object of that name is there already."""


class Changed(UserError):
  """The object is not the one that was read."""


def _version(found: Any) -> Version:
  return Version(found["e_tag"], found["version"])


def entry_of(meta: Any) -> Entry:
  return Entry(int(meta["size"]), meta["last_modified"].timestamp(), _version(meta))


def put(path: BucketPath, data: bytes | Path, mode: Any = "overwrite") -> Version:
  """`mode`: "overwrite"; "create" raises Exists; that of a version raises Changed."""
  import obstore

  parts = isinstance(data, Path) and data.stat().st_size > _SINGLE_PUT
  if parts and mode == "create" and entry(path) is not None:
    raise Exists(str(path))  # the look and the put are two steps here: the later one stays
  own: Any = {"use_multipart": True} if parts else {"mode": mode, "use_multipart": False}
  try:
    version = _version(requested("put", path, lambda store, key: obstore.put(store, key, data, **own)))
    if isinstance(data, bytes):
      _contents.keep((path, version), data)
    return version
  except NoObject as e:  # there is no such bucket
    raise StoreFault(path, e.why) from e
  finally:
    _changed(path)


def head(path: BucketPath) -> Entry | None:
  import obstore

  try:
    return entry_of(requested("head", path, obstore.head))
  except FileNotFoundError:
    return None


def remove(path: BucketPath) -> None:
  import obstore

  try:
    requested("delete", path, obstore.delete)
  except FileNotFoundError:
    pass
  finally:
    _changed(path)


def remove_folder(path: BucketPath) -> None:
  for name in below(path):
    remove(path / name)


def below(path: BucketPath) -> dict[str, Entry]:
  """All objects of a folder, those of the folders in it too, by their names below it."""
  import obstore

  if tree := _tree(path):
    start = f"{path}/"
    return {name.removeprefix(start): found for name, found in tree.objects.items() if name.startswith(start)}
  pages = requested("list", path, lambda store, key: list(obstore.list(store, key or None)))
  start = f"{path.key}/" if path.key else ""
  return {m["path"].removeprefix(start): entry_of(m) for page in pages for m in page if m["path"] != path.key}


def listing(path: BucketPath) -> tuple[dict[str, Entry], set[str]]:
  """Of a folder: the objects and the folders right in it, by name."""
  if tree := _tree(path):
    return tree.folders.get(str(path), ({}, set()))
  return _listing_now(path)


def listing_now(path: BucketPath) -> dict[str, Entry]:
  """The objects right in a folder, from the store itself, also within a look."""
  return _listing_now(path)[0]


def _listing_now(path: BucketPath) -> tuple[dict[str, Entry], set[str]]:
  import obstore

  found = requested("list", path, lambda store, key: obstore.list_with_delimiter(store, key or None))
  here = {m["path"].rpartition("/")[2]: entry_of(m) for m in found["objects"] if m["path"] != path.key}
  return here, {name.rstrip("/").rpartition("/")[2] for name in found["common_prefixes"]}


def names(path: BucketPath) -> list[str]:
  objects_here, folders = listing(path)
  return sorted(objects_here.keys() | folders)


def entry(path: BucketPath) -> Entry | None:
  if tree := _tree(path):
    return tree.objects.get(str(path))
  return head(path) if path.key else None


# --- contents --------------------------------------------------------------------------------------


_contents = Contents(_REMEMBERED)


def read(path: BucketPath) -> tuple[bytes, Version]:
  """The contents, and which version has them."""
  tree = _tree(path)
  known = tree.objects.get(str(path)) if tree else None
  if tree and known is None:
    raise FileNotFoundError(str(path))
  if known and (data := _contents.get((path, known.version))) is not None:
    return data, known.version
  return read_now(path)


def read_now(path: BucketPath) -> tuple[bytes, Version]:
  """From the store itself, also within a look."""
  import obstore

  def ask(store: Any, key: str) -> tuple[bytes, Version]:
    got = obstore.get(store, key)
    return bytes(got.bytes()), _version(got.meta)

  data, version = requested("get", path, ask)
  _contents.keep((path, version), data)
  return data, version


# --- one look --------------------------------------------------------------------------------------


class _Tree:
  """Of a whole workdir, from one listing."""

  def __init__(self, root: BucketPath, found: dict[str, Entry]):
    self.objects = {f"{root}/{name}": of for name, of in found.items()}
    self.folders: dict[str, tuple[dict[str, Entry], set[str]]] = {}
    for name, of in self.objects.items():
      folder, _, last = name.rpartition("/")
      is_new = folder not in self.folders
      self.folders.setdefault(folder, ({}, set()))[0][last] = of
      while is_new and len(folder) > len(str(root)):
        folder, _, last = folder.rpartition("/")
        is_new = folder not in self.folders
        self.folders.setdefault(folder, ({}, set()))[1].add(last)


_roots: set[BucketPath] = set()  # the workdirs of this process


def set_root(path: BucketPath) -> None:
  _roots.add(path)


def _root_of(path: BucketPath) -> BucketPath | None:
  text = f"{path}/"
  return next((root for root in _roots if text.startswith(f"{root}/")), None)


def _tree(path: BucketPath) -> _Tree | None:
  """None outside of a look: then the store itself is asked."""
  if not snapshot.is_looking():
    return None
  root = _root_of(path)
  return snapshot.once(_key(root), functools.partial(_list_all, root)) if root else None


def _list_all(root: BucketPath) -> _Tree:
  with snapshot.no_look():
    return _Tree(root, below(root))


def _key(root: BucketPath) -> tuple[str, BucketPath]:
  return "objects", root


def _changed(path: BucketPath) -> None:
  """By this process itself: what was seen before does not hold."""
  if root := _root_of(path):
    snapshot.forget(_key(root))
