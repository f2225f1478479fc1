"""What it costs many hosts to share the shards of a product: operations on the metadata of their disk, a shard.

The rules of claims run as they are, on a disk in memory that counts, by a clock of its own. Each host is a thread; one runs at
a time, and each operation lets others go first whose time has come. So the same seed gives the same counts.
"""

from __future__ import annotations

import collections
import dataclasses
import heapq
import random
import threading
from collections.abc import Callable, Sequence

from synthjax.store.claiming import Claims, Seen
from synthjax.store.shards import shard_name
from synthjax.store.sharing import Sharing, is_any_free, poll_after

_LATENCY = 0.002  # seconds an operation, as of a network's disk


@dataclasses.dataclass(frozen=True)
class Load:
  """Hosts at work on a product, some of which die, or stand still for long and go on."""

  hosts: int
  shards: int
  seconds_a_shard: float = 20.0
  die: int = 0
  stand_still: int = 0
  heartbeat_seconds: float = 5.0
  stale_seconds: float = 60.0
  seed: int = 0


@dataclasses.dataclass(frozen=True)
class Cost:
  load: Load
  claims: collections.Counter[str]  # operations by their kind
  beats: int
  names: int  # listed in all
  made: int  # shards, those that were made twice counted twice
  missing: int  # shards that nobody made
  left: int  # files beside the product after a later run has started
  seconds: float  # by the simulated clock

  @property
  def operations_a_shard(self) -> float:
    """Without heartbeats, which take time and not shards."""
    return self.claims.total() / self.load.shards

  @property
  def names_a_shard(self) -> float:
    return self.names / self.load.shards


def cost_of(load: Load) -> Cost:
  """Of all hosts, from their start to the end of the last one."""
  chance, clock = random.Random(load.seed), _Clock()
  disk = _Disk(clock)
  usual = load.seconds_a_shard * load.shards / load.hosts  # seconds of the whole
  unlucky = chance.sample(range(load.hosts), load.die + load.stand_still)
  dies_at = {i: chance.uniform(0, usual) for i in unlucky[: load.die]}
  stops_at = {i: chance.uniform(0, usual) for i in unlucky[load.die :]}
  never = float("inf")
  hosts = [
    _Host(i, load, disk, clock, dies_at.get(i, never), stops_at.get(i, never)) for i in range(load.hosts)
  ]
  clock.run([host.run for host in hosts])
  seconds, claims, beats = clock.now, disk.counts.copy(), disk.counts["beat"]
  del claims["beat"]
  clock.run([_Host(load.hosts, load, disk, clock, never, never).start_later])
  return Cost(
    load,
    claims,
    beats,
    disk.names_listed,
    disk.made,
    load.shards - len(disk.published),
    len(disk.files),
    seconds,
  )


class _Clock:
  def __init__(self):
    self.now = 0.0
    self._queue: list[tuple[float, int, threading.Semaphore]] = []
    self._n, self._over, self._error = 0, threading.Semaphore(0), None

  def time(self) -> float:
    return self.now

  def sleep(self, seconds: float) -> None:
    own = threading.Semaphore(0)
    self._enter(seconds, own)
    self._wake_next()
    own.acquire()

  def run(self, hosts: Sequence[Callable[[], None]]) -> None:
    for i, host in enumerate(hosts):
      own = threading.Semaphore(0)
      self._enter(i * 1e-3, own)
      threading.Thread(target=self._run, args=(host, own), daemon=True).start()
    self._wake_next()
    self._over.acquire()
    if self._error:
      raise self._error

  def _run(self, host: Callable[[], None], own: threading.Semaphore) -> None:
    own.acquire()
    try:
      host()
    except Exception as e:  # noqa: BLE001  raised again by `run`
      self._error = e
    self._wake_next()

  def _enter(self, seconds: float, own: threading.Semaphore) -> None:
    self._n += 1  # of two at the same time, the first one first
    heapq.heappush(self._queue, (self.now + seconds, self._n, own))

  def _wake_next(self) -> None:
    if self._error or not self._queue:
      self._over.release()
      return
    self.now, _, own = heapq.heappop(self._queue)
    own.release()


class _Disk:
  def __init__(self, clock: _Clock):
    self.clock, self.counts = clock, collections.Counter[str]()
    self.files: dict[str, tuple[str, float]] = {}  # beside the product: text, time of change
    self.published: set[str] = set()
    self.is_made = False  # the folder of claims
    self.names_listed = self.made = 0


