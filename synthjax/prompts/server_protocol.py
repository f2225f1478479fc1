"""What an OpenAI-compatible server is sent and what it sends back, as pure functions: /chat/completions, /models."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Any

from synthjax.prompts.requests import Answer, Message, Request
from synthjax.prompts.server_client import error_text

_KINDS = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"RIFF": "webp", b"GIF8": "gif"}
_SCHEMA = re.compile(r"response.?format|json.?schema|guided|grammar", re.IGNORECASE)


class Malformed(Exception):
  """A reply that is no answer of such a server: a proxy's page, half a document. Says what came."""


@dataclasses.dataclass(frozen=True)
class Dialect:
  """Fields that not every server takes."""

  schema: bool = True
  seed: bool = True
  max_tokens: str = "max_tokens"  # or max_completion_tokens, which OpenAI's reasoning models want

  def without(self, error: str, body: Mapping[str, object], keep_schema: bool) -> tuple[Dialect, str] | None:
    """What to try after a server has refused a body with this error, and what to tell the user; None = nothing."""
    if "response_format" in body and not keep_schema and _SCHEMA.search(error):
      line = "does not hold answers to a JSON schema; they are checked here alone (config.server.json_schema)"
      return dataclasses.replace(self, schema=False), line
    if "max_tokens" in body and "max_completion_tokens" in error:
      line = "takes max_completion_tokens in place of max_tokens"
      return dataclasses.replace(self, max_tokens="max_completion_tokens"), line
    if "seed" in body and re.search(r"\bseed\b", error):
      return dataclasses.replace(self, seed=False), "takes no seed; none is sent"
    return None


def body(request: Request, model: str, dialect: Dialect) -> dict[str, Any]:
  """Of /chat/completions: a text alone is the user's message, since hosted servers have no other way to be asked."""
  messages: list[dict[str, Any]] = [
    {"role": m.role, "content": m.text} for m in request.messages or (Message("user", request.text),)
  ]
  if request.images:
    pictures = [{"type": "image_url", "image_url": {"url": data_url(image)}} for image in request.images]
    messages[-1]["content"] = [{"type": "text", "text": messages[-1]["content"]}, *pictures]
  made: dict[str, Any] = {
    "model": model,
    "messages": messages,
    "temperature": request.decoding.temperature,
    "top_p": request.decoding.top_p,
    dialect.max_tokens: request.decoding.max_tokens,
  }
  if dialect.seed:
    made["seed"] = request.seed % 2**31  # some servers take 32 bits
  if dialect.schema and request.schema is not None:
    schema = {"name": "answer", "schema": request.schema, "strict": True}
    made["response_format"] = {"type": "json_schema", "json_schema": schema}
  return made


def data_url(image: bytes) -> str:
  """Of an encoded picture. Raises ValueError for what no such server reads."""
  kind = next((kind for magic, kind in _KINDS.items() if image.startswith(magic)), None)
  if kind is None:
    raise ValueError("neither PNG, JPEG, WebP nor GIF")
  return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"


def characters(request: Request) -> int:
  return len(request.text) + sum(len(m.text) for m in request.messages)


def answer(reply: bytes) -> Answer:
  """Empty where the model refused or had nothing to say. Raises Malformed."""
  document = _object(reply)
  choices = document.get("choices")
  if not isinstance(choices, list):
    raise Malformed(f"a reply without choices: {error_text(reply)}")
  usage = document.get("usage")
  counts = [_count(usage, name) for name in ("prompt_tokens", "completion_tokens")]
  choice = choices[0] if choices and isinstance(choices[0], dict) else {}
  message = choice.get("message")
  reason = choice.get("finish_reason")
  text = _text(message) if isinstance(message, dict) and reason != "content_filter" else ""
  return Answer(text, *counts, ended=reason != "length")


def is_refusal_of_one(reply: bytes) -> bool:
  """Whether an error is about what one request asks: Azure's filter answers 400."""
  try:
    error = _object(reply).get("error")
  except Malformed:
    return False
  return isinstance(error, dict) and error.get("code") == "content_filter"


def models(reply: bytes) -> list[str] | None:
  """The names in a list of models; None where it is no such list."""
  try:
    found = json.loads(reply)
  except (ValueError, RecursionError):
    return None
  entries = found.get("data") if isinstance(found, dict) else found
  if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
    return None
  return [e["id"] for e in entries if isinstance(e.get("id"), str)]


def is_listed(model: str, names: list[str]) -> bool:
  """Ollama lists `qwen3:latest` and Gemini `models/gemini`, and both take the name alone too."""
  return not {model, f"{model}:latest", f"models/{model}"}.isdisjoint(names)


def _object(reply: bytes) -> dict[str, Any]:
  try:
    document = json.loads(reply)
  except (ValueError, RecursionError):
    raise Malformed(f"a reply that is no JSON: {error_text(reply)}") from None
  if not isinstance(document, dict):
    raise Malformed("a reply that is no JSON object")
  return document


def _text(message: Mapping[str, Any]) -> str:
  content = message.get("content")
  if message.get("refusal"):
    return ""
  if isinstance(content, list):  # of parts
    parts = [part.get("text") for part in content if isinstance(part, dict)]
    content = "".join(part for part in parts if isinstance(part, str))
  # JSON can hold half a surrogate pair, which no file in UTF-8 can.
  return content.encode(errors="replace").decode() if isinstance(content, str) else ""


def _count(usage: object, name: str) -> int:
  value = usage.get(name) if isinstance(usage, dict) else None
  return value if isinstance(value, int) and 0 <= value < 2**31 else 0
