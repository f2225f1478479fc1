"""A labels file, YAML or JSON, as it is written: every key a text, none twice, and no `no` read as False."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from synthjax.errors import UserError

SUFFIXES = (".yaml", ".yml", ".json")


def read(path: Path) -> Any:
  """The body; whatever is wrong with the file is one line."""
  try:
    text = path.read_text(encoding="utf-8")
  except FileNotFoundError:
    raise UserError(f"labels file {path} does not exist; fix its path") from None
  except (OSError, UnicodeDecodeError) as e:
    why = e.strerror if isinstance(e, OSError) else e
    raise UserError(f"labels file {path} cannot be read: {why}") from None
  try:
    if path.suffix == ".json":
      return json.loads(text, object_pairs_hook=lambda pairs: _unique(path, pairs))
    return yaml.load(text, Loader=_text_loader(path))
  except (json.JSONDecodeError, yaml.YAMLError) as e:
    raise UserError(
      f"labels file {path} is not valid {path.suffix[1:]}: {' '.join(str(e).split())}"
    ) from None


def _unique(path: Path, pairs: Iterable[tuple[Any, Any]]) -> dict[str, Any]:
  found: dict[str, Any] = {}
  for key, value in pairs:
    if not isinstance(key, str):
      raise UserError(f"labels file {path}: a key is a text, not {key!r}")
    if key in found:
      raise UserError(f"labels file {path}: {key!r} stands there twice; every class needs an id of its own")
    found[key] = value
  return found


def _text_loader(path: Path) -> type[yaml.BaseLoader]:
  class Loader(yaml.BaseLoader):
    def construct_mapping(self, node, deep=False):
      return _unique(
        path, ((self.construct_object(k, True), self.construct_object(v, True)) for k, v in node.value)
      )

  Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, Loader.construct_mapping)
  return Loader
