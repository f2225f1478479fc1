"""What a probe has found, as a line."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from synthjax.disk import faults
from synthjax.runtime.errors import UserError, one_line

_WIDTH = 12  # of a name


@dataclasses.dataclass(frozen=True)
class Finding:
  """`fix`: what to do, "" where nothing is wrong. Without what is essential no study can be made here, or none rightly."""

  name: str
  figure: str
  fix: str = ""
  essential: bool = False

  @property
  def fails(self) -> bool:
    return bool(self.fix) and self.essential

  def line(self) -> str:
    mark = "ok" if not self.fix else "FAIL" if self.essential else "warn"
    return f"{mark:<5} {self.name:<{_WIDTH}} {self.figure}{self.fix and f'; {self.fix}'}"


def probed(name: str, probe: Callable[[], Finding], essential: bool = True) -> Finding:
  """What a probe finds, or what stopped it: a full disk is a finding too."""
  try:
    return probe()
  except UserError as e:
    return failed(name, one_line(e), essential)
  except Exception as e:
    if fault := faults.disk_fault(e):
      return failed(name, fault, essential)
    if isinstance(e, OSError):
      return failed(name, f"{e.filename or 'input/output'}: {e.strerror or e}", essential)
    raise


def failed(name: str, line: str, essential: bool = True) -> Finding:
  """Of a line that says what is wrong and what to do."""
  what, _, fix = line.partition("; ")
  return Finding(name, what, fix or "see above", essential)


def span(seconds: float) -> str:
  return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"


def gigabytes(count: float) -> str:
  return f"{count / 1e9:,.1f} GB"
