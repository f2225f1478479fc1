"""The writer `server:URL` with servers that fail in every way, and its end by a signal."""

import email.utils
import logging
import os
import signal
import threading
import time

import pytest

from synthjax.prompts import server_protocol
from synthjax.prompts.requests import chat
from synthjax.runtime import progress
from synthjax.runtime.errors import Interrupted, Unavailable, UserError
from synthjax.runtime.stopping import Stop
from tests.conftest import said_of
from tests.prompts.stub_server import Stub, answer, asked, one, server, threads

KEY = "sk-very-secret-0123456789"


@pytest.fixture
def stub():
  made = Stub()
  yield made
  made.close()


@pytest.fixture(autouse=True)
def notes_are_said_again():
  progress.note_once.cache_clear()


# Failures that end it


@pytest.mark.parametrize(
  "status, line",
  [
    (400, "400 Bad Request: it is so; it refuses what it is asked: fix the list's model"),
    (401, "401 Unauthorized: it is so; it does not accept the API key in the environment variable CRANE_KEY"),
    (403, "403 Forbidden: it is so; it does not accept the API key"),
    (404, "404 Not Found: it is so; it has no /chat/completions there, or no model 'crane-1'"),
    (422, "422 Unprocessable"),
    (302, "it redirects, which is not followed"),
  ],
)
def test_what_asking_again_does_not_mend_ends_it_at_once(stub, monkeypatch, status, line):
  monkeypatch.setenv("CRANE_KEY", KEY)
  stub.reply = lambda body, n: (status, {}, {"error": {"message": "it\n\x1b[2Jis so" if n else "it is so"}})
  said = said_of(lambda: one(server(stub, key_variable="CRANE_KEY")))
  assert said.startswith(f"server {stub.url}/v1: ") and line in said
  assert len(stub.bodies) == 1


def test_the_key_is_nowhere(stub, monkeypatch, caplog, capsys):
  caplog.set_level(logging.DEBUG)
  monkeypatch.setenv("CRANE_KEY", KEY)
  stub.reply = lambda body, n: (
    (401 if n else 500),
    {},
    {"error": {"message": "x" * 180 + f" {KEY} is\x1b[31m wrong\n" + "y" * 9999}},
  )
  model = server(stub, key_variable="CRANE_KEY")
  said = said_of(lambda: one(model))
  assert "[key] is" in said and "\x1b" not in said and len(said) < 450
  assert stub.keys == [f"Bearer {KEY}"] * 2
  conversation = model.open()
  seen = [said, repr(model), repr(conversation), repr(vars(conversation)), caplog.text, *capsys.readouterr()]
  conversation.close()
  assert not [text for text in seen if KEY in text or KEY[:8] in text]
  assert stub.url not in caplog.text


def test_answers_that_were_paid_for_come_before_the_error(stub):
  def reply(body, n):
    if body["messages"][0]["content"] == "bad":
      return 400, {}, b""
    time.sleep(0.4)
    return answer("good")

  stub.reply = reply
  conversation = server(stub).open()
  conversation.ask(chat("good"))
  conversation.ask(chat("bad"))
  assert [a.text for _, a in conversation.answers(Stop())] == ["good"]
  with pytest.raises(UserError, match="400"):
    list(conversation.answers(Stop()))
  conversation.close()


# Failures that pass


def _cut(body, n):
  raise ConnectionError


@pytest.mark.parametrize(
  "fault",
  [
    *((status, {}, b"busy") for status in (408, 409, 429, 500, 502, 503, 504, 529)),
    (200, {}, b"<html>a proxy's page</html>"),
    (200, {}, b'{"choices": ['),
    (200, {}, b"[" * 100_000),
    (200, {}, b"\xff\xfe\xfa"),
    (200, {}, {"error": {"message": "upstream"}}),
    (200, {"Content-Length": "9999"}, b'{"choices"'),
    (200, {"Content-Encoding": "gzip"}, b"no gzip"),
    _cut,
  ],
)
def test_a_failure_that_passes_is_tried_again(stub, fault, monkeypatch):
  monkeypatch.setattr("synthjax.prompts.pacing._FIRST", 0.01)

  def reply(body, n):
    if n >= 2:
      return answer("at last")
    if callable(fault):
      fault(body, n)
    return fault

  stub.reply = reply
  assert one(server(stub, timeout_seconds=0.5)).text == "at last"
  assert stub.bodies[0] == stub.bodies[1] == stub.bodies[2]


def test_a_reply_without_end_is_not_read_to_its_end(stub):
  stub.reply = lambda body, n: (200, {}, b" " * (5 * 2**20))
  with pytest.raises(Unavailable, match="at last: a reply of more than 4 MB"):
    one(server(stub, retry_seconds=0.0))


def test_slow_replies_are_given_up(stub):
  stub.latency = 3.0
  start = time.monotonic()
  with pytest.raises(Unavailable, match=r"no reply within 0\.2 s; once it answers, the same command goes on"):
    one(server(stub, retry_seconds=0.0, timeout_seconds=0.2))
  assert time.monotonic() - start < 2.5


