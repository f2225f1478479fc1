"""Who makes which shard or run, when several processes share a folder and any of them may die.

A claim is a file that exactly one process can create. It names its owner; the owner keeps one heartbeat file
fresh. When that goes stale the claim is void: the next one takes generation g + 1 of it, which again exactly one
process can create. A claim only saves work. A process that was taken for dead and comes back finds its product
already published and drops its own, so nothing depends on clocks. Freshness is read off the file system's own
clock, which all hosts share.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import threading
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence

from etils import epath

from synthjax.disk import drafts, listing, workdir
from synthjax.disk.bucket import BucketPath
from synthjax.runtime import devices, processes
from synthjax.runtime.errors import Interrupted
from synthjax.runtime.stopping import Stop
from synthjax.store import claim_files
from synthjax.store.claim_files import BEAT
from synthjax.store.claiming import Claims, Seen
from synthjax.store.sharing import Sharing


class Lost(Exception):
  """Another process has taken over what this one was making: it was stopped for so long that it looked dead."""


class Owner(Claims):
  """This process's hold on parts of one product: `with Owner(folder) as owner: owner.take("00003")`."""

  def __init__(
    self,
    product: epath.Path,
    *,
    heartbeat_seconds: float = 5.0,
    stale_seconds: float = 60.0,
    seen: Seen | None = None,
  ):
    # Host and process let a restart on the same machine see at once that its predecessor is dead.
    name = f"{processes.host()}+{os.getpid()}+{processes.start_of(os.getpid())}+{uuid.uuid4().hex[:8]}"
    super().__init__(claim_files.files_of(product), name, stale_seconds, seen)
    self._product, self._heartbeat_seconds = product, heartbeat_seconds
    self._stop = threading.Event()
    self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

  def __enter__(self) -> Owner:
    self.begin()
    if self.is_time_to_sweep():
      older_than = self._now() - self._stale_seconds
      for place in self._places:
        drafts.sweep_drafts(place, older_than)
    self._thread.start()
    return self

  def __exit__(self, *_: object) -> None:
    self._stop.set()
    self._thread.join()
    self.end()

  def scratch(self, name: str) -> epath.Path:
    """Where this process may write a file before it is published; swept once the process is gone."""
    if isinstance(self._product, BucketPath):
      return drafts.draft_of(workdir.making(self._product) / f"{name}.{self.id}.part")
    return self._product / workdir.WORKING / f"{name}.{self.id}.part"

  def share(
    self, wanted: Sequence[str], listed: Callable[[Collection[str]], None] = lambda _: None
  ) -> Iterator[str]:
    """Of parts that are files of the product, those for this process to make, each taken when it is asked for; who gets one
    releases it. It ends when the others are there, or held by the living. `listed` is shown each listing of the product."""
    return Sharing(self, wanted, listed).parts()

  @contextlib.contextmanager
  def making(self, stop: Stop) -> Iterator[None]:
    """Around work on what was taken. Once another process has any of it the work ends as Lost, whatever it failed by:
    files are swept up and replaced under it. Each look at `stop` is also one at the claims."""
    if devices.is_joined():  # all of them stop with the one that was stopped
      yield
      return
    with stop.watching(self.check), drafts.before_writing_again(self.check):
      try:
        yield
      except (Interrupted, Lost):
        raise
      except Exception as e:
        if self.has_lost():
          raise Lost from e
        raise

  def check(self) -> None:
    """Raises Lost once another process has what this one took. Reads nothing while the heartbeat has been in time."""
    if self.may_have_lost() and self.has_lost():
      raise Lost

  def _taken_over(self, owner: str) -> None:
    """What it was writing shall not replace what is made now."""
    super()._taken_over(owner)
    maker = processes.maker(owner)
    for place in self._places:
      drafts.remove_drafts(place, of=maker)

  @property
  def _places(self) -> list[epath.Path]:
    """Where the product's parts have their drafts: nowhere in a bucket."""
    if isinstance(self._product, BucketPath):
      return []
    return [self._product, *listing.folders(self._product)]

  def _beat(self) -> None:
    while not self._stop.wait(self._heartbeat_seconds):
      with contextlib.suppress(OSError):  # a disk that hiccups: the next beat may pass
        self.beat()


@dataclasses.dataclass(frozen=True)
class Heartbeats:
  """Of a product's owners, as last read."""

  owners: frozenset[str] = frozenset()
  newest: float = 0.0


def heartbeats(working: epath.Path, before: Heartbeats) -> Heartbeats:
  """Differs from what was read before if an owner lives, came or went. One that lives is enough, so no more are read."""
  files = claim_files.files_of(working.parent)
  owners = claim_files.owners(files.names())
  is_new = before.owners != frozenset(owners)
  for owner in owners:
    beat = files.modified(f"{owner}{BEAT}") or 0.0
    if is_new or beat > before.newest:
      return Heartbeats(frozenset(owners), max(beat, before.newest))
  return Heartbeats(frozenset(owners), before.newest)
