"""A training's folder in a bucket. Libraries write in place there, step by step, so they work in a folder of this machine.

    mirror.json         the files of the folder when they last fitted together, with the contents of the small ones; put last
    checkpoints/...     the others, under their own names

What is put first is never what an earlier mirror.json names by another content: a step's files do not change, those that do are
small, and stand in it. Rows of metrics may be ahead of it. So a death at any moment leaves one state that is whole.
"""

from __future__ import annotations

import base64
import contextlib
import contextvars
import json
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

from etils import epath

from synthjax.disk import bucket, cached, checksums, drafts
from synthjax.disk.bucket import BucketPath, Changed, Exists, Version
from synthjax.runtime import devices
from synthjax.runtime.errors import Interrupted, UserError

MIRROR = "mirror.json"
SUMS = ".sums"  # ends the name of the folder that says which steps are whole
_SMALL = 1 << 16
_POLL_SECONDS, _STREAM_SECONDS = 1.0, 30.0
_SHAPE = {"files": [str], "small": dict}


def check(folder: epath.Path) -> None:
  """Raises UserError where joined processes would train in a bucket."""
  if isinstance(folder, BucketPath) and devices.is_joined():
    raise UserError(
      f"workdir {folder}: joined processes write one checkpoint together, which takes a disk that they share; give a folder "
      "as --workdir, or use --distributed auto, where processes share the seeds"
    )


@contextlib.contextmanager
def held(folder: epath.Path) -> Iterator[epath.Path]:
  """Where to work in the folder's place: the folder itself on a disk."""
  if not isinstance(folder, BucketPath):
    yield folder
    return
  check(folder)
  mirror = Mirror(folder)
  try:
    mirror.pull()
    with mirror.pushing():
      yield epath.Path(mirror.local)
  finally:
    shutil.rmtree(mirror.local, ignore_errors=True)


