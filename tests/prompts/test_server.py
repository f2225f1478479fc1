"""The writer `server:URL`, against servers that fail in every way."""

import email.utils
import logging
import os
import signal
import socket
import threading
import time

import pytest

from synthjax.prompts import server_protocol
from synthjax.prompts.requests import Answer, Decoding, Message, Request, chat
from synthjax.prompts.server import Server
from synthjax.runtime import progress
from synthjax.runtime.errors import Interrupted, Unavailable, UserError
from synthjax.runtime.stopping import Stop
from synthjax.spec import fields
from tests.conftest import said_of
from tests.prompts.stub_server import Stub, answer

WHERE = "config.prompts.LE.writer"
KEY = "sk-very-secret-0123456789"
PNG = b"\x89PNG\r\n\x1a\n picture"
SCHEMA = {"type": "object", "properties": {"captions": {"type": "array"}}}


@pytest.fixture
def stub():
  made = Stub()
  yield made
  made.close()


@pytest.fixture(autouse=True)
def forgetful():
  progress.note_once.cache_clear()


def server(stub: Stub | str, model: str = "crane-1", **settings) -> Server:
  url = stub if isinstance(stub, str) else stub.url
  return Server(url, model, fields.Server(**{"retry_seconds": 5.0} | settings))


def asked(model: Server, *requests: Request) -> list[Answer]:
  """Their answers in the order of the requests."""
  conversation = model.open()
  found: dict[int, Answer] = {}
  try:
    for request in requests:
      conversation.ask(request)
    while len(found) < len(requests):
      found |= {id(request): answer for request, answer in conversation.answers(Stop())}
  finally:
    conversation.close()
  return [found[id(request)] for request in requests]


def one(model: Server, request: Request = chat("a crane")) -> Answer:  # noqa: B008 - frozen
  return asked(model, request)[0]


def waits() -> int:
  return sum(t.name == "server" for t in threading.enumerate())


# What it is asked


def test_a_request_is_what_the_protocol_says(stub):
  messages = (Message("system", "You write."), Message("user", "About a crane."))
  decoding = Decoding(300, temperature=0.7, top_k=50, top_p=0.9)
  got = one(server(stub), Request(messages, decoding=decoding, seed=2**40 + 5, schema=SCHEMA))
  assert got == Answer("yes", 7, 5, ended=True)
  assert stub.paths == ["/v1/chat/completions"] and stub.keys == [None]
  assert stub.bodies == [
    {
      "model": "crane-1",
      "messages": [
        {"role": "system", "content": "You write."},
        {"role": "user", "content": "About a crane."},
      ],
      "temperature": 0.7,
      "top_p": 0.9,
      "max_tokens": 300,
      "seed": 5,
      "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True},
      },
    }
  ]


def test_images_go_with_the_last_message_and_a_text_is_the_users(stub):
  one(server(stub), Request(text="crane", images=(PNG, b"\xff\xd8\xff jpeg")))
  text, png, jpeg = stub.bodies[0]["messages"][0]["content"]
  assert text == {"type": "text", "text": "crane"}
  assert png["image_url"]["url"].startswith("data:image/png;base64,iVBORw0KGgo")
  assert jpeg["image_url"]["url"].startswith("data:image/jpeg;base64,/9j/")
  assert "neither PNG, JPEG" in said_of(lambda: one(server(stub), Request(text="a", images=(b"BM",))))


@pytest.mark.parametrize(
  "given, path",
  [
    ("", "/v1"),
    ("/", "/v1"),
    ("/v1", "/v1"),
    ("/api/v3/", "/api/v3"),
    ("/v1/chat/completions", "/v1"),
  ],
)
def test_a_url_may_leave_out_v1(stub, given, path):
  server(stub.url + given).check(WHERE)
  one(server(stub.url + given))
  assert stub.paths == [f"{path}/models", f"{path}/chat/completions"]


def test_the_address_is_no_part_of_the_identity():
  here, there = server("http://a.example"), server("http://b.example/v1", max_concurrent=3)
  assert here.identity == there.identity == {"server": "crane-1"}
  assert there.capacity == 6


# What is known to be wrong before anything is asked


def test_a_server_that_is_there_passes(stub, monkeypatch):
  monkeypatch.setenv("CRANE_KEY", f" {KEY}\n")
  server(stub, key_variable="CRANE_KEY").check(WHERE)
  assert stub.keys == [f"Bearer {KEY}"]
  stub.models = 429, {}, b""
  server(stub).check(WHERE)
  stub.models = {"data": [{"id": "qwen3:latest"}]}
  server(stub, "qwen3").check(WHERE)


