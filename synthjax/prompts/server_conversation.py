"""Requests to a server, many at once: threads that send, wait, and try again."""

from __future__ import annotations

import contextlib
import email.utils
import math
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping

from synthjax.prompts import server_protocol as protocol
from synthjax.prompts.pacing import Limits, Outage
from synthjax.prompts.requests import Answer, Request
from synthjax.prompts.server_client import Connection, Endpoint, NoReply, Reply
from synthjax.runtime.errors import Unavailable, UserError
from synthjax.runtime.progress import note_once
from synthjax.runtime.stopping import Stop
from synthjax.spec import fields

_LOOK = 0.2  # seconds between looks at a stop
_RESERVE = 5.0  # seconds of the grace after a stop that are left to whoever writes the answers down
_TRANSIENT = frozenset({408, 409, 425, 429})  # and 5xx


class _Halted(Exception):
  """Nothing is to be sent any more."""


class ServerConversation:
  """`answers` and `ask` belong to one thread; `max_concurrent` others send.

  After a stop, or an error that ends it, nothing new is sent. What is under way has been paid for and is still handed out, as
  far as a stop's grace allows."""

  def __init__(
    self, endpoint: Endpoint, model: str, settings: fields.Server, clock: Callable[[], float] = time.monotonic
  ):
    self._endpoint, self._model, self._settings = endpoint, model, settings
    self._limits = Limits(settings.requests_per_minute, settings.tokens_per_minute, clock)
    self._outage = Outage(settings.retry_seconds, clock)
    self._dialect = protocol.Dialect(schema=settings.json_schema != "off")
    self._asked: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
    # No SimpleQueue: its `get` waits for ever where a signal comes just as its time is up (seen with CPython 3.11).
    self._done: queue.Queue[tuple[Request, Answer]] = queue.Queue()
    self._halted = threading.Event()
    self._lock = threading.Lock()
    self._under_way = 0  # requests that are sent and not answered
    self._error: Exception | None = None
    self._open = 0  # asked and not handed out
    self._threads: list[threading.Thread] = []

  def ask(self, request: Request) -> None:
    try:
      for image in request.images:
        protocol.data_url(image)
    except ValueError as e:
      raise UserError(f"server {self._endpoint.base}: an image to ask about is {e}; convert it") from e
    self._open += 1
    self._asked.put(request)
    if len(self._threads) < min(self._open, self._settings.max_concurrent):
      thread = threading.Thread(target=self._work, name="server", daemon=True)
      try:
        thread.start()
      except RuntimeError as e:
        n = len(self._threads)
        raise UserError(f"config.server.max_concurrent: after {n} no thread can be started; lower it") from e
      self._threads.append(thread)

  def answers(self, stop: Stop) -> Iterator[tuple[Request, Answer]]:
    """Waits for the first and adds what else is ready. Ends by Interrupted after a stop, once nothing is under way."""
    handed_out = False
    while self._open:
      if not handed_out and stop.requested:
        self._halted.set()
      try:
        done = self._done.get(block=not handed_out, timeout=_LOOK)
      except queue.Empty:
        if handed_out:
          return
        self._leave(stop)
        continue
      self._open -= 1
      handed_out = True
      yield done

  def _leave(self, stop: Stop) -> None:
    """Ends the conversation where it is over."""
    with self._lock:
      error, under_way = self._error, self._under_way
    if not self._done.empty():  # it came in meanwhile
      return
    if error and (not under_way or isinstance(error, Unavailable)):
      raise error
    if stop.requested and (not under_way or stop.seconds_left < _RESERVE):
      stop.check()

  def close(self) -> None:
    """Threads end by themselves, those with a request under way once that is over; the process need not wait for them."""
    self._halted.set()
    for _ in self._threads:
      self._asked.put(None)

  def _work(self) -> None:
    try:
      with self._endpoint.connect() as connection:
        while (request := self._asked.get()) is not None:
          self._answer(request, connection)
    except _Halted:
      pass
    except Exception as e:  # noqa: BLE001 - raised by `answers`, in the thread that asks
      with self._lock:
        self._error = self._error or e
      self._halted.set()

  def _answer(self, request: Request, connection: Connection) -> None:
    """Asks until there is an answer. Raises _Halted, UserError."""
    tries = 0
    while True:
      booking = self._limits.book(protocol.characters(request), request.decoding.max_tokens)
      self._wait(booking.seconds)
      while (pause := self._outage.pause()) > 0:
        self._wait(pause)
      with self._sending():
        body = protocol.body(request, self._model, self._dialect)
        try:
          reply = connection.chat(body)
          answer = self._read(reply, body)
        except (NoReply, protocol.Malformed) as e:
          failure, retry_after = self._endpoint.clean(str(e)), None
        else:
          if answer:
            self._outage.answered()
            self._limits.settle(booking, _tokens(request, answer))
            self._done.put((request, answer))
            return
          if not _is_transient(reply):
            continue  # in another dialect
          failure, retry_after = self._endpoint.words(reply), _retry_after(reply)
      tries += 1
      self._wait(self._until_next(tries, failure, retry_after))

  def _read(self, reply: Reply, body: Mapping[str, object]) -> Answer | None:
    """None where it is to be asked again. Raises Malformed, UserError."""
    if reply.is_ok:
      return protocol.answer(reply.body)
    if _is_transient(reply):
      return None
    if protocol.is_refusal_of_one(reply.body):
      return Answer("")
    if reply.status in (400, 422):
      error = reply.body.decode(errors="replace")
      if other := self._dialect.without(error, body, keep_schema=self._settings.json_schema == "on"):
        self._dialect, note = other  # several threads may learn the same at once
        note_once(f"note: server {self._endpoint.base} {note}")
        return None
    raise UserError(self._endpoint.refusal(reply, self._model, self._settings.key_variable))

  def _until_next(self, tries: int, failure: str, retry_after: float | None) -> float:
    seconds = self._outage.failed(tries, retry_after)
    budget = f"{self._settings.retry_seconds:g} s"
    if seconds is None:
      raise Unavailable(
        f"server {self._endpoint.base} has given no answer for {budget} (config.server.retry_seconds), at last: {failure}; once it answers, the same command goes on"
      )
    if tries > 2:  # single failures are nothing to tell
      note_once(
        f"note: server {self._endpoint.base} fails and is asked again for up to {budget}: {failure.split(':')[0]}"
      )
    return seconds

  def _wait(self, seconds: float) -> None:
    if self._halted.wait(max(seconds, 0)):
      raise _Halted

  @contextlib.contextmanager
  def _sending(self) -> Iterator[None]:
    with self._lock:
      self._under_way += 1
    try:
      yield
    finally:
      with self._lock:
        self._under_way -= 1


def _is_transient(reply: Reply) -> bool:
  return reply.status in _TRANSIENT or reply.status >= 500


def _tokens(request: Request, answer: Answer) -> int:
  """As the server counts them, else as they are estimated."""
  if answer.prompt_tokens or answer.answer_tokens:
    return answer.prompt_tokens + answer.answer_tokens
  return (protocol.characters(request) + len(answer.text)) // 4


def _retry_after(reply: Reply) -> float | None:
  """In seconds; None where the header is not there or makes no sense. It is a number, or a date."""
  text = reply.headers.get("retry-after", "")
  try:
    seconds = float(text)
  except ValueError:
    try:
      seconds = email.utils.parsedate_to_datetime(text).timestamp() - time.time()
    except (ValueError, OverflowError, OSError):
      return None
  return max(seconds, 0.0) if math.isfinite(seconds) else None
