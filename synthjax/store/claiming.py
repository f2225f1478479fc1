"""The rules of claims: who may make which part of a product, known from files that several processes share.

An owner that was found alive is not inspected again before its heartbeat can have gone stale. Each process inspects few of
those that are probably alive, so that all processes together inspect each of them a few times: what claims cost then grows
with the parts, and not with the square of the processes.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from synthjax.runtime import processes
from synthjax.store import claim_files
from synthjax.store.claim_files import BEAT, CLAIM, ClaimFiles

_INSPECTED = 32  # owners found alive in one pass, by all processes together
_NOBODY = "+nobody"  # owns a claim whose maker died before it had written its name


class Seen:
  """What a process knows of the others at work on a product, kept from one hold on it to the next. By its own clock."""

  def __init__(self):
    self.stale_at: dict[str, float] = {}  # owner -> when it can be stale at the earliest
    self.inspect_at: dict[str, float] = {}  # claim -> when its owner can be
    self.swept_at = float("-inf")  # when what dead processes left was last removed
    self._listed_at: float | None = None

  def note(self, names: Sequence[str], now: float, stale_seconds: float) -> None:
    """Of a listing. What was not there at the last one is of an owner that lived since."""
    claims, owners = [n for n in names if CLAIM in n], claim_files.owners(names)
    alive_until = float("-inf") if self._listed_at is None else self._listed_at + stale_seconds
    self.inspect_at = {claim: self.inspect_at.get(claim, alive_until) for claim in claims}
    self.stale_at = {owner: self.stale_at.get(owner, alive_until) for owner in owners}
    self._listed_at = now
    if any(processes.is_dead(processes.maker(owner)) for owner in owners):
      self.found_dead()

  def may_be_free(self, claims: Sequence[str], now: float) -> bool:
    """Of a part with these claims on it, the oldest first: whether it is worth it to inspect the owner."""
    return not claims or now >= self.inspect_at.get(claims[-1], float("-inf"))

  def found_dead(self) -> None:
    """Of some owner: any claim may be its."""
    self.inspect_at = dict.fromkeys(self.inspect_at, float("-inf"))


class Claims:
  """One process's claims on parts of one product."""

  def __init__(
    self,
    files: ClaimFiles,
    owner_id: str,
    stale_seconds: float,
    seen: Seen | None = None,
    clock: Callable[[], float] = time.monotonic,
  ):
    self.id, self.files, self.clock = owner_id, files, clock
    self.random = random.Random(owner_id)
    self._stale_seconds, self._seen = stale_seconds, seen or Seen()
    self._held: dict[str, list[str]] = {}  # part -> the claims on it, of which the last is ours
    self._beaten = clock()  # the last time that the heartbeat was fresh
    self._disk_ahead, self._compared = (
      0.0,
      float("-inf"),
    )  # the disk's clock, of ours; and when it was compared
    self._may_look_dead = self._was_lost = False

  # --- parts -------------------------------------------------------------------------------------

  def take(self, name: str) -> bool:
    """True: the part is ours to make. Look again whether it is there: another may have just finished it.

    A part that becomes one file of the product is named like it.
    """
    older = self._generations(name)
    if older and self.is_alive(self._owner_of(older[-1])):
      return False
    return self._claim(name, older)

  def take_new(self, name: str) -> bool:
    """Without a look whether others have it. True: the part is ours, and not there."""
    return self._claim(name, []) and not self.release_if_there(name)

  def take_from_dead(self, claims: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Of parts with claims on them, in any order, those whose owners are dead: they are ours then."""
    left = self._to_inspect(len(claims))
    names = [name for name in claims if self._seen.may_be_free(claims[name], self.clock())]
    self.random.shuffle(names)
    for name in names:
      older = list(claims[name])
      if name in self._held:
        continue
      if not self.is_alive(owner := self._owner_of(older[-1])):
        if self._claim(name, older):
          yield name
        continue
      self._seen.inspect_at[older[-1]] = self._seen.stale_at.get(owner, 0.0)
      left -= 1
      if not left:
        return

  def _claim(self, name: str, older: list[str]) -> bool:
    generation = int(older[-1].rsplit(".", 1)[1]) + 1 if older else 0
    mine = f"{name}{CLAIM}{generation:04d}"
    try:
      if not self.files.create(mine, self.id):
        return False
    except FileNotFoundError:  # stopped for long, and the empty folder was removed
      self._begin()
      return False
    self._held[name] = [*older, mine]
    if older:
      self._taken_over(self._owner_of(older[-1]))
    return True

  def _taken_over(self, owner: str) -> None:
    """From one that may only stand still."""
    self._sweep(owner, self.listing())

  def release_if_there(self, name: str) -> bool:
    """Of a part that was just taken: whether another has published it since the last look."""
    if found := self.files.is_published(name):
      self.release(name)
    return found

  def holds(self, name: str) -> bool:
    """Whether a part is still ours: another takes it over where this process was stopped for long."""
    generations = self._generations(name) if name in self._held else []
    # The file alone says little: a later owner may have started to count from 0.
    return bool(generations) and self._owner_of(generations[-1]) == self.id

  def release(self, name: str) -> None:
    """Of a part that another has taken over meanwhile, the claims are theirs to remove."""
    held = self._held.get(name, [])
    if self.may_have_lost():
      is_ours = self.holds(name)
    else:  # then nobody has taken it over, unless by a shorter time of its own
      is_ours = bool(held) and self.files.read(held[-1]) == self.id
    self._was_lost |= not is_ours and self.may_have_lost()
    self._held.pop(name, None)
    # Oldest first: were the newest gone and an older, void one left, the part would look claimed anew.
    for claim in held if is_ours else ():
      self.files.remove(claim)

  def has_lost(self) -> bool:
    return self._was_lost or not all(map(self.holds, list(self._held)))

  def may_have_lost(self) -> bool:
    """Whether another process may ever have seen this one's heartbeat stale."""
    self._may_look_dead |= self.clock() - self._beaten > self._stale_seconds / 2
    return self._may_look_dead

  def listing(self) -> list[str]:
    """The names of all claims and heartbeats."""
    names = self.files.names()
    self._seen.note(names, self.clock(), self._stale_seconds)
    return names

  def take_all_from_dead(self) -> None:
    """Removes the claims of the dead, on whatever part: of a product that is done, nobody asks for them again."""
    for name in self.take_from_dead(claim_files.by_part(self.listing())):
      self.release(name)

  def _generations(self, name: str) -> list[str]:
    return claim_files.by_part(self.listing()).get(name, [])

  # --- owners ------------------------------------------------------------------------------------

  def is_alive(self, owner: str) -> bool:
    """Whether an owner's heartbeat is fresh. An empty name is a claim that is being written this moment."""
    if owner == self.id or not owner:
      return True
    if processes.is_dead(processes.maker(owner)):
      return False
    if self.clock() < self._seen.stale_at.get(owner, float("-inf")):
      return True
    beat = self.files.modified(f"{owner}{BEAT}")
    if beat is None:
      return False
    left = self._stale_seconds - (self._now() - beat)
    self._seen.stale_at[owner] = self.clock() + left
    return left > 0

  def is_alone(self) -> bool:
    """Whether no other process is at work on the product."""
    owners = claim_files.owners(self.listing())
    return not any(self.is_alive(owner) for owner in owners if owner != self.id)

  def _owner_of(self, claim: str) -> str:
    owner = self.files.read(claim)
    if owner is None:  # released in this moment
      return ""
    if owner:
      return owner
    # Created and not yet written: fresh if it is young, void if its maker died in between.
    age = self._now() - (self.files.modified(claim) or 0)
    return "" if age < self._stale_seconds else _NOBODY

  def _to_inspect(self, others: int) -> int:
    """How many of them may be found alive before this process leaves the rest to others."""
    return max(1, _INSPECTED // max(others, 1))

  # --- this process ------------------------------------------------------------------------------

  @property
  def _beat_file(self) -> str:
    return f"{self.id}{BEAT}"

  def begin(self) -> None:
    """Shows that this process is at work, and removes what dead ones left behind. Their claims stay until the part is
    published: they carry the generation."""
    self._begin()
    names = self.listing()
    others = [owner for owner in claim_files.owners(names) if owner != self.id]
    left = self._to_inspect(len(others))
    self.random.shuffle(others)
    for owner in others:
      if self.is_alive(owner):
        left -= 1
        if not left:
          break
        continue
      self._sweep(owner, names)

  def _sweep(self, owner: str, names: Sequence[str]) -> None:
    """Of one that is dead. Its heartbeat last: what an owner without one was writing is known by nobody."""
    self._seen.found_dead()
    for name in names:
      if name.endswith(f".{owner}.part"):
        self.files.remove(name)
    self.files.remove(f"{owner}{BEAT}")

  def is_time_to_sweep(self) -> bool:
    """Whether to look for what dead processes were writing beside the product's files: it was not done a moment ago."""
    is_due = self.clock() - self._seen.swept_at > max(self._stale_seconds, 0)
    if is_due:
      self._seen.swept_at = self.clock()
    return is_due

  def _begin(self) -> None:
    for _ in range(100):  # another owner may be removing the empty folder in this moment
      with contextlib.suppress(FileNotFoundError):
        self.files.make()
        self.files.create(self._beat_file)
        return
    raise OSError(f"{self.files} cannot be made: other processes remove it again and again")

  def beat(self) -> None:
    """Shows that this process lives."""
    began = self.clock()
    self._refresh()
    self.may_have_lost()  # before the beat is known to be fresh again
    self._beaten = began

  def _refresh(self) -> None:
    try:
      self.files.refresh(self._beat_file)
    except FileNotFoundError:  # the folder may have been removed, if this process was stopped for long
      self._begin()

  def _now(self) -> float:
    """By the disk's clock, which is compared with this process's now and then."""
    if self.clock() - self._compared > max(self._stale_seconds, 0) / 8:
      self._refresh()
      self._compared = self.clock()
      self._disk_ahead = (self.files.modified(self._beat_file) or time.time()) - self._compared
    return self.clock() + self._disk_ahead

  def end(self) -> None:
    """Releases all, and removes the claims on files that are there: nobody asks for those again, so a death between landing
    and release would leave its claim for good. Whoever holds one of them in this moment finds the file published."""
    for name in list(self._held):
      self.release(name)
    names = self.files.names()
    claims = claim_files.by_part(names)
    there = self.files.published() if claims else set()
    for part in claims.keys() & there:
      if self.files.is_published(part):
        for claim in claims[part]:  # the oldest first here too
          self.files.remove(claim)
    for left in sorted((n for n in names if self.id in n), key=lambda name: name.endswith(BEAT)):
      self.files.remove(left)
    self.files.remove_folder()
