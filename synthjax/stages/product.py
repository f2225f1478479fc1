"""What the study asks of a product."""

from __future__ import annotations

import dataclasses
from typing import Protocol

from synthjax.stopping import Stop

MISSING, STALE, DONE = "missing", "stale", "done"


@dataclasses.dataclass(frozen=True)
class Status:
  """For --plan. `flops` and the bytes beyond those on disk are what is still to be spent."""

  state: str
  have: int = 0
  want: int = 0
  unit: str = "images"
  shards: str = ""  # landed of planned
  bytes: float = 0.0
  flops: float = 0.0


class Product(Protocol):
  name: str  # its folder in the workdir: prompts/LE, images/LE
  stage: str  # prompts, sample

  def status(self) -> Status:
    """Reads, and refuses a changed identity; makes nothing."""
    ...

  def make(self, stop: Stop) -> bool:
    """True: it is whole. False: all that is left is being made by other processes."""
    ...
