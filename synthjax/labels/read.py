"""A labels file, YAML or JSON, as it is written: every key a text, none twice, and no `no` read as False."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from synthjax.disk import documents

SUFFIXES = (".yaml", ".yml", ".json")


def read(path: Path) -> Any:
  """The body; whatever is wrong with the file is one line."""
  subject = f"labels file {path}"
  text = documents.read_text(path, subject)
  if path.suffix == ".json":
    return documents.parse_json(text, subject, unique=True)
  return documents.parse_yaml(text, subject)