class _Died(Exception):
  pass


class _Host:
  """A process, and how it sees the disk: `ClaimFiles`."""

  def __init__(self, index: int, load: Load, disk: _Disk, clock: _Clock, dies_at: float, stops_at: float):
    self._index, self._load, self._disk, self._clock = index, load, disk, clock
    self._dies_at, self._stops_at, self._is_beating = dies_at, stops_at, False
    self._chance = random.Random(f"{load.seed} {index}")
    self._wanted = [shard_name(i) for i in range(load.shards)]

  def run(self) -> None:
    seen, poll = Seen(), 1.0
    try:
      for life in range(10**6):
        name = f"host-{self._index}+1+{self._index}+{life:08x}"
        missing = set(self._wanted) - self.published()
        if not missing:
          return
        if is_any_free(self, missing, seen, self._load.stale_seconds, self._clock.now):
          self._share(Claims(self, name, self._load.stale_seconds, seen, self._clock.time))
        if len(self._disk.published) == self._load.shards:
          return
        self._sleep(poll)
        poll = poll_after(poll, self._load.stale_seconds)
    except _Died:
      return

  def start_later(self) -> None:
    """As any run does before it works, on what others left."""
    self._sleep(2 * self._load.stale_seconds)
    claims = Claims(self, f"host-{self._index}+1+1+0", self._load.stale_seconds, clock=self._clock.time)
    claims.begin()
    claims.take_all_from_dead()
    claims.end()

  def _share(self, claims: Claims) -> None:
    claims.begin()
    for name in Sharing(claims, self._wanted, lambda _: None).parts():
      self._work(claims)
      if claims.may_have_lost() and claims.has_lost():
        break
      self._disk.made += 1
      self._disk.published.add(name)
      claims.release(name)
    claims.end()

  def _work(self, claims: Claims) -> None:
    until = self._clock.now + self._load.seconds_a_shard * self._chance.uniform(0.7, 1.3)
    while (left := until - self._clock.now) > 0:
      self._sleep(min(left, self._load.heartbeat_seconds))
      if self._clock.now >= self._stops_at:
        self._stops_at = float("inf")
        self._sleep(3 * self._load.stale_seconds)
      self._is_beating = True
      claims.beat()
      self._is_beating = False

  def _sleep(self, seconds: float) -> None:
    self._clock.sleep(seconds)
    if self._clock.now >= self._dies_at:
      raise _Died

  def _operation(self, kind: str) -> None:
    self._sleep(_LATENCY * self._chance.uniform(0.5, 1.5))
    self._disk.counts["beat" if self._is_beating else kind] += 1

  # --- ClaimFiles --------------------------------------------------------------------------------

  def make(self) -> None:
    self._operation("make")
    self._disk.is_made = True

  def names(self) -> list[str]:
    self._operation("names")
    self._disk.names_listed += len(self._disk.files)
    return sorted(self._disk.files)

  def published(self) -> set[str]:
    self._operation("published")
    self._disk.names_listed += len(self._disk.published)
    return set(self._disk.published)

  def is_published(self, name: str) -> bool:
    self._operation("is_published")
    return name in self._disk.published

  def create(self, name: str, text: str = "") -> bool:
    self._operation("create")
    if not self._disk.is_made:
      raise FileNotFoundError(name)
    is_new = name not in self._disk.files
    if is_new:
      self._disk.files[name] = (text, self._clock.now)
    return is_new

  def read(self, name: str) -> str | None:
    self._operation("read")
    return self._disk.files.get(name, (None, 0.0))[0]

  def refresh(self, name: str) -> None:
    self._operation("refresh")
    self._disk.files[name] = (self._text(name), self._clock.now)

  def _text(self, name: str) -> str:
    if name not in self._disk.files:
      raise FileNotFoundError(name)
    return self._disk.files[name][0]

  def modified(self, name: str) -> float | None:
    self._operation("modified")
    return self._disk.files[name][1] if name in self._disk.files else None

  def remove(self, name: str) -> None:
    self._operation("remove")
    self._disk.files.pop(name, None)

  def remove_folder(self) -> None:
    self._operation("remove_folder")
    self._disk.is_made = bool(self._disk.files)
