"""A learner's network: trained with one seed, and measured on a test.

Joined processes do both together: the devices of the mesh are all of theirs.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import jax
from jax.sharding import Mesh

from synthjax.data.pictures import Pictures, batches
from synthjax.data.source import Source
from synthjax.evaluation.accuracy import Tally
from synthjax.evaluation.measures import Predicts, classified, held, probed
from synthjax.evaluation.predictions import predicted
from synthjax.learning import settings
from synthjax.learning.classify import DOMAINS
from synthjax.learning.initial_weights import initial_weights
from synthjax.learning.loop import Watch, train
from synthjax.learning.step import Variables
from synthjax.learning.tasks import LearnerTask
from synthjax.learning.training import Training
from synthjax.runtime import devices, sharding
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
  side, scaled = fields.stored_size or fields.size, fields.decode == "scaled"
  parts = [
    (i, Pictures(sources[domain], side, scaled=scaled))
    for i, domain in enumerate(DOMAINS)
    if domain in sources
  ]
  sizes = _sizes(fields, len(parts))
  steps = settings.steps(fields, [len(pictures) for _, pictures in parts], sizes)
  first = next(iter(tests), None)

  def evaluate(variables: Variables) -> dict[str, float]:
    return {
      f"{test}/{name}": value
      for test, source in tests.items()
      for name, value in Trained(fields, task, variables, mesh).tally(test, source).metrics().items()
    }

  state = train(
    task,
    batches(parts, sizes, _order_seed(seed), sharding.share(sum(sizes))),
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
    fit={"model": fields.model, "data seed": seed, "batch": sum(sizes), "classes": task.classes},
    init=initial_weights(task, fields, initial, seed),
  )
  return _gather(mesh)(state.learnt) if mesh.shape.get("fsdp", 1) > 1 else state.learnt


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
