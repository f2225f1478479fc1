"""A question to a language model, and its answer: what every writer that asks one takes and gives."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from synthjax.language.decoding import Decoding
from synthjax.runtime.stopping import Stop

_USUAL = Decoding(1024)


@dataclasses.dataclass(frozen=True)
class Message:
  role: str  # system, user, assistant
  text: str


@dataclasses.dataclass(frozen=True)
class Request:
  """Its key is a hash of all of it and of the model: the same question with another seed is another request."""

  messages: tuple[Message, ...] = ()  # or, for a model that completes or rewrites a text,
  text: str = ""
  decoding: Decoding = _USUAL
  seed: int = 0
  schema: Mapping[str, Any] | None = None  # JSON schema of the answer; None = free text
  images: tuple[bytes, ...] = ()  # encoded pictures that belong to the last message

  def key(self, model: Mapping[str, Any]) -> str:
    body = dataclasses.asdict(self) | {"images": [hashlib.sha256(image).hexdigest() for image in self.images]}
    return hashlib.sha256(json.dumps([model, body], sort_keys=True).encode()).hexdigest()[:32]


@dataclasses.dataclass(frozen=True)
class Answer:
  text: str  # raw
  prompt_tokens: int = 0
  answer_tokens: int = 0
  ended: bool = True  # by the model, not by max_tokens


class Conversation(Protocol):
  """A model that is being asked. One thread uses it."""

  def ask(self, request: Request) -> None:
    """Queues it. Raises UserError for what this model can never answer: messages to a model without a chat template."""
    ...

  def answers(self, stop: Stop) -> Iterator[tuple[Request, Answer]]:
    """At least one of those that are queued, as soon as there is one, and what else is ready. Raises UserError where the model
    cannot be asked (a wrong key), `Unavailable` where it failed for longer than the retry budget."""
    ...

  def close(self) -> None: ...


class LanguageModel(Protocol):
  """A model that writes prompts, as a list's `writer` names it. Made without opening or fetching anything."""

  @property
  def identity(self) -> Mapping[str, Any]:
    """The model: part of each request's key. Weights are identified by their contents, a server's by the model's name."""
    ...

  @property
  def capacity(self) -> int:
    """How many requests it should have queued to be busy."""
    ...

  def check(self, where: str) -> None:
    """Raises UserError for what can be known to be wrong before anything is asked. Reads no weights; asks a server whether it
    is there and has the model."""
    ...

  def open(self) -> Conversation: ...


def chat(*texts: str, **others: Any) -> Request:
  """A request of one system message and one of the user's, or of the latter alone."""
  roles: Sequence[str] = ("system", "user")[-len(texts) :]
  return Request(tuple(Message(role, text) for role, text in zip(roles, texts, strict=True)), **others)
