"""The rules by the names that a config gives them; a config file may register others."""

from __future__ import annotations

from synthjax.filters.clip import ClipRule
from synthjax.filters.duplicates import UnlikeRule
from synthjax.filters.nearest_real import RealRule
from synthjax.filters.rule import Rule
from synthjax.runtime.registry import Registry

_SHIPPED: dict[str, type[Rule]] = {"clip": ClipRule, "real": RealRule, "unlike": UnlikeRule}
RULES: Registry[type[Rule]] = Registry("rule", _SHIPPED)
