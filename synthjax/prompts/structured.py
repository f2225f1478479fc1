"""Lists asked of a language model as JSON: what is taken from an answer, and asking again where it is of no use."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from synthjax.prompts.asking import Ask
from synthjax.prompts.requests import Answer, Message, Request

_FENCE = re.compile(r"```[a-zA-Z]*\s*(.*?)```", re.DOTALL)
_THOUGHT = re.compile(r"^.*</think>", re.DOTALL)
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
_LONGEST = 2000  # characters of an item: a prompt of a generator has 77 tokens
_MOST = 1000  # items of a list


class Useless(Exception):
  """Why an answer is of no use, which the next request says."""


@dataclasses.dataclass(frozen=True)
class Lists:
  """What is asked for: an object of lists of texts, by name, each of at least so many."""

  least: Mapping[str, int]

  @property
  def schema(self) -> dict[str, Any]:
    texts = {"type": "array", "items": {"type": "string"}}
    return {
      "type": "object",
      "properties": dict.fromkeys(self.least, texts),
      "required": list(self.least),
      "additionalProperties": False,
    }

  def parse(self, answer: Answer) -> dict[str, list[str]]:
    """Raises Useless. Items are in one line, without markup, empty ones and those too long for a prompt left out."""
    body = _json(answer)
    if not isinstance(body, dict):
      raise Useless("it is not a JSON object")
    found = {}
    for name, least in self.least.items():
      if not isinstance(items := body.get(name), list):
        raise Useless(f"it has no list {name!r}")
      texts = [text for item in items[:_MOST] if isinstance(item, str) and (text := clean(item))]
      if len(texts) < least:
        raise Useless(f"the list {name!r} has {len(texts)} texts of use, and at least {least} are needed")
      found[name] = texts
    return found


def clean(text: str) -> str:
  """In one line, printable, without HTML; "" where it is too long to be a prompt."""
  plain = "".join(c if c.isprintable() else " " for c in _TAG.sub(" ", text))
  plain = " ".join(plain.split())
  return plain if len(plain) <= _LONGEST else ""


def _json(answer: Answer) -> object:
  text = _THOUGHT.sub("", answer.text).strip()
  if not text:
    raise Useless("it is empty")
  if fenced := _FENCE.search(text):
    text = fenced[1].strip()
  start, end = text.find("{"), text.rfind("}")
  if start < 0 or end < start:
    raise Useless("it holds no JSON object" if answer.ended else "it was cut off; answer in fewer words")
  try:
    return json.loads(text[start : end + 1])
  except (ValueError, RecursionError) as e:
    why = "it was cut off; answer in fewer words" if not answer.ended else f"it is no JSON: {str(e)[:100]}"
    raise Useless(why) from None


def ask(requests: Sequence[Request], wanted: Lists, reasks: int) -> Ask[list[dict[str, list[str]] | None]]:
  """The lists of each request, which are asked again where an answer is of no use; None of one that never was."""
  found: list[dict[str, list[str]] | None] = [None] * len(requests)
  pending = [(i, dataclasses.replace(request, schema=wanted.schema)) for i, request in enumerate(requests)]
  for attempt in range(reasks + 1):
    answers = yield [request for _, request in pending]
    again = []
    for (i, request), answer in zip(pending, answers, strict=True):
      try:
        found[i] = wanted.parse(answer)
      except Useless as why:
        again.append((i, _again(request, answer, str(why), attempt)))
    if not again:
      break
    pending = again
  return found


def _again(request: Request, answer: Answer, why: str, attempt: int) -> Request:
  """The question, what was answered last, and why that is of no use: another request, with a seed of its own."""
  asked = request.messages if attempt == 0 else request.messages[:-2]
  said = answer.text[:_LONGEST] or "(nothing)"
  fix = f"That answer cannot be used: {why}. Answer with the JSON object alone."
  messages = (*asked, Message("assistant", said), Message("user", fix))
  return dataclasses.replace(request, messages=messages, seed=request.seed + 1_000_003)
