"""The writer `server:URL`: a model behind any OpenAI-compatible endpoint, hosted or started beside the run."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping

from synthjax.prompts import server_protocol as protocol
from synthjax.prompts.server_client import Connection, Endpoint, NoReply, base_url
from synthjax.prompts.server_conversation import ServerConversation
from synthjax.runtime import absence
from synthjax.runtime.errors import NotHere, UserError, nearest
from synthjax.spec import fields

_CHECK_SECONDS = 15.0
_NO_LIST = (404, 405, 501)  # not every gateway lists its models


@dataclasses.dataclass(frozen=True)
class Server:
  """A LanguageModel. Where it lies is not its identity: the same model may move to another host."""

  url: str = dataclasses.field(repr=False)  # it may hold a password until it is checked
  model: str
  settings: fields.Server

  @property
  def identity(self) -> Mapping[str, str]:
    return {"server": self.model}

  @property
  def capacity(self) -> int:
    return 2 * self.settings.max_concurrent

  def check(self, where: str) -> None:
    base, key = base_url(self.url, where), self._key()
    if not self.model:
      raise UserError(f"{where}: server {base} needs the name of a model; set the list's model")
    absence.check(base)
    endpoint = Endpoint(base, key, min(self.settings.timeout_seconds, _CHECK_SECONDS))
    try:
      with endpoint.connect() as connection:
        self._check(endpoint, connection, where)
    except NoReply as e:
      line = f"{where}: no server answers at {base} ({e}); start it, or fix the URL"
      raise NotHere(line, base, "none answers", "servers") from None

  def _check(self, endpoint: Endpoint, connection: Connection, where: str) -> None:
    reply = connection.models()
    if (
      reply.status in _NO_LIST
    ):  # a request without any content costs nothing and shows whether it answers questions
      reply = connection.chat({})
      if reply.status not in (*_NO_LIST, 401, 403) and not 300 <= reply.status < 400:
        return
    if reply.status == 429:  # it is there, and knows us
      return
    if reply.status >= 500:
      raise UserError(
        f"{where}: server {endpoint.base} is not ready: {endpoint.words(reply)}; start again once it is"
      )
    if not reply.is_ok:
      raise UserError(f"{where}: {endpoint.refusal(reply, self.model, self.settings.key_variable)}")
    names = protocol.models(reply.body)
    if names is None:
      raise UserError(
        f"{where}: {endpoint.base}/models is no list of models ({endpoint.clean(protocol.error_text(reply.body))}); give the URL of an OpenAI-compatible server"
      )
    if not protocol.is_listed(self.model, names):
      raise UserError(
        f"{where}: server {endpoint.base} has no model {self.model!r}{nearest(self.model, names)}; set the list's model to one that it has"
      )

  def open(self) -> ServerConversation:
    endpoint = Endpoint(base_url(self.url, "server"), self._key(), self.settings.timeout_seconds)
    return ServerConversation(endpoint, self.model, self.settings)

  def _key(self) -> str:
    """Of the environment; "" where none is wanted. No message says any of it."""
    name = self.settings.key_variable
    if not name:
      return ""
    where = "config.server.key_variable"
    if not re.fullmatch("[A-Z_][A-Z0-9_]*", name):  # not printed: it may be the key itself
      raise UserError(
        f"{where} is no name of an environment variable in capitals, like OPENAI_API_KEY; put the API key into one and its name here"
      )
    key = os.environ.get(name, "").strip()
    if not key:
      raise UserError(
        f"{where}: the environment variable {name!r} is not set; put the API key there, or set the field to '' where the server wants none"
      )
    if not (key.isascii() and key.isprintable()) or " " in key:
      raise UserError(
        f"{where}: the environment variable {name!r} holds no API key: it has spaces or characters beyond ASCII"
      )
    return key
