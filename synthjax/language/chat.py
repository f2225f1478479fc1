"""A chat as one text, by the template that a model's folder holds.

A template is a program of the folder's: it runs in jinja2's sandbox, with the filters that transformers gives it, with no
clock and no other function, and for a limited number of steps.
"""

from __future__ import annotations

import functools
import json
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import jinja2
from jinja2 import exceptions, ext, nodes, parser, sandbox

from synthjax.disk import documents
from synthjax.runtime.errors import UserError, of_library, one_line
from synthjax.weights import read

FILE, CONFIG = "chat_template.jinja", "tokenizer_config.json"
_MOST_STEPS = 500_000  # lines of a template that are run; Qwen3's takes 20 a message
_MOST_TEXT = 2**22  # characters of a template, and of what it makes


def read_template(folder: Path) -> str:
  """ "" where the folder has none."""
  if (folder / FILE).exists():
    return documents.read_text(folder / FILE, f"weights: {folder / FILE}", "fetch it again", most=_MOST_TEXT)
  config = read.read_json(folder / CONFIG) if (folder / CONFIG).exists() else {}
  found = config.get("chat_template") or ""
  if isinstance(found, list):  # by name
    named = {t.get("name"): t.get("template") for t in found if isinstance(t, dict)}
    found = named.get("default") or ""
  if not isinstance(found, str):
    raise UserError(f"weights: {folder / CONFIG} has a chat_template that is no text; fetch it again")
  return found


def render(
  template: str, messages: Sequence[Mapping[str, str]], special: Mapping[str, str], where: str
) -> str:
  """Up to where the answer begins; a model that can think before it answers is asked not to. `where` is the folder."""
  with of_library(lambda why: f"weights: the chat template of {where} failed ({why}); fetch it again"):
    try:
      compiled = _compiled(template)
      given = {"messages": [dict(m) for m in messages], "tools": None, "documents": None}
      return _within_limits(
        lambda: compiled.generate(**special, **given, add_generation_prompt=True, enable_thinking=False)
      )
    except _Raised as e:
      raise UserError(f"the chat template of {where} refuses these messages: {one_line(e)[:300]}") from None


class _Raised(jinja2.TemplateError):
  """By the template itself: it does not take such messages."""


class _Sandbox(sandbox.ImmutableSandboxedEnvironment):
  """Products may be as long as a gigabyte: they are of numbers alone, and powers are none's."""

  intercepted_binops = frozenset(["*", "**"])

  def unsafe_undefined(self, obj: Any, attribute: str) -> NoReturn:
    """jinja2's own is empty where it is printed."""
    raise exceptions.SecurityError(f"{attribute[:80]!r} of {type(obj).__name__} is not safe")

  def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
    if operator == "**" or not isinstance(left, int | float) or not isinstance(right, int | float):
      raise exceptions.SecurityError(
        f"{operator} of {type(left).__name__} and {type(right).__name__} is not computed"
      )
    return super().call_binop(context, operator, left, right)


class _Generation(ext.Extension):
  """{% generation %} marks, for training, what an assistant has said; it is text like any other."""

  def __init__(self, environment: jinja2.Environment):
    super().__init__(environment)
    self.tags = {"generation"}

  def parse(self, parser: parser.Parser) -> nodes.Node:
    line = next(parser.stream).lineno
    body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
    return nodes.CallBlock(self.call_method("said"), [], [], body).set_lineno(line)

  def said(self, caller: Callable[[], str]) -> str:
    return caller()


@functools.lru_cache(maxsize=8)
def _compiled(template: str) -> jinja2.Template:
  if len(template) > _MOST_TEXT:
    raise ValueError(f"it has {len(template):,} characters")
  environment = _Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, ext.loopcontrols])
  environment.filters["tojson"] = _to_json
  environment.globals["raise_exception"] = _raise
  return environment.from_string(template)


def _to_json(
  x: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
  """jinja2's own makes entities of <, > and &, for pages."""
  return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise(message: Any) -> NoReturn:
  raise _Raised(str(message))


def _within_limits(generate: Callable[[], Iterator[str]]) -> str:
  """The text, unless the template runs on and on: each line of it that Python runs is counted."""
  steps = 0

  def count(frame: types.FrameType, event: str, argument: Any) -> Any:
    nonlocal steps
    if frame.f_code.co_filename != "<template>":
      return None
    steps += 1
    if steps > _MOST_STEPS:
      raise RuntimeError(f"it runs for more than {_MOST_STEPS:,} steps")
    return count

  before = sys.gettrace()
  sys.settrace(count)
  try:
    made, length = [], 0
    for part in generate():
      made.append(part)
      length += len(part)
      if length > _MOST_TEXT:
        raise ValueError(f"it makes more than {_MOST_TEXT:,} characters")
    return "".join(made)
  finally:
    sys.settrace(before)
