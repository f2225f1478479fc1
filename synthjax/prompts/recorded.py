"""Answers of an earlier list asked again: `recorded:LIST` of this study, `recorded:PATH` of a list's folder elsewhere, or
`recorded:embedded:NAME` of what ships. A list that a server wrote is so made again, to the byte and without the server."""

from __future__ import annotations

import collections
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from etils import epath

from synthjax import small_world
from synthjax.prompts import answers
from synthjax.prompts.answers import Answers
from synthjax.prompts.requests import Answer, Request
from synthjax.runtime.errors import UserError
from synthjax.runtime.stopping import Stop

_SHIPPED = Path(small_world.__file__).parent / "answers"


class Recorded:
  capacity = 512

  def __init__(self, reference: str, root: epath.Path):
    self._reference = reference
    self._folder = _folder(reference, root)

  @property
  def identity(self) -> Mapping[str, Any]:
    return self._identity

  @functools.cached_property
  def _identity(self) -> Mapping[str, Any]:
    """Of the model that answered then."""
    if (found := answers.model_of(self._folder)) is None:
      raise UserError(
        f"writer recorded:{self._reference}: no answers in {self._folder}; name a list of this study, the folder of another "
        "study's list, or embedded:NAME"
      )
    return found

  def check(self, where: str) -> None:
    try:
      self.identity  # noqa: B018
    except UserError as e:
      raise UserError(f"{where}: {e}") from None

  def open(self) -> _Replayed:
    return _Replayed(self._reference, Answers(self._folder, self.identity), self.identity)


class _Replayed:
  def __init__(self, reference: str, known: Answers, model: Mapping[str, Any]):
    self._reference, self._known, self._model = reference, known, model
    self._queue: collections.deque[tuple[Request, Answer]] = collections.deque()

  def ask(self, request: Request) -> None:
    answer = self._known.get(request.key(self._model))
    if answer is None:
      raise UserError(
        f"writer recorded:{self._reference} holds no answer to {_start(request)!r} (seed {request.seed}): it was recorded with "
        "other classes or fields; set them as they were, or ask the model"
      )
    self._queue.append((request, answer))

  def answers(self, stop: Stop) -> Iterator[tuple[Request, Answer]]:
    stop.check()
    while self._queue:
      yield self._queue.popleft()

  def close(self) -> None:
    self._queue.clear()


def _folder(reference: str, root: epath.Path) -> epath.Path:
  name, colon, rest = reference.partition(":")
  if colon and name == "embedded":
    return epath.Path(_SHIPPED) / rest
  own = root / "prompts" / reference
  is_name = "/" not in reference and own.is_dir()
  return (own if is_name else epath.Path(reference).expanduser()) / answers.FOLDER


def _start(request: Request) -> str:
  text = request.messages[-1].text if request.messages else request.text
  return text[:60]