@pytest.mark.parametrize(
  "url",
  ["localhost:8000", "ftp://a.example", "http://", "http://[::1", "http://a:99999", "", "http://a b", "é"],
)
def test_what_is_no_url_is_refused(url):
  assert "is no http or https URL; give one like http" in said_of(lambda: server(url).check(WHERE))


@pytest.mark.parametrize(
  "url",
  ["http://me:hunter2@a.example/v1", "http://hunter2@[", "me:hunter2@a", "https://a.example/v1?key=hunter2"],
)
def test_a_url_with_a_secret_is_refused_and_not_printed(url):
  for use in (lambda: server(url).check(WHERE), lambda: server(url).open()):
    line = said_of(use)
    assert "hunter2" not in line and "holds a user, a password or a query" in line
  assert "hunter2" not in repr(server(url))


def test_nobody_at_the_address():
  with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
  line = said_of(lambda: server(f"http://127.0.0.1:{port}").check(WHERE))
  assert line.startswith(f"{WHERE}: no server answers at http://127.0.0.1:{port}/v1 (")
  assert "Connection refused" in line and line.endswith("start it, or fix the URL")


@pytest.mark.parametrize(
  "reply, line",
  [
    ((401, {}, {"error": {"message": "no key"}}), "401 Unauthorized: no key; if it wants an API key, set"),
    ((403, {}, b""), "403 Forbidden; if it wants an API key, set config.server.key_variable"),
    ((503, {}, {"message": "loading"}), "is not ready: 503 Service Unavailable: loading; start again once"),
    (
      (307, {"Location": "https://b.example/v1?k=1"}, b""),
      "it redirects to b.example, which is not followed",
    ),
    ((200, {}, b"<html><b>Sign in</b></html>"), "/v1/models is no list of models (Sign in); give the URL of"),
    ((200, {}, {"data": "x"}), "/v1/models is no list of models"),
    ({"data": [{"id": "crane-2"}]}, "has no model 'crane-1' (did you mean 'crane-2'?)"),
    ({"data": []}, "has no model 'crane-1'; set the list's model"),
  ],
)
def test_what_a_server_says_of_its_models(stub, reply, line):
  stub.models = reply
  assert line in said_of(lambda: server(stub).check(WHERE))


def test_a_server_without_a_list_of_models_is_asked_an_empty_question(stub):
  stub.models = 404, {}, b""
  stub.reply = lambda body, n: (400, {}, {"error": "no messages"})
  server(stub).check(WHERE)
  assert stub.bodies == [{}]
  stub.reply = lambda body, n: (404, {}, b"")
  line = said_of(lambda: server(stub).check(WHERE))
  assert "404 Not Found; it has no /chat/completions there, or no model 'crane-1'" in line


def test_a_list_needs_a_model():
  assert "needs the name of a model" in said_of(lambda: server("http://a.example", "").check(WHERE))


def test_the_key_lies_in_the_environment(monkeypatch):
  def line(variable: str) -> str:
    model = server("http://127.0.0.1:9", key_variable=variable)
    lines = {said_of(use) for use in (lambda: model.check(WHERE), model.open)}
    return lines.pop() if len(lines) == 1 else "two"

  monkeypatch.delenv("CRANE_KEY", raising=False)
  assert "the environment variable 'CRANE_KEY' is not set; put the API key there" in line("CRANE_KEY")
  monkeypatch.setenv("CRANE_KEY", "a\nb é")
  assert "holds no API key" in line("CRANE_KEY")
  assert KEY not in line(KEY) and "no name of an environment variable" in line(KEY)


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


# Answers


@pytest.mark.parametrize(
  "reply, text",
  [
    (answer(None), ""),
    (answer(""), ""),
    (answer("I cannot", refusal="I cannot"), ""),
    (answer("half of", finish="content_filter"), ""),
    ({"choices": []}, ""),
    ({"choices": [None]}, ""),
    ({"choices": [{"message": None}]}, ""),
    (answer(5), ""),
    ((400, {}, {"error": {"code": "content_filter", "message": "filtered"}}), ""),
    (
      answer([{"type": "text", "text": "a "}, {"type": "text", "text": "crane"}, {"type": "image"}, 3]),
      "a crane",
    ),
    (answer("<think>hm</think>a crane"), "<think>hm</think>a crane"),
    (answer("\x00\x1b[31m\r\n\u202ecrane"), "\x00\x1b[31m\r\n\u202ecrane"),
    (answer("x" * 10_000), "x" * 10_000),
    (answer("half \ud83d a pair"), "half ? a pair"),
  ],
)
def test_answers_come_as_they_are_and_refusals_empty(stub, reply, text):
  stub.reply = lambda body, n: reply
  assert one(server(stub)).text == text
  assert len(stub.bodies) == 1


