"""What a command that fails says last, in a line, and its exit code."""

from __future__ import annotations

import sys

from synthjax.cli import config_lines
from synthjax.runtime.errors import Interrupted, UserError, one_line

_AGAIN = "run the same command again to go on"


def ending(error: Exception, argv: list[str]) -> tuple[str, int] | None:
  """None: a fault of ours, which is shown as a traceback."""
  joining = sys.modules.get("synthjax.runtime.joining")  # imports jax
  if lost := joining.lost(error) if joining else None:
    return str(lost), lost.exit_code
  match error:
    case UserError():
      return f"{one_line(error)}{config_lines.about(str(error), argv)}", error.exit_code
    case Interrupted():
      return f"{error}; {_AGAIN}", error.exit_code
  from synthjax.disk import faults

  if fault := faults.disk_fault(error):
    return fault, UserError.exit_code
  if isinstance(error, OSError):  # of a network, as it may be
    return (
      f"{error.filename or 'input/output'}: {error.strerror or one_line(error)}; {_AGAIN}",
      UserError.exit_code,
    )
  return None
