"""A language model of a folder or the hub, and the texts that it continues.

config.json  generation_config.json  model.safetensors (or parts, and their index)  tokenizer_config.json
tokenizer.json or, of T5, spiece.model   chat_template.jinja, unless tokenizer_config.json has the template
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import ml_dtypes
import numpy as np
from etils import epath
from jax.sharding import Mesh

from synthjax.language import chat, configs, tokens
from synthjax.language.decoding import Decoding, Found, Network, Program, padded_length, rows_of
from synthjax.language.placement import mesh_for
from synthjax.runtime import devices, residents, sharding
from synthjax.runtime.errors import UserError
from synthjax.weights import hub, read

PER_DEVICE_BATCH = 32
_CPU_BATCH = 8  # always: XLA's CPU kernels round differently for other shapes
_IN_FLIGHT = 2
_STEM, _OTHERS = "model", (tokens.SPIECE, chat.FILE)
_DTYPES = {"float32": np.dtype(np.float32), "bfloat16": np.dtype(ml_dtypes.bfloat16)}


@dataclasses.dataclass(frozen=True)
class Generated:
  text: str  # without special tokens
  prompt_tokens: int
  new_tokens: int  # the one that ended the text among them
  ended: bool  # by the model, rather than by max_tokens


class LanguageModel:
  """Configs, tokenizer and template of a checkpoint are read at once, its parameters when the first text is generated."""

  def __init__(
    self, folder: Path, dtype: str, per_device_batch: int, of: Sequence[devices.Device] | None, name: str
  ):
    if not folder.is_dir():
      raise UserError(
        f"language model {folder} is no folder; give one in transformers' layout, or the hub's org/name"
      )
    if dtype not in _DTYPES:
      raise UserError(f"language model {name}: dtype={dtype!r}; it must be {' or '.join(_DTYPES)}")
    self.folder, self.name, self.dtype, self._of = folder, name, dtype, of
    self._rows = per_device_batch
    self._stamps = read.stamps(folder)
    self._checkpoint = configs.read_checkpoint(folder, dtype)
    self._tokens = tokens.read_tokens(folder, self._checkpoint.vocabulary)
    self._template = chat.read_template(folder)

  def digest(self) -> str:
    """Of every file that decides which texts come out."""
    return read.folder_digest(self.folder, (".",), (_STEM,), _OTHERS)

  @property
  def per_device_batch(self) -> int:
    """Texts that a device continues at once; where parameters are split, the devices that hold them together."""
    return _CPU_BATCH if self._devices[0].platform == "cpu" else self._rows

  def chat(self, messages: Sequence[Mapping[str, str]]) -> str:
    """The text to continue for an answer to these messages, each with a `role` and its `content`."""
    if not self._template:
      raise UserError(
        f"language model {self.name} has no chat template: it continues texts; write its prompt as a text, or take a model that chats"
      )
    for message in messages:
      for mark in self._tokens.marks:  # it would end the message, whatever it was meant for
        if mark in message.get("content", ""):
          raise UserError(
            f"language model {self.name}: a message holds {mark!r}, which is a special token; write it otherwise"
          )
    return chat.render(self._template, messages, self._tokens.special, str(self.folder))

  def generate(
    self,
    texts: Sequence[str],
    seeds: Sequence[int],
    decoding: Decoding,
    done: Callable[[int], object] = lambda texts: None,
  ) -> list[Generated]:
    """A continuation of each text. On CPUs it is decided by text, seed and request to the bit; elsewhere the batch and the
    number of devices may change how sums are rounded. Of a seed 64 bits count. `done` hears of so many more texts."""
    assert len(texts) == len(seeds)
    prompts = self._ids(texts, decoding)
    by_length: dict[int, list[int]] = {}
    for i, prompt in enumerate(prompts):
      by_length.setdefault(padded_length(len(prompt)), []).append(i)
    found: dict[int, Generated] = {}
    flying: collections.deque[tuple[list[int], Found]] = collections.deque()

    def fetch() -> None:
      batch, rows = flying.popleft()
      for i, ids, count, ended in zip(
        batch, *map(np.asarray, rows), strict=False
      ):  # a batch may be filled up
        text = self._tokens.text(ids[: count - 1 if ended else count].tolist())
        found[i] = Generated(text, len(prompts[i]), int(count), bool(ended))
      done(len(batch))

    if not prompts:
      return []
    params, size = self._params, self.per_device_batch * self.data_parallel
    for length, members in sorted(by_length.items()):
      for start in range(0, len(members), size):
        batch = members[start : start + size]
        rows = rows_of([prompts[i] for i in batch], [seeds[i] for i in batch], length, size)
        if len(flying) == _IN_FLIGHT:
          fetch()
        flying.append((batch, self._program(params, rows, decoding)))
    while flying:
      fetch()
    return [found[i] for i in range(len(prompts))]

  def _ids(self, texts: Sequence[str], decoding: Decoding) -> list[list[int]]:
    network = self._checkpoint.network
    prompts = self._tokens.ids(texts, network.adds_special_tokens)
    for text, prompt in zip(texts, prompts, strict=True):
      if not prompt:
        raise UserError(
          f"language model {self.name}: the text {text[:40]!r} has no token; give it a word to begin with"
        )
      if network.max_positions and len(prompt) + decoding.max_tokens > network.max_positions:
        raise UserError(
          f"language model {self.name}: {text[:40]!r} has {len(prompt)} tokens, and {decoding.max_tokens} new ones are asked for: "
          f"it knows {network.max_positions} positions; shorten the text, or set max_tokens"
        )
    return prompts

  @property
  def network(self) -> Network:
    return self._checkpoint.network

  # --- devices -----------------------------------------------------------------------------------

  @functools.cached_property
  def _devices(self) -> list[devices.Device]:
    return list(self._of or jax.local_devices())

  @functools.cached_property
  def _mesh(self) -> Mesh:
    return mesh_for(self.bytes, self._devices, devices.memory_limit(), self.name)

  @property
  def bytes(self) -> int:
    """Of the parameters."""
    values = sum(math.prod(x.shape) for x in jax.tree.leaves(self._checkpoint.network.shapes))
    return values * _DTYPES[self.dtype].itemsize

  @property
  def data_parallel(self) -> int:
    """How many times the parameters lie on the devices, each with rows of its own."""
    return self._mesh.shape["data"]

  @functools.cached_property
  def _program(self) -> Program:
    limit = sys.maxsize if self._devices[0].platform == "cpu" else devices.memory_limit()
    return Program(self._checkpoint.network, self._checkpoint.ends, self._mesh, limit)

  @property
  def _params(self) -> Any:
    return _loaded(self)

  def read_params(self) -> Any:
    """From the files to the devices, tensor by tensor."""
    parts, dtype = self._mesh.shape["fsdp"], _DTYPES[self.dtype]

    def place(tensor: np.ndarray) -> jax.Array:
      where = devices.place(self._mesh, sharding.spec(tensor.shape, parts))
      return jax.device_put(np.asarray(tensor, dtype), where)

    with read.building(self.folder):
      shapes = self._checkpoint.network.shapes
    params = read.read_params(self.folder, _STEM, shapes, place, spare=self._checkpoint.spare)
    read.check_unchanged(self.folder, self._stamps)
    return params


def load(
  reference: str,
  root: epath.Path,
  dtype: str = "float32",
  per_device_batch: int = PER_DEVICE_BATCH,
  of: Sequence[devices.Device] | None = None,
) -> LanguageModel:
  """`reference` is a folder or the hub's org/name[@revision], `root` the study's workdir; `of`: on these devices alone."""
  return LanguageModel(hub.locate(reference, root), dtype, per_device_batch, of, reference)


def to_fetch(reference: str, root: epath.Path) -> list[hub.ToFetch]:
  """Of the hub's, what of the tensors is not on this machine yet."""
  return hub.to_fetch(reference, root, {"": (_STEM,)})


@functools.lru_cache(maxsize=1)  # the parameters of one model at a time
def _loaded(model: LanguageModel) -> Any:
  _release()  # the one before
  return model.read_params()


def _release() -> bool:
  held = _loaded.cache_info().currsize > 0
  _loaded.cache_clear()
  return held


residents.register(residents.LANGUAGE, _release)