class Mirror:
  def __init__(self, folder: BucketPath):
    self._folder = folder
    self.local = Path(drafts.draft_of(cached.making() / "training"))
    self._version: Version | None = None  # of mirror.json, as this process knows it
    self._put: dict[str, tuple[int, int]] = {}  # under its own name, with the size and time of what was put
    self._named: set[str] = set()  # by the last mirror.json
    self._steps: set[str] = set()  # whole ones that it has
    self._over = threading.Event()
    self._context = contextvars.copy_context()

  def pull(self) -> None:
    self.local.mkdir(parents=True)
    try:
      data, self._version = bucket.read_now(self._folder / MIRROR)
    except FileNotFoundError:
      return self._pull_copied()
    with checksums.parsing(self._folder / MIRROR, "mirror"):
      state = checksums.shaped(json.loads(data), _SHAPE)
      small = {name: base64.b64decode(text) for name, text in state["small"].items()}
    for name in state["files"]:
      (self.local / name).parent.mkdir(parents=True, exist_ok=True)
      with contextlib.suppress(FileNotFoundError):  # a step without one of its files is found damaged
        shutil.copyfile(cached.local(self._folder / name), self.local / name)
        self._put[name] = _stamp(self.local / name)
    for name, contents in small.items():
      (self.local / name).parent.mkdir(parents=True, exist_ok=True)
      (self.local / name).write_bytes(contents)
    self._named, self._steps = {*state["files"], *small}, self._whole_steps()

  def _pull_copied(self) -> None:
    """Of a workdir that was copied from a disk: all is there, or nothing yet."""
    for name, found in bucket.below(self._folder).items():
      (self.local / name).parent.mkdir(parents=True, exist_ok=True)
      (self.local / name).write_bytes(bucket.read(self._folder / name)[0] if found.size else b"")

  @contextlib.contextmanager
  def pushing(self) -> Iterator[None]:
    """Puts each step as soon as it is whole, and metrics now and then, while training goes on; all of it at the end."""
    thread = threading.Thread(target=self._follow, name="mirror", daemon=True)
    thread.start()
    try:
      yield
    except Interrupted:
      self._join(thread)
      self.push()
      raise
    except BaseException:  # what it was matters more than what becomes of this
      self._join(thread)
      with contextlib.suppress(Exception):
        self.push()
      raise
    self._join(thread)
    self.push()

  def _join(self, thread: threading.Thread) -> None:
    self._over.set()
    thread.join()

  def _follow(self) -> None:
    waited = 0.0
    while not self._over.wait(_POLL_SECONDS):
      waited += _POLL_SECONDS
      with contextlib.suppress(Exception):  # said by the last push, where it lasts
        if self._whole_steps() - self._steps:
          self.push()
        elif waited >= _STREAM_SECONDS:
          self._check_is_own()
          self._put_changed([name for name in self._files() if not _is_of_step(name)])
          waited = 0.0

  def push(self) -> None:
    """Steps first, then the state that has them; then what it has no more goes."""
    steps, names = self._whole_steps(), self._files()
    of_steps = [name for name in names if _is_of_step(name) and _step_of(name) in steps]
    others = [name for name in names if not _is_of_step(name)]
    small = {n: base64.b64encode((self.local / n).read_bytes()).decode() for n in others if self._is_small(n)}
    self._check_is_own()
    put = self._put_changed(of_steps) | self._put_changed([name for name in others if name not in small])
    state = {"files": sorted(put), "small": small}
    self._version = self._put_state((json.dumps(state, indent=2, sort_keys=True) + "\n").encode())
    self._put_changed(list(small))
    for name in self._named - {*put, *small}:
      bucket.remove(self._folder / name)
      self._put.pop(name, None)
    self._named, self._steps = {*put, *small}, steps

  def _check_is_own(self) -> None:
    """Raises where another process has taken the training over, or has put a state since."""
    self._context.copy().run(drafts.check_again)
    there = bucket.head(self._folder / MIRROR)
    if (there.version if there else None) != self._version:
      raise self._lost()

  def _put_state(self, data: bytes) -> Version:
    """Only in the place of the one that this process has put, or read at the start."""
    path = self._folder / MIRROR
    try:
      return bucket.put(path, data, self._version.as_mode() if self._version else "create")
    except (Exists, Changed):
      there, version = bucket.read_now(path)
      if there == data:  # the answer was lost
        return version
      raise self._lost() from None

  def _lost(self) -> Changed:
    return Changed(f"{self._folder}: another process has gone on with it")

  def _put_changed(self, names: list[str]) -> dict[str, tuple[int, int]]:
    found = {}
    for name in names:
      with contextlib.suppress(FileNotFoundError):  # orbax removes the oldest step meanwhile
        found[name] = _stamp(self.local / name)
        if self._put.get(name) != found[name]:
          bucket.put(self._folder / name, self.local / name)
          self._put[name] = found[name]
    return found

  def _files(self) -> list[str]:
    return sorted(
      os.path.relpath(os.path.join(place, name), self.local)
      for place, _, names in os.walk(self.local)
      for name in names
      if not drafts.is_draft(name)
    )

  def _is_small(self, name: str) -> bool:
    path = self.local / name
    return (path.suffix in (".json", "") and path.stat().st_size <= _SMALL) or checksums.FOLDER in path.parts

  def _whole_steps(self) -> set[str]:
    """As `checkpoints/600`: those that have checksums."""
    found = set()
    for folder in self.local.glob(f"*{SUMS}"):
      found |= {f"{folder.name.removesuffix(SUMS)}/{file.stem}" for file in folder.glob("*.json")}
    return {step for step in found if (self.local / step).is_dir()}


def _step_of(name: str) -> str:
  return "/".join(name.split("/")[:2])


def _is_of_step(name: str) -> bool:
  """Also of one that is still being written."""
  parts = name.split("/")
  return len(parts) > 2 and parts[1][0].isdigit()


def _stamp(path: Path) -> tuple[int, int]:
  about = path.stat()
  return about.st_size, about.st_mtime_ns
