"""When a request to a server may be sent: limits a minute, and waiting after failures. Shared by the threads that send."""

from __future__ import annotations

import dataclasses
import random
import threading
import time
from collections.abc import Callable

_FIRST, _LONGEST = 0.5, 30.0  # seconds between tries, doubled from the one up to the other
_CHARACTERS = 4  # of a token, until the server has counted
_RECENT = 0.1  # weight of the newest answer in the expected length of the next


@dataclasses.dataclass(frozen=True)
class Booking:
  seconds: float  # until it may be sent
  tokens: float  # estimated
  characters: int


class Limits:
  """Requests and tokens a minute; 0 = no limit.

  Requests are sent evenly rather than all at once at the begin of a minute: servers count over windows that nobody else knows.
  So in no 60 seconds are more than the limit sent; of tokens, as far as their number was foreseen."""

  def __init__(self, requests: int, tokens: int, clock: Callable[[], float] = time.monotonic):
    self._seconds_per_request = 60 / requests if requests else 0.0
    self._seconds_per_token = 60 / tokens if tokens else 0.0
    self._clock = clock
    self._lock = threading.Lock()
    self._next_request = self._next_token = clock()
    self._beyond: float | None = None  # tokens beyond those of the text asked: the answer's, and of images

  def book(self, characters: int, max_tokens: int) -> Booking:
    """Takes the next free place for a request of so many characters, whose answer has at most so many tokens."""
    with self._lock:
      tokens = characters / _CHARACTERS + (max_tokens if self._beyond is None else self._beyond)
      now = self._clock()
      start = max(now, self._next_request, self._next_token)
      self._next_request = start + self._seconds_per_request
      self._next_token = start + self._seconds_per_token * tokens
      return Booking(start - now, tokens, characters)

  def settle(self, booking: Booking, tokens: int) -> None:
    """It took so many tokens."""
    with self._lock:
      beyond = max(tokens - booking.characters / _CHARACTERS, 0)
      self._beyond = beyond if self._beyond is None else (1 - _RECENT) * self._beyond + _RECENT * beyond
      self._next_token += self._seconds_per_token * (tokens - booking.tokens)


class Outage:
  """How long a server has failed without one answer between, and when what failed is tried again."""

  def __init__(self, budget: float, clock: Callable[[], float] = time.monotonic):
    self._budget, self._clock = budget, clock
    self._lock = threading.Lock()
    self._random = random.Random()
    self._since: float | None = None
    self._not_before = clock()

  def answered(self) -> None:
    with self._lock:
      self._since = None

  def failed(self, tries: int, retry_after: float | None) -> float | None:
    """Seconds until a request that has failed so often may be sent again; None = the server has failed for too long.

    A server that names a time names it for all requests."""
    with self._lock:
      now = self._clock()
      self._since = now if self._since is None else self._since
      left = self._since + self._budget - now
      if left <= 0:
        return None
      if retry_after is not None:
        self._not_before = max(self._not_before, now + min(retry_after, left))
      backoff = min(_FIRST * 2 ** min(tries - 1, 20), _LONGEST) * self._random.uniform(0.5, 1.0)
      return min(max(backoff, self._not_before - now), left)

  def pause(self) -> float:
    """Seconds for which nothing should be sent."""
    return self._not_before - self._clock()
