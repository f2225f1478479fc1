"""Learning from images, as a case of the benchmark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jax.sharding import Mesh

from synthjax.benchmark.case import Theirs
from synthjax.benchmark.rounds import seconds
from synthjax.benchmark.stand_in import pictures
from synthjax.data.augment import Augment
from synthjax.data.pictures import Pictures, batches
from synthjax.data.source import Source
from synthjax.disk import drafts, workdir
from synthjax.learning import loop, step
from synthjax.learning.classify import DOMAINS, Classify
from synthjax.learning.optimizer import Recipe
from synthjax.models import attention, networks
from synthjax.models.flops import flops_of
from synthjax.runtime import sharding
from synthjax.runtime.errors import UserError
from synthjax.runtime.stopping import Stop
from synthjax.spec.study import StudySpec
from synthjax.store import schema

_PICTURES = 32  # different ones
_MANY = 10**5  # images
_LEAST = 8  # steps of a run


class TrainingCase:
  """AdamW on random crops and flips. `bare` steps on one batch that lies on the devices; `whole` is a run of the training
  loop, from JPEGs on."""

  def __init__(self, config: StudySpec, name: str, folder: epath.Path, stop: Stop):
    fields = config.benchmark.training[name]
    self.name, self.dtype, self._stop = name, jnp.dtype(fields.dtype), stop
    self._fields, self._folder, self._seconds = fields, folder, config.benchmark.seconds
    auxiliary = fields.norm == "auxiliary"
    try:
      module = networks.build(
        fields.model,
        fields.classes,
        domains=len(DOMAINS) if auxiliary else 1,
        dtype=fields.dtype,
        remat=fields.remat,
      )
    except UserError as e:
      raise UserError(f"config.benchmark.training.{name}: {e}") from None
    self._task = Classify(
      module, fields.classes, Augment(size=fields.size, crop=0.08, flip=True), by_domain=auxiliary
    )
    self._steps = 0
    self.facts = {
      "network": fields.model,
      "size": fields.size,
      "norm": fields.norm,
      "per_device_batch": fields.per_device_batch,
    }

  def flops(self) -> float:
    """Of a forward pass and of a backward pass, which is two; what augments and what optimises is not counted."""
    side = self._fields.size
    example = {"pixels": jax.ShapeDtypeStruct((1, side, side, 3), jnp.uint8)}
    variables = jax.eval_shape(self._task.init, jax.random.key(0), example)
    return 3 * flops_of(self._task.predict, variables, example["pixels"])

  def mesh(self) -> Mesh:
    return sharding.training_mesh()

  def load(self, mesh: Mesh) -> None:
    self._mesh = mesh
    self.batch_size = self._fields.per_device_batch * mesh.size
    stored = self._fields.stored_size or self._fields.size
    source = _Repeated([schema.encode_jpeg(p, quality=90, mark=False) for p in pictures(_PICTURES, stored)])
    shown, half = Pictures(source, stored, held=0), self.batch_size // 2
    sizes = {0: self.batch_size - half, 1: half} if self._task.by_domain else {0: self.batch_size}
    self._batch_at = batches([(domain, shown) for domain in sizes], tuple(sizes.values()), seed=0)
    self._key = jax.random.key(0)
    self._batch = sharding.placer(self._mesh)(dict(self._batch_at(0)))
    begins = jax.jit(step.init_state, static_argnums=(0, 1))
    self._state = begins(self._task, self._recipe(1), self._batch, self._key)

  @staticmethod
  def _recipe(steps: int) -> Recipe:
    return Recipe(steps=steps, learning_rate=1e-4, weight_decay=0.05)

  def compile(self) -> tuple[jax.stages.Compiled, Any]:
    steps = jax.jit(step.train_step, static_argnums=(0, 1), donate_argnums=2)
    with attention.recorded() as chosen:
      lowered = steps.lower(self._task, self._recipe(1), self._state, self._batch, self._key)
    self._program = lowered.compile()
    return self._program, chosen

  def bare(self, n: int) -> float:
    def step_all() -> None:
      values = None
      for _ in range(0, n, self.batch_size):
        self._state, values = self._program(self._state, self._batch, self._key)
      jax.block_until_ready(values)

    return n / seconds(step_all)

  def whole(self, n: int) -> float:
    """Runs are of one length, so that all but the first find their program compiled; the rate is that of their steps."""
    del n
    if not self._steps:
      self.bare(self.batch_size)
      rate = self.bare(2 * self.batch_size)
      self._steps = max(math.ceil(self._seconds * rate / self.batch_size), _LEAST)
      self._train()
    return self._train()

  def _train(self) -> float:
    folder = drafts.draft_of(self._folder / "run")
    try:
      loop.train(
        self._task,
        self._batch_at,
        self._recipe(self._steps),
        folder,
        name=f"{self.name}, the whole loop",
        batch_size=self.batch_size,
        pace=loop.Pace(log_seconds=math.inf, prefetch=2),
        stop=self._stop,
        mesh=self._mesh,
      )
      timing = workdir.read_json(folder / loop.TIMING, "timing")
    finally:
      folder.rmtree()
    return timing["examples_per_second_per_device"] * self._mesh.size

  def theirs(self) -> Theirs:
    raise LookupError("PyTorch has no turn at training")

  def release(self) -> None:
    for held in ("_state", "_batch", "_program"):
      vars(self).pop(held, None)


class _Repeated(Source):
  """A few files, read again and again, each time decoded anew."""

  name, split = "the benchmark's pictures", ""

  def __init__(self, files: Sequence[bytes]):
    self._files, self.keys = files, range(_MANY)  # type: ignore[assignment]
    self.labels = np.arange(_MANY, dtype=np.int32) % len(files)

  def encoded(self, i: int) -> bytes:
    return self._files[i % len(self._files)]
