"""The line of a config file that an error is about, where the file's text says it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

Place = tuple[str, ...]  # of a field: ("filters", "CF", "encoder")
_NAMED = re.compile(r"config\.([\w+\-]+(?:\.[\w+\-]+)*)")
_COMMON = {
  "sets": "sampling",
  "arms": "tuning",
  "learners": "learning",
}  # where a field is that one entry does not set
_FIELD = re.compile(r"(?: has no field '|:? )([a-z_]+)")


def about(message: str, argv: Sequence[str]) -> str:
  """` (configs/x.py line 12)`; "" where a flag gave the value, or the file makes it in a way that is not read here."""
  config = next((arg for flag, arg in _flags(argv) if flag == "config"), "")
  file, found = Path(config.partition(":")[0]), _NAMED.search(message)
  if not found or not file.is_file():
    return ""
  place = tuple(found[1].split("."))
  after = _FIELD.match(message, found.end())
  groups = [place, (_COMMON[place[0]],)] if place[0] in _COMMON else [place]
  places = [(*group, after[1]) for group in groups] if after else []
  overridden = [tuple(flag.removeprefix("config.").split(".")) for flag, _ in _flags(argv) if "." in flag]
  if any(given in (place, *places) for given in overridden):
    return ""
  try:
    known = list(_assigned(ast.parse(file.read_text())))
  except (SyntaxError, UnicodeDecodeError, OSError):
    return ""
  for wanted in (*places, place, place[:-1]):
    if wanted and (lines := [line for own, line in known if own == wanted]):
      return f" ({file} line {lines[-1]})"
  return ""


def _flags(argv: Sequence[str]) -> Iterator[tuple[str, str]]:
  for i, arg in enumerate(argv):
    if arg.startswith("--"):
      flag, equals, value = arg[2:].partition("=")
      yield flag, value if equals else "".join(argv[i + 1 : i + 2])


def _assigned(tree: ast.AST) -> Iterator[tuple[Place, int]]:
  """What is set, from the top of the file: by an assignment, by `update`, or by an argument of what is assigned."""
  for node in sorted(ast.walk(tree), key=lambda node: getattr(node, "lineno", 0)):
    if isinstance(node, ast.Assign):
      for target in (t for one in node.targets for t in (one.elts if isinstance(one, ast.Tuple) else [one])):
        if place := _place(target):
          yield place, node.lineno
          yield from _keywords(node.value, place)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "update":
      yield from _keywords(node, _place(node.func.value))


def _keywords(node: ast.AST, place: Place) -> Iterator[tuple[Place, int]]:
  for keyword in node.keywords if isinstance(node, ast.Call) else ():
    if keyword.arg:
      yield (*place, keyword.arg), keyword.value.lineno


def _place(node: ast.AST) -> Place:
  """Of `config.filters.CF` or `config.filters["CF"]`; () of anything else."""
  if isinstance(node, ast.Attribute):
    inner, last = node.value, node.attr
  elif (
    isinstance(node, ast.Subscript)
    and isinstance(node.slice, ast.Constant)
    and isinstance(node.slice.value, str)
  ):
    inner, last = node.value, node.slice.value
  else:
    return ()
  return (last,) if isinstance(inner, ast.Name) else (*found, last) if (found := _place(inner)) else ()
