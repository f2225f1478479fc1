"""What is not on this machine: an error, which --plan passes over, since it may be where the study will run.

Within `passed_over` each reference is looked for once, and whoever asks for it hears the same again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar

from synthjax.runtime.errors import NotHere

_noted: ContextVar[dict[str, NotHere] | None] = ContextVar("noted", default=None)


@contextlib.contextmanager
def passed_over() -> Iterator[Mapping[str, NotHere]]:
  """Within, what is not here is noted, by its reference, and no error."""
  found: dict[str, NotHere] = {}
  token = _noted.set(found)
  try:
    yield found
  finally:
    _noted.reset(token)


def is_passed_over() -> bool:
  """Whether nothing is to be fetched that is not here."""
  return _noted.get() is not None


def note(error: NotHere) -> None:
  """Raises it, unless it is passed over."""
  noted = _noted.get()
  if noted is None:
    raise error
  noted.setdefault(error.reference, error)


def attempt(action: Callable[[], object]) -> None:
  """Does it as far as what it needs is here; raises NotHere, unless that is passed over."""
  try:
    action()
  except NotHere as e:
    note(e)


def check(reference: str) -> None:
  """Raises what is noted of a reference: to look for it again takes as long as the first time."""
  if (noted := _noted.get()) and (error := noted.get(reference)):
    raise NotHere(str(error), error.reference, error.fix, error.what)
