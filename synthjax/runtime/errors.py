"""What a user can fix: one line that says what is wrong, where, and what to do. main prints it and exits with 2."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Callable, Iterable, Iterator

_LONGEST = 2000  # characters of an error's line


class UserError(Exception):
  """A mistake in a config, a folder or a file. A traceback, by contrast, is a bug of ours."""

  exit_code = 2


class Unavailable(UserError):
  """A server failed during the work: once it answers again, the same command goes on."""

  exit_code = 75  # EX_TEMPFAIL of sysexits.h


class NotHere(UserError):
  """Something whole that a reference names is not on this machine, though it may be where the study will run."""

  def __init__(self, line: str, reference: str, fix: str, what: str = "data"):
    """`fix` says how to come by it, or what exactly is not there, in a few words; `what`: data, weights or servers."""
    super().__init__(line)
    self.reference, self.fix, self.what = reference, fix, what


class Interrupted(Exception):
  """The process was asked to stop (SIGTERM, SIGINT) and has put everything in order."""

  def __init__(self, signal_number: int, where: str = ""):
    super().__init__(f"stopped by signal {signal_number}{where and f', {where}'}")
    self.exit_code = 128 + signal_number


def one_line(error: BaseException) -> str:
  """What an error says, in a line: names from a file may hold line breaks, or be a megabyte long."""
  text = " ".join(line.strip() for line in str(error).splitlines())
  return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 2 :]}"


def chain(error: BaseException) -> list[BaseException]:
  """An error and what is behind it, as a traceback would show them: each once, for the chain may be a circle."""
  found: list[BaseException] = []
  seen: BaseException | None = error
  while seen is not None and not any(seen is e for e in found):
    found.append(seen)
    seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
  return found


@contextlib.contextmanager
def of_library(line: Callable[[str], str]) -> Iterator[None]:
  """Around code of others on files of others, which raises whatever these lead it to: `line` makes a UserError of it."""
  try:
    yield
  except UserError:
    raise
  except Exception as e:
    raise UserError(line(f"{type(e).__name__}: {one_line(e)[:200]}")) from e


def nearest(name: str, known: Iterable[str]) -> str:
  """` (did you mean 'steps'?)`, or the known names where none is near and they are few."""
  known = [str(k) for k in known]
  close = difflib.get_close_matches(name, known, n=1)
  if close:
    return f" (did you mean {close[0]!r}?)"
  return f" (known: {', '.join(known)})" if 0 < len(known) <= 12 else ""


def known(what: str, value: str, among: Iterable[str]) -> None:
  """Refuses a name that is none of these."""
  if value not in among:
    raise UserError(f"{what} {value!r}{nearest(value, among)}")
