"""A server of a language model on this machine, which fails as a test wants it to."""

import http.server
import json
import socket
import threading
import time
from collections.abc import Callable, Mapping

from synthjax.prompts.requests import Answer, Request, chat
from synthjax.prompts.server import Server
from synthjax.runtime.stopping import Stop
from synthjax.spec import fields


def answer(text, finish="stop", **message) -> dict:
  """As /chat/completions gives it."""
  choice = {"index": 0, "message": {"role": "assistant", "content": text} | message, "finish_reason": finish}
  return {"choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": 5}}


Reply = tuple[int, Mapping[str, str], bytes | dict]


class Stub:
  """Answers `reply(body, n)` to the n-th question, or cuts the connection where that raises ConnectionError."""

  def __init__(self, reply: Callable[[dict, int], Reply | dict] = lambda body, n: answer("yes")):
    self.reply = reply
    self.models: Reply | dict = {"data": [{"id": "crane-1"}, {"id": "heron-2"}]}
    self.bodies: list[dict] = []
    self.keys: list[str | None] = []
    self.paths: list[str] = []
    self.times: list[float] = []
    self.latency = 0.0
    lock = threading.Lock()
    stub = self

    class Handler(http.server.BaseHTTPRequestHandler):
      protocol_version = "HTTP/1.1"
      disable_nagle_algorithm = True

      def log_message(self, *args):
        pass

      def do_GET(self):
        self._send(stub.models)

      def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with lock:
          stub.bodies.append(body)
          stub.times.append(time.monotonic())
          n = len(stub.bodies) - 1
        time.sleep(stub.latency)
        try:
          self._send(stub.reply(body, n))
        except ConnectionError:
          self.close_connection = True
          self.connection.shutdown(socket.SHUT_RDWR)

      def _send(self, reply: Reply | dict):
        stub.keys.append(self.headers["Authorization"])
        stub.paths.append(self.path)
        status, headers, body = reply if isinstance(reply, tuple) else (200, {}, reply)
        if isinstance(body, dict):
          body = json.dumps(body).encode()
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | dict(headers)).items():
          self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    class HTTPServer(http.server.ThreadingHTTPServer):
      request_queue_size = 128

      def handle_error(self, request, client_address):
        pass  # a client that has gone

    self._server = HTTPServer(("127.0.0.1", 0), Handler)
    self.url = f"http://127.0.0.1:{self._server.server_port}"
    threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

  def close(self) -> None:
    self._server.shutdown()
    self._server.server_close()


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


def threads() -> int:
  """Of conversations."""
  return sum(t.name == "server" for t in threading.enumerate())
