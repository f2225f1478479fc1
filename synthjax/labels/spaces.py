"""A label space: class ids, which key everything, and display names, which only prompts and pages use.

Two classes may bear one name (ImageNet has two such pairs); never one id.
"""

from __future__ import annotations

import dataclasses
import json
import string
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from synthjax.errors import UserError, nearest

TEMPLATE = "a photo of a {}"


@dataclasses.dataclass(frozen=True)
class LabelSpace:
  ids: tuple[str, ...]
  names: tuple[str, ...]  # may repeat
  template: str = TEMPLATE  # the basic prompt; {} stands for the name
  templates: tuple[str, ...] = ()  # the ensemble, for strategy `templates` and for zero-shot classifiers

  def __len__(self) -> int:
    return len(self.ids)

  def name_of(self, class_id: str) -> str:
    return self.names[self.ids.index(class_id)]


_GLYPH_TEMPLATES = (
  "a photo of a {}",
  "a handwritten {}",
  "a printed {}",
  "a {} on paper",
  "a scan of a {}",
  "a small picture of a {}",
  "a drawing of a {}",
)


def _glyphs(characters: str) -> LabelSpace:
  names = tuple(f"{'digit' if c.isdigit() else 'letter'} {c}" for c in characters)
  return LabelSpace(tuple(characters), names, templates=_GLYPH_TEMPLATES)


SPACES = {
  "digits": lambda: _glyphs(string.digits),
  "letters": lambda: _glyphs(string.ascii_uppercase),
  "glyphs": lambda: _glyphs(string.digits + string.ascii_uppercase),
}


def load(labels: str) -> LabelSpace:
  """`digits`, `letters`, `glyphs` (both), or a YAML/JSON file: `classes: {id: name, ...}`, and `template:`, `templates:` if wanted."""
  if labels in SPACES:
    return SPACES[labels]()
  path = Path(labels).expanduser()
  if path.suffix not in (".yaml", ".yml", ".json"):
    raise UserError(
      f"config.labels {labels!r}{nearest(labels, SPACES)}, or a file that ends with .yaml or .json"
    )
  try:
    text = path.read_text()
  except (OSError, UnicodeDecodeError) as e:
    raise UserError(f"labels file {labels} cannot be read: {e}") from None
  try:
    if path.suffix == ".json":
      body = json.loads(text, object_pairs_hook=lambda pairs: _unique(labels, pairs))
    else:
      body = yaml.load(text, Loader=_text_loader(labels))
  except (json.JSONDecodeError, yaml.YAMLError) as e:
    raise UserError(
      f"labels file {labels} is not valid {path.suffix[1:]}: {' '.join(str(e).split())}"
    ) from None
  return _from_body(labels, body)


def _unique(file: str, pairs: Iterable[tuple[Any, Any]]) -> dict[str, Any]:
  found: dict[str, Any] = {}
  for key, value in pairs:
    if not isinstance(key, str):
      raise UserError(f"labels file {file}: a key is a text, not {key!r}")
    if key in found:
      raise UserError(f"labels file {file}: {key!r} stands there twice; every class needs an id of its own")
    found[key] = value
  return found


def _text_loader(file: str) -> type[yaml.BaseLoader]:
  """YAML in which `no` and `007` stay texts, and a repeated key is an error."""

  class Loader(yaml.BaseLoader):
    def construct_mapping(self, node, deep=False):
      return _unique(
        file, ((self.construct_object(k, True), self.construct_object(v, True)) for k, v in node.value)
      )

  Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, Loader.construct_mapping)
  return Loader


def _from_body(file: str, body: Any) -> LabelSpace:
  known = ("classes", "template", "templates")
  if not isinstance(body, dict) or not isinstance(body.get("classes"), dict) or not body["classes"]:
    raise UserError(f"labels file {file} needs `classes:`, a mapping of class id to name")
  for key in body:
    if key not in known:
      raise UserError(f"labels file {file}: unknown key {key!r}{nearest(key, known)}")
  for class_id, name in body["classes"].items():
    if not isinstance(name, str) or not name.strip() or not class_id.strip() or "\n" in class_id:
      raise UserError(f"labels file {file}: class {class_id!r} needs a name that is a text, not {name!r}")
  templates = body.get("templates", [])
  if not isinstance(templates, list):
    raise UserError(f"labels file {file}: templates is a list of texts, not {templates!r}")
  template = body.get("template", TEMPLATE)
  for text in (template, *templates):
    check_template(text, f"labels file {file}")
  return LabelSpace(tuple(body["classes"]), tuple(body["classes"].values()), template, tuple(templates))


def check_template(text: str, where: str) -> None:
  if not isinstance(text, str) or "{}" not in text:
    raise UserError(f"{where}: template {text!r} has no {{}} where the class name goes")
