"""An encoder of a study, with the zero-shot classifier of a label space; its parameters stay in memory, one encoder's at a time."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np
from etils import epath
from flax import traverse_util
from jax.sharding import Mesh

from synthjax.encoders import clip, image_network, thumbnail
from synthjax.encoders.clip import Clip
from synthjax.encoders.image_network import Dinov2Network, ImageNetwork, InceptionNetwork
from synthjax.encoders.layouts import TENSORS
from synthjax.encoders.preprocess import Preprocess
from synthjax.encoders.thumbnail import Thumbnail
from synthjax.labels.spaces import LabelSpace
from synthjax.models import attention
from synthjax.runtime import devices, residents
from synthjax.runtime.errors import UserError
from synthjax.spec import checks
from synthjax.spec.fields import INCEPTION, THUMBNAIL
from synthjax.spec.study import StudySpec
from synthjax.store import corrections
from synthjax.weights import clean_text, hub, read

Array = np.ndarray


class Encoder:
  """An encoder of the config, with the zero-shot classifier of the study's label space."""

  def __init__(self, config: StudySpec, root: epath.Path, name: str, labels: LabelSpace):
    self.name, self.labels, self._root = name, labels, root
    self._fields, self._is_checked = config.encoders[name], False

  @functools.cached_property
  def clip(self) -> Clip:
    return _opened(self._folder, self._fields.dtype, self._stamps)

  @property
  def _folder(self) -> Path:
    return hub.locate(self._fields.weights, self._root)

  @functools.cached_property
  def _stamps(self) -> read.Stamps:
    """Of the weights whose digest is recorded."""
    return read.stamps(self._folder)

  @property
  def preprocess(self) -> Preprocess | Thumbnail | image_network.Squared:
    return self.clip.preprocess

  @property
  def reference(self) -> str:
    return hub.pinned(self._fields.weights, self._root)

  def to_fetch(self) -> Iterable[hub.ToFetch]:
    """Of its weights, what is not on this machine yet."""
    return hub.to_fetch(self._fields.weights, self._root, {"": TENSORS})

  @property
  def feature(self) -> tuple[tuple[int, ...], np.dtype]:
    """(shape, type) of what it makes of one image."""
    return (self.clip.width,), np.dtype(np.float32)

  @property
  def templates(self) -> tuple[str, ...]:
    return self.labels.templates if self._fields.ensemble else (self.labels.template,)

  @property
  def identity(self) -> dict[str, Any]:
    """Of the features."""
    return {"encoder": self.clip.digest, "dtype": self._fields.dtype}

  @functools.cached_property
  def _has_cleaned_text(self) -> bool:
    texts = (template.replace("{}", name) for template in self.templates for name in self.labels.names)
    return any(map(clean_text.is_altered, texts))

  @property
  def classifier_identity(self) -> dict[str, Any]:
    words = {"class_ids": self.labels.ids, "class_names": self.labels.names, "templates": self.templates}
    return self.identity | words | corrections.applied(clean_text=self._has_cleaned_text)

  @functools.cached_property
  def zero_shot(self) -> Array:
    """[K, D], with CLIP's scale."""
    return np.asarray(self.clip.zero_shot(self.params, self.labels.names, self.templates))

  def embed_texts(self, texts: Sequence[str]) -> Array:
    """Normalised features [n, D]; of a text that is too long, those of its start."""
    return self.clip.embed_texts(self.params, texts)

  def too_long(self, texts: Sequence[str]) -> list[bool]:
    """Which of them its text tower does not read to the end."""
    return [bool(n > self.clip.max_tokens) for n in self.clip.tokenize(texts).lengths] if texts else []

  def check(self) -> None:
    """What can be known to be wrong without a device: files, shapes, prompts. All that use it ask, and once is enough."""
    if self._is_checked:
      return
    if not self.templates:
      raise UserError(
        f"config.encoders.{self.name}: ensemble, but the label space has no templates; give it some, or set it to False"
      )
    self.clip.check(self.labels.names, self.templates)
    self._is_checked = True

  @property
  def params(self) -> Any:
    return _loaded(self.clip, self._stamps)

  def embed(self, images: Iterable[Array], changed: Mapping[str, Array] | None = None) -> Array:
    """Features, by the encoder with what has `changed` of it."""
    params = with_changes(self.params, changed) if changed else self.params
    with attention.recorded() as chosen:
      features = clip.embed(self.clip, params, images, self._fields.per_device_batch)
    attention.note_once(f"encoder {self.name}", chosen)
    return features