def test_a_server_that_fails_for_longer_than_the_budget(stub, capsys):
  stub.reply = lambda body, n: (429, {"Retry-After": "3600"}, {"error": "no quota"})
  start = time.monotonic()
  with pytest.raises(Unavailable) as e:
    one(server(stub, retry_seconds=0.7))
  assert 0.6 < time.monotonic() - start < 3
  assert (
    str(e.value)
    == f"server {stub.url}/v1 has given no answer for 0.7 s (config.server.retry_seconds), at last: 429 Too Many Requests: no quota; once it answers, the same command goes on"
  )
  assert e.value.exit_code == 75
  assert len(stub.bodies) == 2  # the last one when the budget was spent


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_is_honoured_by_all(stub, as_date):
  after = email.utils.formatdate(time.time() + 2, usegmt=True) if as_date else "1"
  stub.reply = lambda body, n: answer("yes") if n else (429, {"Retry-After": after}, b"")
  conversation = server(stub).open()
  conversation.ask(chat("a"))
  time.sleep(0.3)
  conversation.ask(chat("b"))  # another thread's, and it has not failed
  found = []
  while len(found) < 2:
    found += conversation.answers(Stop())
  conversation.close()
  waited = stub.times[1] - stub.times[0]
  assert (0.9 if as_date else 0.99) < waited < 4  # a date has whole seconds


@pytest.mark.parametrize("after", ["soon", "nan", "inf", "-1", "99999999999999999999 Jan 1", "\x00"])
def test_a_retry_after_without_sense_is_passed_over(stub, after):
  stub.reply = lambda body, n: answer("yes") if n else (429, {"Retry-After": after.replace("\x00", "")}, b"")
  one(server(stub))
  assert stub.times[1] - stub.times[0] < 3


def test_an_answer_gives_the_budget_back(stub):
  """Each request fails for 0.3 s before it is answered: three of them for longer than the budget, but not without a break."""
  first: dict[str, float] = {}

  def reply(body, n):
    since = first.setdefault(body["messages"][0]["content"], time.monotonic())
    return answer("yes") if time.monotonic() - since > 0.3 else (500, {}, b"")

  stub.reply = reply
  assert len(asked(server(stub, retry_seconds=0.9, max_concurrent=1), *(chat(str(i)) for i in range(4)))) == 4


def test_a_failing_server_is_told_of_once(stub, capsys, monkeypatch):
  monkeypatch.setattr("synthjax.prompts.pacing._FIRST", 0.001)
  stub.reply = lambda body, n: answer("yes") if n > 19 else (503, {}, {"error": f"request {n}"})
  asked(server(stub), chat("a"), chat("b"))
  err = capsys.readouterr().err
  assert (
    err == f"note: server {stub.url}/v1 fails and is asked again for up to 5 s: 503 Service Unavailable\n"
  )


# Stopping


def test_a_signal_ends_a_long_wait_at_once(stub):
  stub.reply = lambda body, n: (503, {"Retry-After": "500"}, b"")
  conversation = server(stub, retry_seconds=600.0).open()
  for i in range(4):
    conversation.ask(chat(str(i)))
  threading.Timer(0.4, os.kill, (os.getpid(), signal.SIGTERM)).start()
  start = time.monotonic()
  with Stop() as stop, pytest.raises(Interrupted):
    while True:
      list(conversation.answers(stop))
  conversation.close()
  assert 0.3 < time.monotonic() - start < 3
  for _ in range(40):
    if threads():
      time.sleep(0.05)
  assert threads() == 0 and 1 <= len(stub.bodies) <= 4  # the first of them holds back the others


def test_after_a_signal_nothing_is_sent_and_what_was_sent_is_handed_out(stub):
  stub.latency = 0.8
  conversation = server(stub, max_concurrent=2).open()
  for i in range(6):
    conversation.ask(chat(str(i)))
  threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()
  found = []
  with Stop(60.0) as stop, pytest.raises(Interrupted):
    while True:
      found += conversation.answers(stop)
  conversation.close()
  assert len(found) == len(stub.bodies) == 2


def test_a_short_grace_gives_up_what_is_under_way(stub):
  stub.latency = 3.0
  conversation = server(stub).open()
  conversation.ask(chat("a"))
  threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
  start = time.monotonic()
  with Stop(1.0) as stop, pytest.raises(Interrupted):
    list(conversation.answers(stop))
  conversation.close()
  assert time.monotonic() - start < 2.5


def test_work_that_has_no_use_any_more_ends(stub):
  class Lost(Exception):
    pass

  def lost():
    raise Lost

  stub.latency = 0.5
  conversation = server(stub).open()
  conversation.ask(chat("a"))
  stop = Stop()
  with stop.watching(lost), pytest.raises(Lost):
    list(conversation.answers(stop))
  conversation.close()


def test_without_a_question_there_is_no_answer(stub):
  conversation = server(stub).open()
  assert list(conversation.answers(Stop())) == []
  conversation.close()


def test_a_fault_of_ours_is_not_hidden(stub, monkeypatch):
  monkeypatch.setattr(server_protocol, "answer", lambda reply: 1 / 0)
  with pytest.raises(ZeroDivisionError):
    one(server(stub))
