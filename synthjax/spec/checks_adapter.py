"""The fields of Tip-Adapter, which no other arm has a use for."""

from __future__ import annotations

from typing import Any

from synthjax.runtime.errors import UserError
from synthjax.spec.checks import at_least
from synthjax.spec.fields import TUNING

_OF_ADAPTER = ("init_alpha", "init_beta", "search_scale", "search_step", "views")


def check_adapter(where: str, fields: dict[str, Any]) -> None:
  if not fields["epsilon"] > 0:
    raise UserError(f"{where}: epsilon is above 0, not {fields['epsilon']}")
  if not fields["adapter"]:
    for name in _OF_ADAPTER:
      if fields[name] != TUNING[name].default:
        raise UserError(f"{where}: {name} belongs to adapter tip; set adapter, or leave {name} out")
    return
  at_least(f"{where}: views", fields["views"], 0)
  for name in ("init_alpha", "init_beta"):
    if not fields[name] > 0:
      raise UserError(f"{where}: {name} is above 0, not {fields[name]}")
  for name, kind, low in (("search_scale", (int, float), 0.1), ("search_step", int, 1)):
    pair = fields[name]
    if len(pair) != 2 or not all(isinstance(value, kind) and value >= low for value in pair):
      raise UserError(f"{where}: {name} is two numbers from {low} on, of beta and of alpha, not {pair}")
