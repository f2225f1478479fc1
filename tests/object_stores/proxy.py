"""A proxy in front of an object store's server: it counts requests, and misbehaves when a test asks it to.

    with proxy.before(server.port) as between:
      store = server.at(between.port).store()
      between.misbehave("reset download", 2, of="put")
      ...
      assert between.counts["put"] == 3

What becomes of a conditional put (`mode="create"`, or a version), as obstore 0.12.1 behaves (`test_servers.py` holds it):

| misbehaviour | the store has | without retries | with obstore's retries |
|---|---|---|---|
| `500`, `503`, `429`, `close` | nothing | GenericError | put by the second try |
| the same with `done` | the put | GenericError, for what was done | AlreadyExistsError or PreconditionError, for its own put |
| `silence`, after the time-out | nothing | GenericError | the same: not tried again |
| `silence` with `done` | the put | GenericError, for what was done | the same |
| `reset upload` | nothing | GenericError | the same |
| `reset download` | the put | GenericError, for what was done | the same |

So no error says whether the put was done, nor AlreadyExistsError whose it was: who must know writes something of its own into
the object, and reads it. Gets and plain puts are tried again after each of these; a get that broke off goes on where it was.
Deletes are as conditional puts are: tried again after one that was done, they raise FileNotFoundError on `gs` and `az`. A listing
that breaks off within its answer is not tried again.
"""

import collections
import contextlib
import dataclasses
import http.client
import random
import threading
import urllib.parse
from collections.abc import Iterator, Mapping
from typing import Literal, get_args

from tests.object_stores.local_http import HOST, Handler, LocalServer

Misbehaviour = Literal[
  "500",  # an error of the server
  "503",  # SlowDown
  "429",  # too many requests, as Google says of a name that is written more than once a second
  "silence",  # no answer, until the client goes
  "close",  # the connection ends in order, without an answer, as a load balancer ends it
  "reset upload",  # the connection breaks when half of the body has come, and has gone on to the server
  "reset download",  # when half of the answer's body has gone; of an answer without one, before it
]
Kind = Literal["put", "get", "head", "list", "delete", "copy", "multipart", "other"]

_CODES = {"500": "InternalError", "503": "SlowDown", "429": "TooManyRequests"}
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "expect"}


def kind_of(method: str, target: str, headers: Mapping[str, str]) -> Kind:
  """Of a request of S3, of Google or of Azure. A deletion of many objects at once is one `delete`."""
  query = dict(urllib.parse.parse_qsl(target.partition("?")[2], keep_blank_values=True))
  comp = query.get("comp")
  if any(f"x-{cloud}-copy-source" in headers for cloud in ("amz", "goog", "ms")):
    return "copy"
  if "list-type" in query or comp == "list":
    return "list"
  if method == "POST" and ("delete" in query or comp == "batch"):
    return "delete"
  if {"uploads", "uploadId"} & query.keys() or comp in ("block", "blocklist"):
    return "multipart"
  kinds: dict[str, Kind] = {"PUT": "put", "GET": "get", "HEAD": "head", "DELETE": "delete"}
  return kinds.get(method, "other")


@dataclasses.dataclass
class _Rule:
  how: Misbehaviour
  times: int | None
  of: Kind | None
  name: str
  done: bool
  probability: float
  random: random.Random

  def fits(self, kind: Kind, target: str) -> bool:
    if self.times == 0 or self.of not in (None, kind) or self.name not in urllib.parse.unquote(target):
      return False
    if self.random.random() >= self.probability:
      return False
    if self.times is not None:
      self.times -= 1
    return True


