"""HTTP for a server of language models: one address, one key, and bounds on the time and size of a reply."""

from __future__ import annotations

import dataclasses
import http
import json
import logging
import re
import time
import unicodedata
from collections.abc import Mapping
from urllib.parse import urlsplit

import httpx

from synthjax.runtime.errors import UserError

_MOST = 4 * 2**20  # bytes of a reply
_LONGEST = 200  # characters of a server's own words
_CHAT = "/chat/completions"

for _name in ("httpx", "httpcore"):
  logging.getLogger(_name).setLevel(logging.WARNING)  # at INFO they print each URL


class NoReply(Exception):
  """No connection, or none that held until the reply was whole. Says why."""


@dataclasses.dataclass(frozen=True)
class Reply:
  status: int
  headers: Mapping[str, str]  # names in lower case
  body: bytes

  @property
  def is_ok(self) -> bool:
    return 200 <= self.status < 300


def base_url(url: str, where: str) -> str:
  """The address that paths are put behind: without a path, `/v1` is meant. Never prints a URL that may hold a secret."""
  example = "give one like http://localhost:8000/v1"
  try:
    parts = urlsplit(url)
    secret = "@" in parts.netloc or bool(parts.query or parts.fragment)
    plain = url.isprintable() and " " not in url
    valid = plain and parts.scheme in ("http", "https") and bool(httpx.URL(url).host) and parts.port != 0
  except (ValueError, httpx.InvalidURL):
    parts, valid, secret = None, False, False
  if secret or (not valid and re.search("[@?#]", url)):
    raise UserError(
      f"{where}: the server's URL holds a user, a password or a query; {example}, and put the key into an environment variable (config.server.key_variable)"
    )
  if not valid or parts is None:
    raise UserError(f"{where}: {clean(url)!r} is no http or https URL; {example}")
  path = parts.path.rstrip("/").removesuffix(_CHAT)
  return f"{parts.scheme}://{parts.netloc}{path or '/v1'}"


def clean(text: str, key: str = "") -> str:
  """A server's words, fit for a line: without the key, control characters and tags, and short."""
  text = text.replace(key, "[key]") if key else text
  text = re.sub(r"<[^<>]*>", " ", text)
  text = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in text[: 20 * _LONGEST])
  text = " ".join(text.split())
  return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


class Endpoint:
  """An address and the key for it, which no message says."""

  def __init__(self, base: str, key: str, seconds: float):
    self.base, self._key, self._seconds = base, key, seconds
    try:
      self._tls = httpx.create_ssl_context()  # reads the certificates, once for all connections
    except OSError as e:
      raise UserError(
        f"server {base}: certificates cannot be read ({e}); see the environment variables SSL_CERT_FILE and SSL_CERT_DIR"
      ) from e

  def connect(self) -> Connection:
    host = httpx.URL(self.base).host
    is_here = host in ("localhost", "::1") or host.startswith("127.")
    key = {"Authorization": f"Bearer {self._key}"} if self._key else {}
    headers = {"User-Agent": "synthjax", "Accept-Encoding": "identity", "Content-Type": "application/json"}
    try:
      client = httpx.Client(
        headers=headers | key,
        timeout=self._seconds,
        verify=self._tls,
        trust_env=not is_here,  # no proxy leads to this machine
      )
    except (ValueError, ImportError, httpx.InvalidURL) as e:
      raise UserError(
        f"server {self.base}: a proxy that the environment names cannot be used ({type(e).__name__}); fix HTTPS_PROXY, HTTP_PROXY or ALL_PROXY, or name this host in NO_PROXY"
      ) from None
    return Connection(self, client, self._seconds)

  def clean(self, text: str) -> str:
    return clean(text, self._key)

  def words(self, reply: Reply) -> str:
    """503 Service Unavailable: no worker is free."""
    try:
      phrase = f"{reply.status} {http.HTTPStatus(reply.status).phrase}"
    except ValueError:
      phrase = str(reply.status)
    said = self.clean(error_text(reply.body))
    return f"{phrase}: {said}" if said else phrase

  def refusal(self, reply: Reply, model: str, key_variable: str) -> str:
    """What to do about a reply that will not get better by asking again."""
    line = f"server {self.base}: {self.words(reply)}"
    if 300 <= reply.status < 400:
      target = re.match(r"https?://([^/?#@]+)(?![^/?#]*@)", reply.headers.get("location", ""))
      return f"{line}; it redirects{f' to {self.clean(target[1])}' if target else ''}, which is not followed: give the writer the URL that it leads to"
    if reply.status in (401, 403) and key_variable:
      return f"{line}; it does not accept the API key in the environment variable {key_variable}: put a valid one there"
    if reply.status in (401, 403):
      return f"{line}; if it wants an API key, set config.server.key_variable to the environment variable that holds it"
    if reply.status == 404:
      return (
        f"{line}; it has no {_CHAT} there, or no model {model!r}: fix the writer's URL, or the list's model"
      )
    return f"{line}; it refuses what it is asked: fix the list's model, temperature, top_p or max_tokens, or config.server"


class Connection:
  """For one thread: a pool that 128 threads share costs seven times as much as what is sent through it. Redirects are not
  followed, since the key is for this host alone."""

  def __init__(self, endpoint: Endpoint, client: httpx.Client, seconds: float):
    self._endpoint, self._client, self._seconds = endpoint, client, seconds

  def models(self) -> Reply:
    return self._reply("GET", "/models", None)

  def chat(self, body: Mapping[str, object]) -> Reply:
    return self._reply("POST", _CHAT, json.dumps(body).encode())

  def _reply(self, method: str, path: str, content: bytes | None) -> Reply:
    until = time.monotonic() + self._seconds
    chunks: list[bytes] = []
    size = 0
    try:
      with self._client.stream(method, self._endpoint.base + path, content=content) as response:
        for chunk in response.iter_bytes():
          chunks.append(chunk)
          size += len(chunk)
          if size > _MOST:
            raise NoReply(f"a reply of more than {_MOST >> 20} MB")
          if time.monotonic() > until:  # a timeout of httpx is between two chunks
            raise NoReply(f"no whole reply within {self._seconds:g} s")
        return Reply(response.status_code, response.headers, b"".join(chunks))
    except httpx.TimeoutException:
      raise NoReply(f"no reply within {self._seconds:g} s") from None
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as e:  # the last for a host that is no name
      raise NoReply(self._endpoint.clean(str(e)) or type(e).__name__) from None

  def __enter__(self) -> Connection:
    return self

  def __exit__(self, *_: object) -> None:
    self._client.close()


def error_text(body: bytes) -> str:
  """What a body says of an error, in any of the usual forms."""
  text = body.decode(errors="replace")
  try:
    found: object = json.loads(body)
  except (ValueError, RecursionError):
    return text
  for _ in range(3):
    if not isinstance(found, dict):
      break
    found = next((found[name] for name in ("error", "message", "detail") if found.get(name)), text)
  return found if isinstance(found, str) else json.dumps(found)
