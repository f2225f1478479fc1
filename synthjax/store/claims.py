"""Who makes which shard or run, when several processes share a folder and any of them may die.

A claim is a file that exactly one process can create. It names its owner; the owner keeps one heartbeat file
fresh. When that goes stale the claim is void: the next one takes generation g + 1 of it, which again exactly one
process can create. A claim only saves work. A process that was taken for dead and comes back finds its product
already published and drops its own, so nothing depends on clocks. Freshness is read off the file system's own
clock, which all hosts share.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import uuid
from collections.abc import Iterator

from etils import epath

from synthjax.disk import workdir
from synthjax.runtime import devices, processes
from synthjax.runtime.errors import Interrupted
from synthjax.runtime.stopping import Stop

_BEAT = ".alive"


class Lost(Exception):
  """Another process has taken over what this one was making: it was stopped for so long that it looked dead."""


class Owner:
  """This process's hold on parts of one product: `with Owner(folder) as owner: owner.take("00003")`."""

  def __init__(self, product: epath.Path, *, heartbeat_seconds: float = 5.0, stale_seconds: float = 60.0):
    self._folder = product / workdir.WORKING
    self._heartbeat_seconds, self._stale_seconds = heartbeat_seconds, stale_seconds
    # Host and process let a restart on the same machine see at once that its predecessor is dead.
    self.id = f"{processes.host()}+{os.getpid()}+{processes.start_of(os.getpid())}+{uuid.uuid4().hex[:8]}"
    self._stop = threading.Event()
    self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
    self._held: dict[str, list[epath.Path]] = {}
    self._beaten = time.monotonic()  # the last time that the heartbeat was fresh
    self._may_look_dead = self._was_lost = False

  def __enter__(self) -> Owner:
    self._begin()
    self._sweep()
    self._thread.start()
    return self

  def _begin(self) -> None:
    for _ in range(100):  # another owner may be removing the empty folder in this moment
      with contextlib.suppress(FileNotFoundError, FileExistsError):
        self._folder.mkdir(parents=True, exist_ok=True)
        workdir.touch(self._beat_file)
        return
    raise OSError(f"{self._folder} cannot be made")

  def __exit__(self, *_: object) -> None:
    self._stop.set()
    self._thread.join()
    for name in list(self._held):
      self.release(name)
    self._forget_landed()
    # The heartbeat last: what an owner without one was writing is known by nobody.
    for left in sorted(workdir.names(self._folder, f"*{self.id}*"), key=lambda name: name.endswith(_BEAT)):
      workdir.remove(self._folder / left)
    workdir.remove_empty(self._folder)

  def scratch(self, name: str) -> epath.Path:
    """Where this process may write a file before it is published; swept once the process is gone."""
    return self._folder / f"{name}.{self.id}.part"

  def take(self, name: str) -> bool:
    """True: the part is ours to make. Look again whether it is there: another may have just finished it.

    A part that becomes one file of the product is named like it.
    """
    older = self._generations(name)
    if older and self.is_alive(self._owner_of(older[-1])):
      return False
    generation = int(older[-1].name.rsplit(".", 1)[1]) + 1 if older else 0
    mine = self._folder / f"{name}.claim.{generation:04d}"
    try:
      if not workdir.create_exclusive(mine, self.id):
        return False
    except FileNotFoundError:  # stopped for long, and the empty folder was removed
      self._begin()
      return False
    self._held[name] = [*older, mine]
    if older:  # it may only stand still: what it was writing shall not replace what is made now
      maker = processes.maker(self._owner_of(older[-1]))
      for place in self._places:
        workdir.remove_drafts(place, of=maker)
    return True

  def holds(self, name: str) -> bool:
    """Whether a part is still ours: another takes it over where this process was stopped for long."""
    generations = self._generations(name) if name in self._held else []
    # The file alone says little: a later owner may have begun to count anew.
    return bool(generations) and self._owner_of(generations[-1]) == self.id

  def release(self, name: str) -> None:
    """Of a part that another has taken over meanwhile, the claims are theirs to remove."""
    held = self._held[name] if self.holds(name) else []
    self._was_lost |= not held and self._may_have_lost()
    self._held.pop(name, None)
    # Oldest first: were the newest gone and an older, void one left, the part would look claimed anew.
    for claim in held:
      workdir.remove(claim)

  @contextlib.contextmanager
  def making(self, stop: Stop) -> Iterator[None]:
    """Around work on what was taken. Once another process has any of it the work ends as Lost, whatever it failed by:
    files are swept up and replaced under it. Each look at `stop` is also one at the claims."""
    if devices.is_joined():  # all of them stop with the one that was stopped
      yield
      return
    with stop.watching(self.check), workdir.before_writing_again(self.check):
      try:
        yield
      except (Interrupted, Lost):
        raise
      except Exception as e:
        if self._has_lost():
          raise Lost from e
        raise

  def check(self) -> None:
    """Raises Lost once another process has what this one took. Reads nothing while the heartbeat has been in time."""
    if self._may_have_lost() and self._has_lost():
      raise Lost

  def _has_lost(self) -> bool:
    return self._was_lost or not all(map(self.holds, list(self._held)))

  def _may_have_lost(self) -> bool:
    """Whether another process may ever have seen this one's heartbeat stale."""
    self._may_look_dead |= time.monotonic() - self._beaten > self._stale_seconds / 2
    return self._may_look_dead

  def is_alive(self, owner: str) -> bool:
    """Whether an owner's heartbeat is fresh. An empty name is a claim that is being written this moment."""
    if owner == self.id or not owner:
      return True
    if processes.is_dead(processes.maker(owner)):
      return False
    beat = workdir.modified(self._folder / f"{owner}{_BEAT}")
    now = self._now()
    return beat is not None and now - beat < self._stale_seconds

  def _generations(self, name: str) -> list[epath.Path]:
    return [self._folder / n for n in workdir.names(self._folder, f"{name}.claim.*")]

  def _owner_of(self, claim: epath.Path) -> str:
    try:
      owner = claim.read_text()
    except FileNotFoundError:  # released in this moment
      return ""
    if owner:
      return owner
    # Created and not yet written: fresh if it is young, void if its maker died in between.
    age = self._now() - (workdir.modified(claim) or 0)
    return "" if age < self._stale_seconds else "+nobody"

  def _sweep(self) -> None:
    """Removes what dead processes left behind. Their claims stay until the part is published: they carry the generation."""
    for name in workdir.names(self._folder, f"*{_BEAT}"):
      owner = name.removesuffix(_BEAT)
      if not self.is_alive(owner):
        for part in workdir.names(self._folder, f"*.{owner}.part"):
          workdir.remove(self._folder / part)
        workdir.remove(self._folder / name)
    older_than = self._now() - self._stale_seconds
    for place in self._places:
      workdir.sweep_drafts(place, older_than)

  def take_from_dead(self) -> None:
    """Removes the claims of the dead, on whatever part: of a product that is done, nobody asks for them again."""
    for name in sorted({n.rsplit(".claim.", 1)[0] for n in workdir.names(self._folder, "*.claim.*")}):
      if name not in self._held and self.take(name):
        self.release(name)

  def is_alone(self) -> bool:
    """Whether no other process is at work on the product."""
    beats = workdir.names(self._folder, f"*{_BEAT}")
    return not any(self.is_alive(owner) for b in beats if (owner := b.removesuffix(_BEAT)) != self.id)

  def _forget_landed(self) -> None:
    """Removes the claims on files that are there: nobody asks for those again, so a death between landing and release
    would leave its claim for good. Whoever holds one of them in this moment finds the file published."""
    for claim in workdir.names(self._folder, "*.claim.*"):  # sorted, so oldest first here too
      if (self._folder.parent / claim.rsplit(".claim.", 1)[0]).is_file():
        workdir.remove(self._folder / claim)

  @property
  def _places(self) -> list[epath.Path]:
    """Where the product's parts have their drafts."""
    return [self._folder.parent, *workdir.folders(self._folder.parent)]

  @property
  def _beat_file(self) -> epath.Path:
    return self._folder / f"{self.id}{_BEAT}"

  def _now(self) -> float:
    """By the file system's clock. The folder may have been removed, if this process was stopped for long."""
    try:
      return workdir.touch(self._beat_file)
    except FileNotFoundError:
      self._begin()
      return workdir.touch(self._beat_file)

  def _beat(self) -> None:
    while not self._stop.wait(self._heartbeat_seconds):
      began = time.monotonic()
      with contextlib.suppress(OSError):  # a disk that hiccups: the next beat may pass
        self._now()
        self._may_have_lost()  # before the beat is known to be fresh again
        self._beaten = began


def heartbeats(working: epath.Path) -> dict[str, float]:
  """Owner -> when it last showed that it lives."""
  names = workdir.names(working, f"*{_BEAT}")
  return {name.removesuffix(_BEAT): workdir.modified(working / name) or 0.0 for name in names}
