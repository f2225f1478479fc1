"""Text, JSON and YAML that others wrote: what a file holds, or one line that says what is wrong with it and where.

Such a file may be a pipe that never ends, a terabyte, brackets nested until Python's stack is full, a number of 5,000
digits, aliases that multiply, or half of a surrogate pair, which no file can be written with. So a config's labels,
prompts and mappings, and the JSON of downloaded folders, are opened here and nowhere else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from synthjax.disk import regular_files
from synthjax.runtime.errors import UserError

MB = 1 << 20
MOST = 64 * MB
MOST_OF_LINES = 2048 * MB  # files of a line an image
_Key = TypeVar("_Key", bound=Hashable)
_MOST_OF_YAML = 4 * MB  # its parser reads half of this in a minute
_DEEPEST = 64
_MOST_DIGITS = 1000  # tokenizer_config.json has numbers of 31
_MOST_ALIASED = 100_000  # values that aliases add
_SURROGATE = re.compile(r"\\(u|U0000)[dD][89a-fA-F]")
_SHOWN = 200  # characters of what a parser says


def read_bytes(file: Path, subject: str, fix: str = "", most: int = MOST) -> bytes:
  """The contents of a regular file, links followed. `subject` begins the line of an error, `fix` ends it."""
  try:
    return regular_files.read_bytes(file, most)
  except regular_files.NotRegular as e:
    raise UserError(f"{subject} is {e.kind}; name a regular file") from None
  except regular_files.TooLarge:
    raise UserError(
      f"{subject} is larger than the {most // MB} MB that are read of such a file; make it smaller"
    ) from None
  except FileNotFoundError:
    raise UserError(_line(f"{subject} does not exist", fix or "fix its path")) from None
  except (OSError, ValueError) as e:  # a name with a zero byte is a ValueError
    raise UserError(_line(f"{subject} cannot be read: {_reason(e)}", fix)) from None


def read_text(file: Path, subject: str, fix: str = "", most: int = MOST) -> str:
  try:
    text = read_bytes(file, subject, fix, most).decode("utf-8-sig")
  except UnicodeDecodeError as e:
    raise UserError(_line(f"{subject} cannot be read: it is not UTF-8 ({_reason(e)})", fix)) from None
  return text.replace("\r\n", "\n").replace("\r", "\n")


def read_json(file: Path, subject: str, fix: str = "", most: int = MOST) -> Any:
  return parse_json(read_text(file, subject, fix, most), subject, fix)


def read_lines(file: Path, subject: str, fix: str = "") -> Iterator[tuple[int, Any]]:
  """(number, value) of each line of JSON that is not empty."""
  text = read_text(file, subject, fix, MOST_OF_LINES)
  for number, line in enumerate(text.split("\n"), start=1):  # not splitlines: U+2028 stands inside sentences
    if line.strip():
      yield number, parse_json(line, f"{subject} line {number}", fix)


def parse_json(
  text: str | bytes,
  subject: str,
  fix: str = "",
  *,
  unique: bool = False,
  number: Callable[[str], Any] | None = None,
) -> Any:
  """With `unique` no key may stand twice; `number` makes something of a number's text, instead of int and float."""
  make_dict = _unique if unique else None
  try:
    if isinstance(text, bytes):
      text = text.decode("utf-8-sig")
    value = json.loads(text, object_pairs_hook=make_dict, parse_int=number or _integer, parse_float=number)
    if text.count("[") + text.count("{") > _DEEPEST or _SURROGATE.search(text):
      _check(value)
  except RecursionError:
    raise UserError(_line(f"{subject} is not readable JSON (it is nested too deeply)", fix)) from None
  except ValueError as e:
    raise UserError(_line(f"{subject} is not readable JSON ({_reason(e)})", fix)) from None
  return value


def parse_yaml(text: str, subject: str, fix: str = "") -> Any:
  """Every scalar is a text, so that `no` is not False, and no key stands twice."""
  if len(text) > _MOST_OF_YAML:
    raise UserError(
      f"{subject} has more than the {_MOST_OF_YAML // MB} MB that are read of YAML; write it as .json"
    )
  try:
    value = yaml.load(text, Loader=_Loader)
    if _SURROGATE.search(text):
      _check(value)
  except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as e:
    raise UserError(_line(f"{subject} is not readable YAML ({_reason(e)})", fix)) from None
  return value


class _Loader(yaml.BaseLoader):
  """Counts what aliases stand for as if it were written out, before any of it is made."""

  def __init__(self, stream: str):
    super().__init__(stream)
    self._depth, self._values, self._aliased = 0, 0, 0
    self._sizes: dict[str, int] = {}  # of what has an anchor, written out

  def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
    event = self.peek_event()
    if isinstance(event, yaml.AliasEvent):
      self._count_alias(event)
      return super().compose_node(parent, index)
    if self._depth >= _DEEPEST:
      raise yaml.YAMLError(f"line {event.start_mark.line + 1} is nested too deeply")
    self._depth += 1
    before = self._values + self._aliased
    self._values += 1
    node = super().compose_node(parent, index)
    self._depth -= 1
    if event.anchor:
      self._sizes[event.anchor] = self._values + self._aliased - before
    return node

  def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
    return _unique((self.construct_object(k, True), self.construct_object(v, True)) for k, v in node.value)

  def _count_alias(self, event: yaml.AliasEvent) -> None:
    # An anchor that is not known yet is the alias's own surroundings, or wrong.
    self._aliased += self._sizes.get(event.anchor, 0)
    if event.anchor in self.anchors and event.anchor not in self._sizes:
      raise yaml.YAMLError(f"line {event.start_mark.line + 1}: *{event.anchor[:40]} stands within itself")
    if self._aliased > _MOST_ALIASED:
      raise yaml.YAMLError(
        f"line {event.start_mark.line + 1}: the aliases, as *{event.anchor[:40]}, stand for more than "
        f"{_MOST_ALIASED:,} values"
      )


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _Loader.construct_mapping)


def _unique(pairs: Iterable[tuple[_Key, Any]]) -> dict[_Key, Any]:
  found: dict[_Key, Any] = {}
  for key, value in pairs:
    if not isinstance(key, str):
      raise ValueError(f"a key is a text, not {repr(key)[:40]}")
    if key in found:
      raise ValueError(f"{key[:80]!r} stands there twice")
    found[key] = value
  return found


def _integer(digits: str) -> int:
  if len(digits) > _MOST_DIGITS:
    raise ValueError(f"the number {digits[:12]}... has {len(digits)} digits")
  return int(digits)


def _check(value: Any) -> None:
  """Nothing nested too deeply, and no text that cannot be written."""
  left = [(value, 0)]
  while left:
    value, depth = left.pop()
    if depth > _DEEPEST:
      raise ValueError("it is nested too deeply")
    if isinstance(value, Mapping):
      left += [(key, depth) for key in value]
      left += [(inner, depth + 1) for inner in value.values()]
    elif isinstance(value, list):
      left += [(inner, depth + 1) for inner in value]
    elif isinstance(value, str) and not is_writable(value):
      raise ValueError(f"{value[:40]!a} holds half of a surrogate pair")


def is_writable(text: str) -> bool:
  """Whether the text can stand in a file: half of a surrogate pair cannot."""
  try:
    text.encode()
  except UnicodeEncodeError:
    return False
  return True


def _reason(error: BaseException) -> str:
  reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
  reason = " ".join(reason.split())
  return reason if len(reason) <= _SHOWN else f"{reason[:_SHOWN]}..."


def _line(what: str, fix: str) -> str:
  return f"{what}; {fix}" if fix else what
