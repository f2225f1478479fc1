"""The writer `server:URL`: what it asks, what it refuses before, and what it makes of answers."""

import socket
import threading
import time

import pytest

from synthjax.prompts.requests import Answer, Decoding, Message, Request, chat
from synthjax.runtime import progress
from synthjax.runtime.errors import UserError
from tests.conftest import said_of
from tests.prompts.stub_server import Stub, answer, asked, one, server, threads

WHERE = "config.prompts.LE.writer"
PNG = b"\x89PNG\r\n\x1a\n picture"
SCHEMA = {"type": "object", "properties": {"captions": {"type": "array"}}}
KEY = "sk-very-secret-0123456789"


@pytest.fixture
def stub():
  made = Stub()
  yield made
  made.close()


@pytest.fixture(autouse=True)
def notes_are_said_again():
  progress.note_once.cache_clear()


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
    ((301, {"Location": "http://[::1"}, b""), "no server answers at"),
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


def test_what_the_environment_says_of_connections(stub, monkeypatch):
  monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
  server(stub).check(WHERE)  # no proxy leads to this machine
  monkeypatch.setenv("HTTPS_PROXY", "nothing://me:hunter2@b.example")
  line = said_of(lambda: server("https://a.example").check(WHERE))
  assert "a proxy that the environment names cannot be used" in line and "hunter2" not in line
  monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/certificates.pem")
  assert "certificates cannot be read" in said_of(lambda: server("https://a.example").check(WHERE))


def test_a_host_that_is_no_name():
  assert "no server answers at http://a..b/v1 (" in said_of(lambda: server("http://a..b").check(WHERE))


def test_a_machine_without_threads_left(stub, monkeypatch):
  def start(thread):
    raise RuntimeError("can't start new thread")

  conversation = server(stub).open()
  monkeypatch.setattr(threading.Thread, "start", start)
  line = said_of(lambda: conversation.ask(chat("a")))
  assert line == "config.server.max_concurrent: after 0 no thread can be started; lower it"


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
  for _ in range(40):  # threads that wait for a question end as well
    if threads():
      time.sleep(0.05)
  assert threads() == 0


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
