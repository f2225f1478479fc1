"""Making what is missing and stale, in order, until nothing is; beside other processes that do the same."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence

from synthjax.disk import faults, snapshot, workdir
from synthjax.products.base import DONE, STALE, Product
from synthjax.runtime import devices, residents
from synthjax.runtime.errors import UserError
from synthjax.runtime.stopping import Stop
from synthjax.store.claims import Heartbeats, Lost, heartbeats
from synthjax.store.sharing import poll_after

_POLL_SECONDS = 1.0  # how often to look at first whether other processes have finished
_LOOK_SECONDS = 30.0  # and whether what was made already has become stale, or nobody lives; likewise
_LONGER, _LONGEST = 1.5, 8  # times: each than the one before, the last than the first


def check_inputs(chosen: Sequence[Product]) -> None:
  """With --stages, what the chosen stages need must be among them or there: nobody else will make it."""
  with snapshot.one_look():
    for product in chosen:
      for needed in product.inputs:
        if needed not in chosen and (state := needed.status().state) != DONE:
          raise UserError(
            f"{product.name} is made from {needed.name}, which is {state}; add {needed.stage} to --stages"
          )


def _nothing() -> None:
  pass


def make(
  chosen: Sequence[Product],
  stop: Stop,
  stale_seconds: float,
  pending: Sequence[Product] | None = None,
  then: Callable[[], None] = _nothing,
) -> None:
  """Goes on to the next product while other processes hold what is left of one, and comes back to it.

  `pending`: what `to_make` has just found. `then` is called within the look at the disk that finds nothing stale.
  """
  pending, others = to_make(chosen) if pending is None else pending, _Others(stale_seconds)
  while True:
    while pending:
      left = _left(pending, stop)
      if len(left) == len(pending) and others.is_due():
        # A process with another config may have made stale what is made from, or what was made already.
        with snapshot.one_look():
          left = [p for p in chosen if p in left or p.status().state != DONE]
      if len(left) >= len(pending):
        others.wait_for(left, stop)
      else:
        others.moved()
      pending = left
    with snapshot.one_look():
      pending = [p for p in chosen if p.status().state == STALE]  # a filter may have had more images drawn
      if not pending:
        return then()


def to_make(chosen: Sequence[Product]) -> list[Product]:
  """Without what needs nothing, by one look at the disk: of a finished study each of hundreds of runs would take its own.
  What becomes stale meanwhile is found at the end."""
  if devices.is_joined():  # they go through all in one order
    return list(chosen)
  with snapshot.one_look():
    return [product for product in chosen if not _is_idle(product)]


def _is_idle(product: Product) -> bool:
  try:
    return product.status().is_idle
  except UserError:  # which is reported when its turn comes
    return False


class _Others:
  """The processes that are waited for: someone must be alive, or the wait would have no end."""

  def __init__(self, stale_seconds: float):
    self._patience = 2 * stale_seconds + 10 * _POLL_SECONDS
    self._stale_seconds, self._due = stale_seconds, 0.0
    self._is_announced = False
    self.moved()

  def moved(self) -> None:
    self._seen: Mapping[str, Heartbeats] = {}
    self._since = time.monotonic()
    self._poll, self._every = _POLL_SECONDS, min(self._stale_seconds, _LOOK_SECONDS)
    self._least_often = _LONGEST * self._every

  def is_due(self) -> bool:
    """Whether to read again what hardly ever changes: of a large study that costs seconds."""
    return not devices.is_joined() and time.monotonic() >= self._due

  def wait_for(self, left: Sequence[Product], stop: Stop) -> None:
    if not self._is_announced and devices.is_main_process():
      print(f"waiting for other processes: {', '.join(p.name for p in left)}", file=sys.stderr)
    self._is_announced = True
    stop.sleep(self._poll)
    self._poll = max(poll_after(self._poll, self._stale_seconds), _POLL_SECONDS)
    if self.is_due():
      self._due = time.monotonic() + self._every
      self._every = min(_LONGER * self._every, self._least_often)
      with snapshot.one_look():
        seen = _heartbeats(left, self._seen)
      if seen != self._seen:
        self._seen, self._since = seen, time.monotonic()
      elif time.monotonic() - self._since > self._patience:
        raise UserError(_why(left))


def _heartbeats(products: Sequence[Product], before: Mapping[str, Heartbeats]) -> dict[str, Heartbeats]:
  """Of the processes that work on these products, or on what they are made from, by folder."""
  found: dict[str, Heartbeats] = {}
  seen, pending = set(), list(products)
  while pending:
    if id(product := pending.pop()) in seen:
      continue
    seen.add(id(product))
    pending += product.inputs
    if all(needed.status().state == DONE for needed in product.inputs):  # else its folder has no name yet
      working = product.folder / workdir.WORKING
      found[str(working)] = heartbeats(working, before.get(str(working), Heartbeats()))
  return found


def _why(left: Sequence[Product]) -> str:
  for product in left:
    for needed in product.inputs:
      if needed not in left and (state := needed.status().state) != DONE:
        return (
          f"{product.name} waits for {needed.name}, which is {state}, and no process is working on it; "
          f"run again with {needed.stage} among --stages"
        )
  status = left[0].status()
  return (
    f"{left[0].name} is {status.state} ({status.have} of {status.want} {status.unit}), cannot be made, and no other process "
    "is working on it; run the same command again to go on"
  )


def _left(pending: Sequence[Product], stop: Stop) -> list[Product]:
  """What could not be made now. Joined processes go in one order, since they train together: none goes ahead."""
  if not devices.is_joined():
    return [product for i, product in enumerate(pending) if not _made(product, pending[i + 1 :], stop)]
  done = next((i for i, p in enumerate(pending) if not _made(p, pending[i + 1 :], stop)), len(pending))
  return list(pending[done:])


def _made(product: Product, later: Sequence[Product], stop: Stop) -> bool:
  stop.check()
  residents.expect(p.uses for p in later)
  try:
    with faults.faults_of_disk(product.name):
      return product.make(stop)
  except Lost:
    print(
      f"{product.name}: this process was paused for so long that another one took over; the work of that one is used",
      file=sys.stderr,
    )
    return False
