"""What a command asks for: a study, where its products lie, and which of them to make."""

from __future__ import annotations

import dataclasses

from synthjax.spec.config import Config


@dataclasses.dataclass(frozen=True)
class Command:
  config: Config
  workdir: str
  plan: bool = False
  stages: tuple[str, ...] = ()
  distributed: str = "auto"
  notes: tuple[str, ...] = ()  # of what was typed, for stderr
  line: str = ""  # as it was typed, for those who want to type it again
