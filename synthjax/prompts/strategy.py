"""What a strategy is: one way to write a prompt list."""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

from synthjax.labels.spaces import LabelSpace
from synthjax.spec.fields import Prompts
from synthjax.store.prompt import Prompt


@dataclasses.dataclass(frozen=True)
class Written:
  prompts: list[Prompt]
  notes: list[str]  # what the user should know: a writer that ran dry, ...


class Strategy(Protocol):
  """One way to write a prompt list. Its instance is registered in STRATEGIES under the name that configs use."""

  uses: tuple[
    str, ...
  ]  # fields that decide what it writes; the others may change without making another list

  def check(self, fields: Prompts, labels: LabelSpace, where: str) -> None:
    """Refuses what would fail, or be nonsense, before anything is made. A file is read by `write` alone."""
    ...

  def identity(self, fields: Prompts, labels: LabelSpace) -> dict[str, Any]:
    """What decides the list beside those fields and the classes' ids and names."""
    ...

  def write(self, fields: Prompts, labels: LabelSpace) -> Written:
    """Prompts of every class, class by class in the label space's order; the same on every machine."""
    ...
