"""Which language model a list's `writer` names, and what decides its answers."""

from __future__ import annotations

from collections.abc import Callable

from etils import epath

from synthjax.prompts import recorded
from synthjax.prompts.requests import LanguageModel
from synthjax.runtime.errors import UserError
from synthjax.runtime.registry import Registry
from synthjax.spec.fields import Prompts, Server

T5, CHAT, SERVER, RECORDED = "t5", "lm", "server", "recorded"
Opener = Callable[[str, Prompts, Server, epath.Path], LanguageModel]


def _local(rest: str, fields: Prompts, settings: Server, root: epath.Path) -> LanguageModel:
  from synthjax.prompts import local  # its networks, where they are needed

  del settings
  return local.Local(rest, kind(fields.writer), fields.dtype, fields.per_device_batch, root)


def _server(rest: str, fields: Prompts, settings: Server, root: epath.Path) -> LanguageModel:
  from synthjax.prompts import server

  del root
  return server.Server(rest, fields.model, settings)


def _recorded(rest: str, fields: Prompts, settings: Server, root: epath.Path) -> LanguageModel:
  del fields, settings
  return recorded.Recorded(rest, root)


MODELS: Registry[Opener] = Registry(
  "language model", {T5: _local, CHAT: _local, SERVER: _server, RECORDED: _recorded}
)


def kind(writer: str) -> str:
  """t5, lm, server, recorded, or one that a config file registers; "" of a writer that is no language model."""
  name, colon, _ = writer.partition(":")
  return name if colon and name in MODELS else ""


def open_model(fields: Prompts, settings: Server, root: epath.Path, where: str) -> LanguageModel:
  """`root` is the study's workdir. Opens nothing, asks nobody."""
  of_kind, rest = kind(fields.writer), fields.writer.partition(":")[2]
  if not of_kind or not rest:
    known = ", ".join(f"{name}:..." for name in MODELS)
    raise UserError(
      f"{where}: strategy {fields.strategy} asks a language model; set writer to one of {known}"
    )
  return MODELS[of_kind](rest, fields, settings, root)
