"""Keeps orbax's tracebacks from the terminal. What fails in one of its threads is raised in ours as well, and reported there."""

from __future__ import annotations

import functools
import logging
import sys
import warnings
from typing import Any

from absl import logging as absl_logging


@functools.cache
def silence() -> None:
  """Of failures alone: warnings stay."""
  for logger in (absl_logging.get_absl_logger(), logging.getLogger("asyncio")):
    logger.addFilter(_is_no_failure_of_orbax)
  before = sys.unraisablehook

  def unless_of_a_loop(unraisable: Any) -> None:
    """Once a part of a save has failed, its loop is closed, and tensorstore's threads still report the others to it.

    Without a file descriptor left the loop could not even begin, and stumbles again when it is forgotten."""
    unfinished = getattr(unraisable.object, "__qualname__", "") == "BaseEventLoop.__del__"
    if not unfinished and str(unraisable.exc_value) != "Event loop is closed":
      before(unraisable)

  sys.unraisablehook = unless_of_a_loop
  warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)


def _is_no_failure_of_orbax(record: logging.LogRecord) -> bool:
  if record.name == "asyncio":
    return "was never retrieved" not in record.getMessage()
  return record.levelno < logging.ERROR or "/orbax/" not in record.pathname
