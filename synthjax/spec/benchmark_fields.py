"""Fields of benchmarks: what is measured, and for how long."""

from __future__ import annotations

from typing import Annotated

from synthjax.spec.fields import Norm
from synthjax.spec.group import AtLeast, Count, Dtype, Group, Positive, Runtime


# Measuring instead of making: with rounds > 0 a study is its benchmark, and nothing is drawn that stays.
class Benchmark(Group):
  rounds: Runtime[Count] = 0  # each measures everything once, in turn
  # About, of each measurement: one batch at least, two where the host works beside it.
  seconds: Runtime[Annotated[float, AtLeast(0.01)]] = 2.0
  torch: Runtime[bool] = True  # PyTorch is timed beside, where it is installed
  bookkeeping: Runtime[tuple[int, ...]] = ()  # numbers of images that it is measured at: two at least


# What is measured: `config.benchmark.sampling.NAME`, `config.benchmark.encoding.NAME`, `config.benchmark.training.NAME`.
class SamplingCase(Group):
  generator: Runtime[str] = "random:tiny"  # as sampling.generator; random weights are made on the devices
  size: Runtime[Count] = 0  # pixels; 0 = the generator's native size
  steps: Runtime[Positive] = 50
  guided: Runtime[bool] = True  # two forwards a step
  dtype: Runtime[Dtype] = "float32"
  per_device_batch: Runtime[Positive] = 8


class EncodingCase(Group):
  weights: Runtime[str] = "random:clip-b16"  # as config.encoders.NAME.weights, or random:ARCHITECTURE
  dtype: Runtime[Dtype] = "float32"
  per_device_batch: Runtime[Positive] = 64  # on CPUs 32 at once, whatever is asked for


class TrainingCase(Group):
  model: Runtime[str] = "resnet50"  # as config.learners.NAME.model
  size: Runtime[Annotated[int, AtLeast(8)]] = 224  # pixels a side
  stored_size: Runtime[Count] = 256  # pixels a side that crops are cut from; 0 = size
  classes: Runtime[Annotated[int, AtLeast(2)]] = 1000
  norm: Runtime[Norm] = "shared"  # auxiliary: half the batch is of the other domain
  remat: Runtime[bool] = False
  dtype: Runtime[Dtype] = "float32"
  per_device_batch: Runtime[Annotated[int, AtLeast(2)]] = 64