@pytest.mark.parametrize(
  "usage", [None, [], {"prompt_tokens": "7"}, {"prompt_tokens": -1, "completion_tokens": 1.5}]
)
def test_counts_may_be_missing(stub, usage):
  stub.reply = lambda body, n: answer("cut", finish="length") | {"usage": usage}
  assert one(server(stub, tokens_per_minute=10**6)) == Answer("cut", 0, 0, ended=False)


def test_answers_belong_to_their_requests(stub):
  def reply(body, n):
    time.sleep(0.02 * (n % 3))
    return answer(body["messages"][0]["content"][::-1]) if n % 5 else (503, {}, b"")

  stub.reply = reply
  requests = [chat(f"question {i}", seed=i) for i in range(60)]
  found = asked(server(stub, max_concurrent=8), *requests)
  assert [a.text[::-1] for a in found] == [f"question {i}" for i in range(60)]


def test_so_many_are_asked_at_once(stub):
  active, most, lock = 0, 0, threading.Lock()

  def reply(body, n):
    nonlocal active, most
    with lock:
      active += 1
      most = max(most, active)
    time.sleep(0.05)
    with lock:
      active -= 1
    return answer("yes")

  stub.reply = reply
  asked(server(stub, max_concurrent=6), *(chat(str(i)) for i in range(30)))
  assert most == 6


def test_limits_a_minute_hold_for_all_threads_together(stub):
  asked(server(stub, requests_per_minute=600), *(chat(str(i)) for i in range(8)))
  assert stub.times[-1] - stub.times[0] > 0.5
  del stub.times[:]
  usage = {"prompt_tokens": 100, "completion_tokens": 100}
  stub.reply = lambda body, n: answer("yes") | {"usage": usage}
  text, decoding = "x" * 400, Decoding(max_tokens=100)  # 100 tokens asked, and at most as many answered
  requests = [Request(text=text, decoding=decoding, seed=i) for i in range(4)]
  asked(server(stub, tokens_per_minute=60_000), *requests)
  assert stub.times[-1] - stub.times[0] > 0.45


# What not every server takes


def _refuses(stub: Stub, field: str, error: object, status: int = 400) -> None:
  stub.reply = lambda body, n: (status, {}, {"error": error}) if field in body else answer("yes")


def test_a_server_without_schemas_is_asked_without_and_that_is_said_once(stub, capsys):
  _refuses(stub, "response_format", {"message": "This model does not support response format `json_schema`"})
  requests = [chat(str(i), schema=SCHEMA) for i in range(12)]
  assert len(asked(server(stub, max_concurrent=4), *requests)) == 12
  assert 12 < len(stub.bodies) <= 16
  assert capsys.readouterr().err.count("\n") == 1
  with pytest.raises(UserError, match="does not support response format"):
    one(server(stub, json_schema="on"), requests[0])
  n = len(stub.bodies)
  one(server(stub, json_schema="off"), requests[0])
  assert "response_format" not in stub.bodies[n]


def test_other_fields_that_are_refused(stub, capsys):
  def reply(body, n):
    if "max_tokens" in body:
      return 400, {}, {"error": "'max_tokens' is not supported. Use 'max_completion_tokens' instead."}
    if "seed" in body:
      return 422, {}, {"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}
    return answer("yes")

  stub.reply = reply
  asked(server(stub, max_concurrent=2), *(chat(str(i), seed=1) for i in range(6)))
  assert stub.bodies[-1]["max_completion_tokens"] == 1024 and "seed" not in stub.bodies[-1]
  assert capsys.readouterr().err.count("note: server") == 2


# Stopping


def test_a_signal_ends_a_long_wait_at_once(stub):
  stub.reply = lambda body, n: (503, {"Retry-After": "500"}, b"")
  before = waits()
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
    if waits() > before:
      time.sleep(0.05)
  assert waits() == before and 1 <= len(stub.bodies) <= 4  # the first of them holds back the others


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
