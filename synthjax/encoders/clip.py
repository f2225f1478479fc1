"""CLIP as an encoder: features of images and texts, and zero-shot classifiers, from a folder of a published checkpoint.

config.json  model.safetensors  preprocessor_config.json  vocab.json  merges.txt      transformers' layout
open_clip_config.json  open_clip_model.safetensors  vocab.json  merges.txt            OpenCLIP's
"""

from __future__ import annotations

import collections
import functools
import itertools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np
from jax.sharding import Mesh

from synthjax.encoders import layouts
from synthjax.encoders.towers import Towers
from synthjax.labels.spaces import check_template
from synthjax.models.flax_classes import CLIPTokenizerFast
from synthjax.runtime import devices
from synthjax.runtime.errors import UserError
from synthjax.weights import read, tokenizer

Array = jax.Array
PER_DEVICE_BATCH = 64
_CPU_BATCH = (
  32  # always: XLA's CPU kernels round differently for other shapes (seen: 1, 2, 4 and 16 against 32)
)
_IN_FLIGHT = 2


class Clip(Towers):
  """Networks and tokenizer of one checkpoint; parameters are loaded by `load_params`, on request."""

  def __init__(self, folder: Path, dtype: str = "float32"):
    if not folder.is_dir():
      raise UserError(
        f"encoder {folder} is no folder; an encoder is a folder in transformers' layout or OpenCLIP's"
      )
    self.folder, self._checkpoint = folder, layouts.read_folder(folder)
    with read.building(folder):
      super().__init__(self._checkpoint.architecture, self._checkpoint.preprocess, dtype)

  def param_shapes(self) -> dict[str, Any]:
    with read.building(self.folder):
      return super().param_shapes()

  @functools.cached_property
  def digest(self) -> str:
    return read.folder_digest(self.folder, (".",), (self._checkpoint.stem,))

  @functools.cached_property
  def _tokenizer(self) -> CLIPTokenizerFast:
    found = tokenizer.read(self.folder, self._checkpoint.owner.removesuffix("'"))
    text, config = self.architecture.text, self._checkpoint.config
    if len(found) > text.vocab_size:  # jax would take the last embedding, in silence
      raise UserError(
        f"weights: the tokenizer of {self.folder} has {len(found)} tokens, its {config} {text.vocab_size}"
      )
    end = len(found) - 1 if text.eos_token_id == layouts.LEGACY_END else text.eos_token_id
    if found.eos_token_id != end:  # the network would read at the first token, the same for all texts
      raise UserError(
        f"weights: texts end with token {found.eos_token_id} in the tokenizer of {self.folder}, its {config} expects {end}"
      )
    return found

  def load_params(self, mesh: Mesh) -> dict[str, Any]:
    """Every parameter on every device of the mesh, in float32 whatever the dtype: 16 bits would round the scale."""
    place = functools.partial(jax.device_put, device=devices.place(mesh, devices.REPLICATED))
    return read.read_params(
      self.folder,
      self._checkpoint.stem,
      self.param_shapes(),
      lambda a: place(np.asarray(a, np.float32)),
      self._checkpoint.layout,
    )

  # --- texts -------------------------------------------------------------------------------------

  def tokenize(self, texts: Sequence[str]) -> tokenizer.Tokens:
    return tokenizer.tokenize(self._tokenizer, texts, self.max_tokens)

  def check(self, names: Sequence[str], templates: Sequence[str]) -> tokenizer.Tokens:
    """The prompts of a zero-shot classifier, tokenised, template by template of each name; refused if they do not fit."""
    if not names or not templates:
      raise UserError("a zero-shot classifier needs at least one class and one template")
    for template in templates:
      check_template(template, "zero-shot classifier")
    texts = [template.replace("{}", name) for name in names for template in templates]
    tokens = self.tokenize(texts)
    if tokens.lengths.max() > self.max_tokens:
      n, longest = tokens.lengths.max(), texts[tokens.lengths.argmax()]
      raise UserError(
        f"zero-shot classifier: {longest[:80]!r} has {n} tokens, the encoder reads {self.max_tokens}; shorten the name or the template"
      )
    return tokens

  def zero_shot(self, params: Any, names: Sequence[str], templates: Sequence[str]) -> np.ndarray:
    """A classifier [K, D], float32: W_k = scale * normalise(mean_t normalise(h(template_t(name_k))))."""
    features = self._text_features(params, self.check(names, templates))
    mean_KxD = features.reshape(len(names), len(templates), self.width).mean(axis=1)
    return (float(self.scale(params)) * _normalise(mean_KxD)).astype(np.float32)

  def embed_texts(self, params: Any, texts: Sequence[str]) -> np.ndarray:
    """Normalised features [n, D]; of a text that is too long, those of its start."""
    return self._text_features(params, self.tokenize(texts)).astype(np.float32)

  def _text_features(self, params: Any, tokens: tokenizer.Tokens) -> np.ndarray:
    return _normalise(_in_batches(self.text_features, params, tokens.ids, PER_DEVICE_BATCH, self.width))


class SeesImages(Protocol):
  """What makes features of images."""

  @property
  def width(self) -> int: ...

  def image_features(self, params: Any, pixels_BxSxSx3: Array, /) -> Array: ...


def embed(
  encoder: SeesImages, params: Any, images: Iterable[np.ndarray], per_device_batch: int = PER_DEVICE_BATCH
) -> np.ndarray:
  """Features [n, D] of preprocessed images, on the devices that hold `params`.

  Batch size, the images beside it and the number of devices never change an image's features: not by a bit on CPUs,
  where a device takes 32 at once whatever is asked for. What may is its place in the sequence: an AMD EPYC rounds
  residual towers apart by 1e-7 at the end of a batch. A shard, and a source, always come in one order.
  """
  return _in_batches(encoder.image_features, params, images, per_device_batch, encoder.width)


@functools.lru_cache(maxsize=8)
def _program(function: Callable[[Any, Array], Array], mesh: Mesh) -> Callable[[Any, Array], Array]:
  """Every device computes the same thing on its own slice; see sampling/program.py."""
  specs = (devices.REPLICATED, devices.BATCH)
  # check_vma: the networks were written before varying types
  return jax.jit(jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=devices.BATCH, check_vma=False))


def _in_batches(
  function: Callable[[Any, Array], Array],
  params: Any,
  rows: Iterable[np.ndarray],
  per_device_batch: int,
  width: int,
) -> np.ndarray:
  """`function` of all rows, in batches of one shape; while two are computed, the next is gathered."""
  mesh = jax.tree.leaves(params)[0].sharding.mesh
  if mesh.devices.flat[0].platform == "cpu":
    per_device_batch = _CPU_BATCH
  program, size, rows = _program(function, mesh), per_device_batch * mesh.size, iter(rows)
  done: list[np.ndarray] = []
  flying: collections.deque[tuple[Array, int]] = collections.deque()

  def fetch() -> None:
    features, n = flying.popleft()
    done.append(np.asarray(features)[:n])

  while batch := list(itertools.islice(rows, size)):
    if len(flying) == _IN_FLIGHT:
      fetch()
    filled = np.stack([*batch, *[batch[0]] * (size - len(batch))])
    flying.append((program(params, jax.device_put(filled, devices.place(mesh, devices.BATCH))), len(batch)))
  while flying:
    fetch()
  return np.concatenate(done) if done else np.zeros((0, width), np.float32)


def _normalise(x: np.ndarray) -> np.ndarray:
  x = x.astype(np.float64)
  return x / np.linalg.norm(x, axis=-1, keepdims=True)
