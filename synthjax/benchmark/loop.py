"""The sampling loop over a plan that is made for being timed, and the bare loop of the same program."""

from __future__ import annotations

import collections
import functools
from collections.abc import Sequence

import numpy as np
from etils import epath

from synthjax.benchmark.rounds import seconds
from synthjax.disk import drafts
from synthjax.runtime.progress import Progress
from synthjax.runtime.stopping import Stop
from synthjax.sampling import sampler
from synthjax.sampling.program import Samples
from synthjax.spec.study import StudySpec
from synthjax.store import schema
from synthjax.store.claims import Owner
from synthjax.store.plan import Image, Plan, Segment
from synthjax.store.prompt import Prompt

_CLASS = "0"  # one, so that any number of images is full batches


class Loop:
  """What the study's config says of records, and a folder for them, which is left as it was."""

  def __init__(self, config: StudySpec, folder: epath.Path, stop: Stop):
    self._fields, self._threads = config.sampling, config.runtime.encode_threads
    self._folder, self._stop = folder, stop
    self.encode = functools.partial(
      schema.encode_jpeg, quality=self._fields.jpeg_quality, mark=self._fields.mark
    )

  def plan(self, n: int) -> Plan:
    prompts = [Prompt(_CLASS, f"a photo of a digit {i}") for i in range(10)]
    return Plan(
      (_CLASS,),
      prompts,
      [Segment((n,))],
      images_per_shard=self._fields.images_per_shard,
      drawing="benchmark",
      guidance=7.5,
      seed=0,
    )

  def whole(self, program: Samples, n: int) -> float:
    """Images/s of everything: JPEG, records, shards, syncs."""
    plan, folder = self.plan(n), drafts.draft_of(self._folder / "round")
    sink = sampler.Sink(folder, self.encode, schema.serializer([_CLASS]), self._threads)
    progress = Progress("", n, shown=False)
    folder.mkdir(parents=True)
    try:
      with Owner(folder) as owner:
        took = seconds(
          lambda: sampler.sample(plan, len(plan.shards), program, sink, owner, progress, self._stop)
        )
    finally:
      folder.rmtree()
    self._stop.check()
    return n / took

  def bare(self, program: Samples, n: int) -> float:
    """Images/s of the devices alone: pixels are fetched and forgotten."""
    plan = self.plan(n)
    images = [image for shard in plan.shards for image in plan.images(shard)]
    return n / seconds(lambda: _sample_all(program, images))


def _sample_all(program: Samples, images: Sequence[Image]) -> None:
  """With two batches in flight, as the sampling loop keeps them."""
  in_flight: collections.deque = collections.deque()
  for start in range(0, len(images), program.batch_size):
    in_flight.append(program.sample(images[start : start + program.batch_size]))
    if len(in_flight) == 2:
      np.asarray(in_flight.popleft())
  for pixels in in_flight:
    np.asarray(pixels)
