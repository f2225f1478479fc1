"""Asking a language model for the prompts of many classes at once, so that it is never idle.

What one class takes is a generator that yields requests and is sent their answers:

    def of_class(one):
      (lists,) = yield [chat(f"List things seen beside a {one.name}.")]
      answers = yield [chat(...) for item in lists]
      return ClassPrompts(...)

As many classes are under way as keep the model busy. What is answered already is never asked: neither a request that an
earlier run asked, nor one that two classes share.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Generic, TypeAlias, TypeVar

from synthjax.prompts.answers import Answers
from synthjax.prompts.requests import Answer, Conversation, LanguageModel, Request
from synthjax.runtime.stopping import Stop

T = TypeVar("T")
Ask: TypeAlias = Generator[Sequence[Request], Sequence[Answer], T]


class _Task(Generic[T]):
  """A generator under way, and the answers that it waits for."""

  def __init__(self, name: str, ask: Ask[T]):
    self.name, self._ask = name, ask
    self._answers: list[Answer | None] = []
    self._left = 0

  def start(self) -> Sequence[Request] | _Done[T]:
    return self._next(lambda: next(self._ask))

  def take(self, place: int, answer: Answer) -> Sequence[Request] | _Done[T]:
    """The requests that follow, none where other answers are still awaited."""
    self._answers[place] = answer
    self._left -= 1
    if self._left:
      return ()
    return self._next(lambda: self._ask.send([a for a in self._answers if a is not None]))

  def _next(self, go: Callable[[], Sequence[Request]]) -> Sequence[Request] | _Done[T]:
    try:
      requests = go()
      while not requests:
        requests = self._ask.send([])
    except StopIteration as end:
      return _Done(end.value)
    self._answers = [None for _ in requests]
    self._left = len(requests)
    return requests


@dataclasses.dataclass(frozen=True)
class _Done(Generic[T]):
  value: T


@dataclasses.dataclass
class Counts:
  """Of this process."""

  known: int = 0  # requests that were answered before
  answered: int = 0
  prompt_tokens: int = 0
  answer_tokens: int = 0


class Asking(Generic[T]):
  """Goes through tasks, (name, generator), and gives the result of each as it is finished, in any order."""

  def __init__(
    self,
    model: LanguageModel,
    answers: Answers,
    stop: Stop,
    answered: Callable[[Answer], None] = lambda answer: None,
  ):
    self._model, self._answers, self._stop, self._answered = model, answers, stop, answered
    self._identity = model.identity
    self._waiting: dict[str, list[tuple[_Task[T], int]]] = {}  # by key
    self._results: collections.deque[tuple[str, T]] = collections.deque()
    self._conversation: Conversation | None = None
    self.counts = Counts()

  def results(self, tasks: Iterable[tuple[str, Ask[T]]]) -> Iterator[tuple[str, T]]:
    """A task is taken from `tasks` when the model has room for it."""
    coming = iter(tasks)
    try:
      while True:
        self._fill(coming)
        while self._results:
          yield self._results.popleft()
          self._fill(coming)
        if not self._waiting:
          return
        for request, answer in self._talk().answers(self._stop):
          self._keep(request, answer)
    finally:
      if self._conversation:
        self._conversation.close()

  def _fill(self, coming: Iterator[tuple[str, Ask[T]]]) -> None:
    while len(self._waiting) < self._model.capacity and not self._results:
      if not self._waiting:  # else the model says when to leave: what it has in flight is paid for
        self._stop.check()
      if (one := next(coming, None)) is None:
        return
      task = _Task(*one)
      self._go_on(task, task.start())

  def _go_on(self, task: _Task[T], following: Sequence[Request] | _Done[T]) -> None:
    """Asks what is not known, until the task has to wait or is done."""
    pending = [(task, following)]
    while pending:
      task, following = pending.pop()
      if isinstance(following, _Done):
        self._results.append((task.name, following.value))
        continue
      for place, request in enumerate(following):
        key = request.key(self._identity)
        if (known := self._answers.get(key)) is not None:
          self.counts.known += 1
          pending.append((task, task.take(place, known)))
        elif key in self._waiting:
          self._waiting[key].append((task, place))
        else:
          self._waiting[key] = [(task, place)]
          self._talk().ask(request)

  def _keep(self, request: Request, answer: Answer) -> None:
    key = request.key(self._identity)
    answer = self._answers.add(key, answer)
    self.counts.answered += 1
    self.counts.prompt_tokens += answer.prompt_tokens
    self.counts.answer_tokens += answer.answer_tokens
    self._answered(answer)
    for task, place in self._waiting.pop(key):
      self._go_on(task, task.take(place, answer))

  def _talk(self) -> Conversation:
    if self._conversation is None:
      self._conversation = self._model.open()
    return self._conversation
