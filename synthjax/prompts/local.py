"""A language model on this process's devices: `t5:REFERENCE` and `lm:REFERENCE`, a folder or the hub's org/name[@revision]."""

from __future__ import annotations

import collections
import functools
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from etils import epath

from synthjax.language import model
from synthjax.models.t5 import T5
from synthjax.prompts.requests import Answer, Request
from synthjax.runtime.errors import NotHere, UserError
from synthjax.runtime.stopping import Stop

_BATCHES = 4  # that are queued


class Local:
  def __init__(self, reference: str, kind: str, dtype: str, per_device_batch: int, root: epath.Path):
    self._reference, self._kind, self._dtype, self._root = reference, kind, dtype, root
    self._per_device_batch = per_device_batch

  @functools.cached_property
  def _model(self) -> model.LanguageModel:
    found = model.load(self._reference, self._root, self._dtype, self._per_device_batch)
    is_t5 = isinstance(found.network, T5)
    if is_t5 != (self._kind == "t5"):
      other = "t5" if is_t5 else "lm"
      raise UserError(
        f"writer {self._kind}:{self._reference} is the other kind; write {other}:{self._reference}"
      )
    return found

  @property
  def identity(self) -> Mapping[str, Any]:
    return {"model": self._kind, "weights": self._model.digest(), "dtype": self._dtype}

  @property
  def capacity(self) -> int:
    return _BATCHES * self._batch

  @property
  def _batch(self) -> int:
    return self._model.per_device_batch * self._model.data_parallel

  def check(self, where: str) -> None:
    try:
      self._model.digest()
    except NotHere as e:
      raise NotHere(f"{where}: {e}", e.reference, e.fix, e.what) from None
    except UserError as e:
      raise UserError(f"{where}: {e}") from None

  def open(self) -> _Batches:
    return _Batches(self._model, self._batch)


class _Batches:
  """Requests of like length and the same decoding are answered together."""

  def __init__(self, asked: model.LanguageModel, batch: int):
    self._model, self._batch = asked, batch
    self._queued: collections.deque[tuple[str, Request]] = collections.deque()

  def ask(self, request: Request) -> None:
    if request.images:
      raise UserError("a local language model takes no images; use server:URL")
    said = [{"role": m.role, "content": m.text} for m in request.messages]
    self._queued.append((self._model.chat(said) if said else request.text, request))

  def answers(self, stop: Stop) -> Iterator[tuple[Request, Answer]]:
    stop.check()
    decoding = self._queued[0][1].decoding
    alike = [one for one in self._queued if one[1].decoding == decoding]
    chosen = list(itertools.islice(sorted(alike, key=lambda one: len(one[0])), self._batch))
    taken = {id(request) for _, request in chosen}
    self._queued = collections.deque(one for one in self._queued if id(one[1]) not in taken)
    found = self._model.generate([t for t, _ in chosen], [r.seed for _, r in chosen], decoding)
    for (_, request), one in zip(chosen, found, strict=True):
      yield request, Answer(one.text, one.prompt_tokens, one.new_tokens, one.ended)

  def close(self) -> None:
    self._queued.clear()
