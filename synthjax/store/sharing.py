"""How processes share the parts of a product at a cost that does not grow with their number.

A part is taken by creating its claim, without a look before. One listing of the claims and one of the product serve until an
attempt fails. Who starts beside others starts at a random part, and who meets another goes on at a random one, so that each
has parts of its own for as long as there are many.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from synthjax.store import claim_files
from synthjax.store.claim_files import ClaimFiles
from synthjax.store.claiming import Claims, Seen

_LISTED_SECONDS = 30.0  # after which the next claim lists anew: progress shows what others have made since
_LONGER, _LONGEST_POLL_SECONDS = 1.5, 15.0


def poll_after(seconds: float, stale_seconds: float) -> float:
  """How long to wait for others who hold all that is left, after waiting so long: the longer, the less often."""
  return min(_LONGER * seconds, _LONGEST_POLL_SECONDS, stale_seconds / 4)


def is_any_free(
  files: ClaimFiles, missing: Iterable[str], seen: Seen, stale_seconds: float, now: float
) -> bool:
  """Whether one of these parts may be this process's to make, or all are held by others that were alive a moment ago. It is for
  who waits: it shows nobody that this process lives, and costs one listing."""
  names = files.names()
  seen.note(names, now, stale_seconds)
  claims = claim_files.by_part(names)
  return any(seen.may_be_free(claims.get(name, ()), now) for name in missing)


@dataclasses.dataclass(frozen=True)
class _Listing:
  free: list[str]  # of the wanted parts, in their order
  claimed: dict[str, list[str]]  # part -> the claims on it
  others: bool  # are at work
  at: float


class Sharing:
  """Goes through the parts once. Each that it gives is taken, and not there; `listed` is shown each listing of the product."""

  def __init__(self, claims: Claims, wanted: Sequence[str], listed: Callable[[Collection[str]], None]):
    self._claims, self._wanted, self._listed = claims, wanted, listed
    self._place = {name: i for i, name in enumerate(wanted)}
    self._last = -1  # the place of the part that was given last
    self._given: set[str] = set()
    self._missed: set[str] = set()  # a disk that lists late shows them as free

  def parts(self) -> Iterator[str]:
    """Ends when all that is left is held by the living."""
    listing = self._list()
    at_random = listing.others
    while True:
      for name in self._order(listing.free, at_random):
        at_random = not self._claims.take_new(name)
        if at_random:
          self._missed.add(name)
          break
        yield self._give(name)
        if self._claims.clock() - listing.at > _LISTED_SECONDS:
          break
      listing = self._list()
      while not listing.free:
        if (name := self._from_dead(listing.claimed)) is None:
          return
        yield self._give(name)
        listing = self._list()

  def _list(self) -> _Listing:
    names = self._claims.listing()  # before the product: what is released in between is found there
    there = self._claims.files.published()
    self._listed(there)
    claims = claim_files.by_part(names)
    left = [name for name in self._wanted if name not in there and name not in self._given]
    return _Listing(
      free=[name for name in left if name not in claims and name not in self._missed],
      claimed={name: claims[name] for name in left if name in claims},
      others=any(owner != self._claims.id for owner in claim_files.owners(names)),
      at=self._claims.clock(),
    )

  def _order(self, free: Sequence[str], at_random: bool) -> Sequence[str]:
    """All of them, from where this process goes on."""
    if at_random and free:
      start = self._claims.random.randrange(len(free))
    else:
      start = next((i for i, name in enumerate(free) if self._place[name] > self._last), 0)
    return [*free[start:], *free[:start]]

  def _from_dead(self, claimed: Mapping[str, Sequence[str]]) -> str | None:
    taken = self._claims.take_from_dead(claimed)
    return next((name for name in taken if not self._claims.release_if_there(name)), None)

  def _give(self, name: str) -> str:
    self._given.add(name)
    self._last = self._place[name]
    return name
