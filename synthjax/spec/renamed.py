"""Fields that have been renamed (`Renamed` in fields.py). A config may still use the older name; records keep it."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict

from synthjax.runtime.errors import UserError
from synthjax.spec import fields, group


@functools.cache
def _renamed() -> tuple[tuple[type[group.Group], group.Field], ...]:
  groups = [of for of in vars(fields).values() if isinstance(of, type) and issubclass(of, group.Group)]
  groups.remove(group.Group)
  return tuple((of, field) for of in groups for field in group.fields(of).values() if field.older_name)


def _field(older: str, names: Iterable[str]) -> group.Field | None:
  """The field of this group of a config that had this name."""
  return next((field for of, field in _renamed() if field.older_name == older and _is_of(of, names)), None)


def _is_of(of: type[group.Group], names: Iterable[str]) -> bool:
  return group.fields(of).keys() <= set(names)


def newer_name(name: str, node: ConfigDict) -> str:
  """What a field of this group of a config is called now; "" where `name` is no older name of one."""
  field = _field(name, list(node))
  return field.name if field else ""


def recorded(node: Mapping[str, Any]) -> dict[str, Any]:
  """A config's values by the names that records use."""
  names = {field.name: field.recorded_name for of, field in _renamed() if _is_of(of, node)}
  return {names.get(k, k): recorded(v) if isinstance(v, Mapping) else v for k, v in node.items()}


def rename(config: ConfigDict, where: str = "config") -> Iterator[str]:
  """Moves values to the newer names of their fields; yields a note for each. Both names at once are an error."""
  for name in list(config):
    value = config[name]
    if isinstance(value, ConfigDict):
      yield from rename(value, f"{where}.{name}")
    elif field := _field(name, list(config)):
      newer = field.name
      if config[newer] not in (None, field.default):
        raise _both(where, name, newer)
      with config.unlocked():
        del config[name]
      try:
        config[newer] = value
      except TypeError:
        kind = config.get_type(newer).__name__
        raise UserError(f"{where}: {newer} is a {kind}, not {value!r}") from None
      yield _note(where, name, newer)


def rename_overrides(config: ConfigDict, overrides: list[str]) -> tuple[list[str], list[str]]:
  """(`--config.a.b=value` by the newer names, notes). Both names at once are an error."""
  given = {_path(override) for override in overrides}
  found, notes = [], []
  for override in overrides:
    *groups, name = _path(override).split(".")
    newer = newer_name(name, node) if (node := _group(config, groups[1:])) is not None else ""
    if newer:
      where = ".".join(groups)
      if f"{where}.{newer}" in given:
        raise _both(where, name, newer)
      notes.append(_note(where, name, newer))
      before, equals, value = override.partition("=")
      override = before.removesuffix(name) + newer + equals + value
    found.append(override)
  return found, notes


def _path(override: str) -> str:
  """config.a.b; "" of a value that stands alone."""
  return override.partition("=")[0][2:] if override.startswith("--") else ""


def _group(config: ConfigDict, names: list[str]) -> ConfigDict | None:
  node = config
  for name in names:
    node = node[name] if isinstance(node, ConfigDict) and name in node else None
  return node if isinstance(node, ConfigDict) else None


def _both(where: str, older: str, newer: str) -> UserError:
  return UserError(
    f"{where} sets both {older} and {newer}, which are one field; remove {older}, its older name"
  )


def _note(where: str, older: str, newer: str) -> str:
  return f"{where}.{older} is now called {newer}"