class Proxy:
  """`counts`: requests by kind (`put`) and by method (`PUT`), those with which it misbehaved too, which are in `misbehaved`."""

  def __init__(self, target: int):
    self.target, self.port = target, 0
    self.counts: collections.Counter[str] = collections.Counter()
    self.misbehaved: collections.Counter[str] = collections.Counter()
    self._rules: list[_Rule] = []
    self._lock = threading.Lock()

  def misbehave(
    self,
    how: Misbehaviour,
    times: int | None = 1,
    *,
    of: Kind | None = None,
    name: str = "",
    done: bool = False,
    probability: float = 1.0,
    seed: int = 0,
  ) -> None:
    """With the next `times` requests (None: from now on) of this kind whose path has `name` in it, each with the probability.

    `done`: the server does what was asked, and its answer is lost; not of the resets."""
    assert how in get_args(Misbehaviour) and (of is None or of in get_args(Kind))
    assert not (done and how.startswith("reset"))
    with self._lock:
      self._rules.append(_Rule(how, times, of, name, done, probability, random.Random(seed)))

  def behave(self) -> None:
    with self._lock:
      self._rules.clear()

  def take(self, kind: Kind, method: str, target: str) -> _Rule | None:
    """Counts a request, and says what befalls it."""
    with self._lock:
      self.counts.update((kind, method))
      rule = next((rule for rule in self._rules if rule.fits(kind, target)), None)
      if rule:
        self.misbehaved[rule.how] += 1
      return rule


class _Handler(Handler):
  proxy: Proxy

  def _pass_on(self) -> None:
    if "Transfer-Encoding" in self.headers:
      return self.send_error(411)
    rule = self.proxy.take(kind_of(self.command, self.path, self.headers), self.command, self.path)
    how = rule.how if rule else None
    if how == "reset upload":
      if half := int(self.headers.get("Content-Length") or 0) // 2:
        self._ask(self.body(half), answered=False)
      return self.reset()
    body = self.body()
    if rule and not how.startswith("reset"):
      if rule.done:
        self._ask(body)
      return self._refuse(how)
    answer = self._ask(body)
    assert answer is not None
    if how is None:
      self._answer(*answer, len(answer[1]))
    else:
      if answer[1]:
        self._answer(*answer, len(answer[1]) // 2)
        self.wfile.flush()
      self.reset()

  do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass_on

  def _ask(self, body: bytes, answered: bool = True) -> tuple[http.client.HTTPResponse, bytes] | None:
    """As it came, with its Host, which S3's signature covers. By a connection of its own: an old one may have just ended."""
    server = http.client.HTTPConnection(HOST, self.proxy.target)
    with contextlib.closing(server):
      server.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
      for name, value in self.headers.items():
        if name.lower() not in _HOP_BY_HOP:
          server.putheader(name, value)
      server.putheader("Connection", "close")
      server.endheaders(body)
      if not answered:
        return None
      response = server.getresponse()
      return response, response.read()

  def _answer(self, response: http.client.HTTPResponse, body: bytes, sent: int) -> None:
    self.send_response_only(response.status, response.reason)
    for name, value in response.getheaders():
      if name.lower() not in _HOP_BY_HOP | {"content-length"}:
        self.send_header(name, value)
    if self.command == "HEAD":
      self.send_header("Content-Length", response.getheader("Content-Length", "0"))
    elif response.status not in (204, 304):
      self.send_header("Content-Length", str(len(body)))
    self.end_headers()
    self.wfile.write(body[:sent])

  def _refuse(self, how: str) -> None:
    if how in ("silence", "close"):
      self.close_connection = True
      while how == "silence" and not self.server.stopping.is_set() and self.connection.recv(1 << 16):
        pass
      return
    body = f"<Error><Code>{_CODES[how]}</Code><Message>asked for by a test</Message></Error>".encode()
    self.send_response_only(int(how))
    self.send_header("Content-Length", str(len(body)))
    self.end_headers()
    if self.command != "HEAD":
      self.wfile.write(body)


@contextlib.contextmanager
def before(port: int) -> Iterator[Proxy]:
  """In front of the server on this port, on a port of its own."""
  proxy = Proxy(port)
  server = LocalServer(type("Handler", (_Handler,), {"proxy": proxy}))
  proxy.port = server.port
  with server.running():
    yield proxy