def with_changes(params: Mapping[str, Any], changed: Mapping[str, Array]) -> dict[str, Any]:
  """An encoder's parameters with what a classifier's arm has made of some, placed as they were."""
  own: dict[str, Any] = traverse_util.flatten_dict(dict(params), sep="/")
  new = {path: jax.device_put(x, own[path].sharding) for path, x in changed.items()}
  return traverse_util.unflatten_dict(own | new, sep="/")


@functools.lru_cache(maxsize=8)  # the studies of a matrix share what is compiled, and the parameters
def _opened(folder: Path, dtype: str, stamps: read.Stamps) -> Clip:
  del stamps  # other files are another encoder
  return Clip(folder, dtype)


_THUMBNAIL = Thumbnail()


class Thumbnails(Encoder):
  """Pictures made small, for filters that look for copies; it knows no classes."""

  @property
  def preprocess(self) -> Thumbnail:
    return _THUMBNAIL

  @property
  def identity(self) -> dict[str, Any]:
    return {"encoder": f"thumbnail of {thumbnail.SIDE} px"}

  @property
  def feature(self) -> tuple[tuple[int, ...], np.dtype]:
    return (thumbnail.SIDE, thumbnail.SIDE), np.dtype(np.uint8)

  def check(self) -> None:
    return

  def embed(self, images: Iterable[Array], changed: Mapping[str, Array] | None = None) -> Array:
    assert not changed
    return thumbnail.embed(images)


class OfImages(Encoder):
  """A network of images alone: it knows no classes."""

  def __init__(self, config: StudySpec, root: epath.Path, name: str, labels: LabelSpace):
    super().__init__(config, root, name, labels)
    self._scheme, _, self._reference = self._fields.weights.partition(":")

  @functools.cached_property
  def network(self) -> ImageNetwork:
    return _network(self._scheme, self._folder, self._fields.resize, self._stamps)

  @property
  def _folder(self) -> Path:
    return hub.locate(self._reference, self._root)

  @property
  def preprocess(self) -> Preprocess | image_network.Squared:
    return self.network.preprocess

  @property
  def reference(self) -> str:
    return f"{self._scheme}:{hub.pinned(self._reference, self._root)}"

  def to_fetch(self) -> Iterable[hub.ToFetch]:
    return hub.to_fetch(self._reference, self._root, {"": (image_network.STEM,)})

  @property
  def feature(self) -> tuple[tuple[int, ...], np.dtype]:
    return (self.network.width,), np.dtype(np.float32)

  @property
  def identity(self) -> dict[str, Any]:
    own = {"encoder": self.network.digest, "dtype": self._fields.dtype, "network": self._scheme}
    return own | ({"resize": self._fields.resize} if self._scheme == INCEPTION else {})

  def check(self) -> None:
    if not self._is_checked and not any(True for _ in self.to_fetch()):
      self.network.check()
      self._is_checked = True

  @property
  def params(self) -> Any:
    return _loaded(self.network, self._stamps)

  def embed(self, images: Iterable[Array], changed: Mapping[str, Array] | None = None) -> Array:
    assert not changed
    return clip.embed(self.network, self.params, images, self._fields.per_device_batch)


@functools.lru_cache(maxsize=8)
def _network(scheme: str, folder: Path, resize: str, stamps: read.Stamps) -> ImageNetwork:
  del stamps  # other files are another network
  return InceptionNetwork(folder, resize) if scheme == INCEPTION else Dinov2Network(folder)


def encoder_of(config: StudySpec, root: epath.Path, name: str, labels: LabelSpace) -> Encoder:
  weights = config.encoders[name].weights
  kind = Thumbnails if weights == THUMBNAIL else OfImages if checks.image_network(weights) else Encoder
  return kind(config, root, name, labels)


class _Loads(Protocol):
  folder: Path

  def load_params(self, mesh: Mesh) -> Any: ...


@functools.lru_cache(maxsize=1)  # the parameters of one encoder at a time
def _loaded(encoder: _Loads, stamps: read.Stamps) -> Any:
  _release()  # the one before
  params = encoder.load_params(devices.local_mesh())
  read.check_unchanged(encoder.folder, stamps)
  return params


def _release() -> bool:
  held = _loaded.cache_info().currsize > 0
  _loaded.cache_clear()
  return held


residents.register(residents.ENCODER, _release)
