"""Tasks of networks that a config describes: equal configs make equal tasks, which share what is compiled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


class OfConfig:
  def __init__(self, *configs: Mapping[str, Any] | float):
    self._key = json.dumps(configs, sort_keys=True, default=str)

  def __eq__(self, other: object) -> bool:
    return isinstance(other, OfConfig) and type(self) is type(other) and self._key == other._key

  def __hash__(self) -> int:
    return hash((type(self), self._key))
