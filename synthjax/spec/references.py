"""References of a config to its own parts, parsed here and nowhere else."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class ImagesRef:
  """SET, or SET/FILTER for what a filter kept of it; empty for no synthetic images."""

  set: str = ""
  filter: str = ""

  @classmethod
  def parse(cls, text: str) -> ImagesRef:
    name, _, rule = text.partition("/")
    return cls(name, rule)

  def __str__(self) -> str:
    return f"{self.set}/{self.filter}" if self.filter else self.set

  def __bool__(self) -> bool:
    return bool(self.set)


def named(scheme: str, reference: str) -> str:
  """NAME of `scheme:NAME`; "" of any other reference."""
  found, _, name = reference.partition(":")
  return name if found == scheme else ""
