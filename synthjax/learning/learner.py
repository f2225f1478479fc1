"""A learner's network: trained with one seed, and measured on a test.

Joined processes do both together: the devices of the mesh are all of theirs.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from synthjax.data.pictures import HELD, Pictures, batches
from synthjax.data.source import Source
from synthjax.evaluation.accuracy import Tally
from synthjax.evaluation.measures import Predicts, classified, held, probed
from synthjax.evaluation.predictions import predicted
from synthjax.learning import settings
from synthjax.learning.classify import DOMAINS
from synthjax.learning.initial_weights import initial_weights
from synthjax.learning.loop import Watch, train
from synthjax.learning.step import Batch, Variables
from synthjax.learning.tasks import LearnerTask
from synthjax.learning.training import Training
from synthjax.runtime import devices, sharding
from synthjax.runtime.errors import UserError
from synthjax.spec.fields import Learning


@dataclasses.dataclass(frozen=True)
class Trained:
  """A network with weights, whole on every device of the mesh."""

  fields: Learning
  task: LearnerTask
  variables: Variables
  mesh: Mesh

  def tally(self, test: str, source: Source) -> Tally:
    return classified(self._predicts, held(source, self.fields.size), self.fields.is_restricted(test))

  def probe(self, probe: str, known: Source, source: Source, classes: int) -> Tally:
    """What its features are good for: those of a test beside those of images whose classes are known."""
    asked, seen = held(source, self.fields.size), held(known, self.fields.size)
    return probed(self._predicts, probe, seen, asked, classes, self.fields.neighbours)

  @property
  def _predicts(self) -> Predicts:
    size = self.fields.per_device_batch
    return functools.partial(predicted, self.task, self.variables, mesh=self.mesh, per_device_batch=size)


def learn(
  fields: Learning,
  task: LearnerTask,
  sources: Mapping[str, Source],
  tests: Mapping[str, Source],
  seed: int,
  mesh: Mesh,
  training: Training,
  initial: Path | tuple[bytes, int] | None,
) -> Variables:
  """What is learnt from the sources (by domain), averaged where averages are kept, whole on every device of the mesh.

  `initial`: a folder of weights, or a learner's own and the domain that is taken of them; None = random. The tests are
  measured every `evaluate_steps`, and the first one decides which checkpoint is the best.
  """
  sizes, first = _sizes(fields, len(sources)), next(iter(tests), None)
  steps = settings.steps(fields, _lengths(sources), sizes)

  def evaluate(variables: Variables) -> dict[str, float]:
    return {
      f"{test}/{name}": value
      for test, source in tests.items()
      for name, value in Trained(fields, task, variables, mesh).tally(test, source).metrics().items()
    }

  state = train(
    task,
    batches(_pictures(fields, sources), sizes, _order_seed(seed), sharding.share(sum(sizes))),
    settings.recipe(fields, steps, seed),
    training.folder,
    name=training.name,
    batch_size=sum(sizes),
    pace=settings.pace(fields, training.runtime),
    stop=training.stop,
    mesh=mesh,
    watch=Watch(evaluate, fields.evaluate_steps, f"{first}/top1")
    if first and fields.evaluate_steps
    else None,
    fit=_fit(fields, task, seed),
    init=initial_weights(task, fields, initial, seed),
  )
  return _gather(mesh)(state.learnt) if mesh.shape.get("fsdp", 1) > 1 else state.learnt


def learn_side_by_side(
  fields: Learning,
  task: LearnerTask,
  sources: Mapping[int, Mapping[str, Source]],
  training: Training,
  initial: Mapping[int, Path | tuple[bytes, int] | None],
) -> dict[int, Variables]:
  """By seed: what `learn` makes of its sources and initial weights, from the same batches and keys, but for rounding.

  Each run is on one device; of joined processes, each reads what its own runs learn from.
  """
  seeds, sizes = list(sources), _sizes(fields, len(next(iter(sources.values()))))
  steps = {settings.steps(fields, _lengths(own), sizes) for own in sources.values()}
  if len(steps) > 1:
    raise UserError(
      f"{training.name}: seeds have other numbers of images, and so {min(steps)} to {max(steps)} steps; set steps, or side_by_side=1"
    )
  mesh = sharding.training_mesh(batch=len(seeds), name=training.name)
  own = seeds[sharding.share(len(seeds))]
  runs = [
    batches(_pictures(fields, sources[seed], len(own)), sizes, _order_seed(seed), slice(None)) for seed in own
  ]

  def batch_at(step: int) -> Batch:
    found = [batch_of_run(step) for batch_of_run in runs]
    return {name: np.stack([batch[name] for batch in found]) for name in found[0]}

  initials = [initial_weights(task, fields, initial[seed], seed) for seed in seeds]
  state = train(
    task,
    batch_at,
    settings.recipe(fields, min(steps), 0),
    training.folder,
    name=training.name,
    batch_size=sum(sizes) * len(seeds),
    pace=settings.pace(fields, training.runtime),
    stop=training.stop,
    mesh=mesh,
    fit=_fit(fields, task, seeds[0]) | {"seeds": len(seeds)},
    init=None if initials[0] is None else jax.tree.map(lambda *x: np.stack(x), *initials),
    seeds=seeds,
  )
  learnt = jax.device_get(_gather(mesh)(state.learnt))
  return {seed: jax.tree.map(lambda x, n=n: x[n], learnt) for n, seed in enumerate(seeds)}


def _fit(fields: Learning, task: LearnerTask, seed: int) -> dict[str, Any]:
  """What a checkpoint must have been made with to be gone on with."""
  return {"model": fields.model, "data seed": seed, "batch": fields.batch, "classes": task.classes}


def _lengths(sources: Mapping[str, Source]) -> list[int]:
  return [len(sources[domain]) for domain in DOMAINS if domain in sources]


def _pictures(fields: Learning, sources: Mapping[str, Source], runs: int = 1) -> list[tuple[int, Pictures]]:
  """Of each domain that there is, by its place; of one of so many runs that share the memory."""
  side, scaled = fields.stored_size or fields.size, fields.decode == "scaled"
  domains = [(i, sources[domain]) for i, domain in enumerate(DOMAINS) if domain in sources]
  return [(i, Pictures(source, side, held=HELD / runs, scaled=scaled)) for i, source in domains]


@functools.lru_cache(maxsize=8)
def _gather(mesh: Mesh) -> Callable[[Variables], Variables]:
  return jax.jit(lambda x: x, out_shardings=devices.place(mesh, devices.REPLICATED))


def examples(fields: Learning, lengths: Sequence[int]) -> int:
  """That a seed sees, of parts so long; 0 where an epoch's length is not known."""
  if not (fields.steps or fields.examples or lengths):
    return 0
  sizes = _sizes(fields, len(lengths))
  return settings.steps(fields, lengths, sizes) * sum(sizes)


def _sizes(fields: Learning, parts: int) -> list[int]:
  """How many of each part make a batch."""
  synthetic = round(fields.share * fields.batch)
  return [fields.batch - synthetic, synthetic] if parts == 2 else [fields.batch]


def _order_seed(seed: int) -> int:
  """Two a seed: each domain has an order of its own."""
  return 2 * seed
