"""Reading images, as a case of the benchmark."""

from __future__ import annotations

import collections
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from synthjax.benchmark.case import Theirs
from synthjax.benchmark.rounds import seconds
from synthjax.benchmark.stand_in import pictures
from synthjax.encoders import random_weights
from synthjax.encoders.clip import Clip, embed
from synthjax.encoders.towers import Towers
from synthjax.models import attention
from synthjax.runtime import devices
from synthjax.runtime.errors import UserError, nearest
from synthjax.small_world import weights as embedded
from synthjax.spec.study import StudySpec
from synthjax.store import schema

_CPU_BATCH = 32  # what `embed` takes at once there, whatever it is asked for
_PICTURES = 32  # different ones
_STORED = 8 / 7  # their side, in what the encoder reads: 256 for 224


class EncodingCase:
  def __init__(self, config: StudySpec, name: str):
    fields = config.benchmark.encoding[name]
    self.name, self.dtype, self._weights = name, jnp.dtype(fields.dtype), fields.weights
    scheme, _, self._architecture = fields.weights.partition(":")
    self._is_random, known = scheme == "random", random_weights.ARCHITECTURES
    if self._is_random and self._architecture not in known:
      message = f"random encoder {self._architecture!r}{nearest(self._architecture, known)}"
      raise UserError(f"config.benchmark.encoding.{name}: {message}")
    self._encoder: Towers  # of random weights: once there are devices to make them on
    if not self._is_random:
      self._encoder = Clip(embedded.folder(fields.weights), fields.dtype)
    self._per_device = _CPU_BATCH if devices.platform() == "cpu" else fields.per_device_batch
    self.facts = {"network": fields.weights, "per_device_batch": self._per_device}

  def flops(self) -> float:
    return self._encoder.flops()

  def mesh(self) -> Mesh:
    return devices.local_mesh()

  def load(self, mesh: Mesh) -> None:
    if self._is_random:
      self._encoder, self._params = random_weights.random_encoder(self._architecture, self.dtype.name, mesh)
    else:
      assert isinstance(self._encoder, Clip)
      self._params = self._encoder.load_params(mesh)
    self.batch_size = self._per_device * mesh.size
    side, self._batch = self._encoder.preprocess.side, devices.place(mesh, devices.BATCH)
    self._jpegs = [
      schema.encode_jpeg(p, quality=90, mark=False) for p in pictures(_PICTURES, round(side * _STORED))
    ]
    self._pixels = np.stack(list(self._decoded(self.batch_size)))
    specs = (devices.REPLICATED, devices.BATCH)
    self._jitted = jax.jit(
      # As `embed` has it, but for its being compiled apart.
      jax.shard_map(
        self._encoder.image_features, mesh=mesh, in_specs=specs, out_specs=devices.BATCH, check_vma=False
      )
    )

  def compile(self) -> tuple[jax.stages.Compiled, Any]:
    shape = jax.ShapeDtypeStruct(self._pixels.shape, jnp.uint8, sharding=self._batch)
    with attention.recorded() as chosen:
      lowered = self._jitted.lower(self._params, shape)
    self._program = lowered.compile()
    return self._program, chosen

  def bare(self, n: int) -> float:
    """Pixels lie ready on the host; two batches are in flight."""

    def read_all() -> None:
      in_flight: collections.deque = collections.deque()
      for _ in range(0, n, self.batch_size):
        in_flight.append(self._program(self._params, jax.device_put(self._pixels, self._batch)))
        if len(in_flight) == 2:
          np.asarray(in_flight.popleft())
      for features in in_flight:
        np.asarray(features)

    return n / seconds(read_all)

  def whole(self, n: int) -> float:
    """From JPEGs to features, as image sets are embedded."""
    return n / seconds(lambda: embed(self._encoder, self._params, self._decoded(n), self._per_device))

  def _decoded(self, n: int) -> Iterator[np.ndarray]:
    """In order, and not far ahead of who asks."""
    with ThreadPoolExecutor(devices.threads(), thread_name_prefix="decode") as pool:
      for start in range(0, n, self.batch_size):
        jpegs = (self._jpegs[i % _PICTURES] for i in range(start, start + self.batch_size))
        yield from pool.map(self._encoder.preprocess.decode, jpegs)

  def theirs(self) -> Theirs:
    from synthjax.benchmark import pytorch  # the only place that may import it

    return pytorch.Encoding(self._encoder, self._per_device)

  def release(self) -> None:
    for held in ("_params", "_program", "_jitted"):
      vars(self).pop(held, None)
