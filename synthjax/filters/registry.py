"""The rules by the names that a config gives them."""

from __future__ import annotations

from collections.abc import Mapping

from synthjax.filters.clip import ClipRule
from synthjax.filters.duplicates import UnlikeRule
from synthjax.filters.nearest_real import RealRule
from synthjax.filters.rule import Rule

RULES: Mapping[str, type[Rule]] = {
  "clip": ClipRule,
  "real": RealRule,
  "unlike": UnlikeRule,
}
