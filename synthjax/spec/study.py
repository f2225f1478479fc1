"""A study as its products read it: every group typed and complete, what is left to a default filled in."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from ml_collections import ConfigDict

from synthjax.spec import benchmark_fields, fields, grids, group, metric_fields, points, renamed, tasks
from synthjax.spec.config import Config
from synthjax.spec.entries import Arm, Learner, SampledSet, learner_of_task
from synthjax.spec.references import ImagesRef

G = TypeVar("G", bound=group.Group)


@dataclasses.dataclass(frozen=True)
class StudySpec:
  """Attributes bear the names of the config's groups."""

  study: str  # its name in results
  labels: str
  seeds: int
  prompts: Mapping[str, fields.Prompts]
  sets: Mapping[str, SampledSet | fields.Import]
  real: Mapping[str, fields.Real]
  networks: Mapping[str, fields.Network]
  encoders: Mapping[str, fields.Encoder]
  filters: Mapping[str, fields.Filter]
  metrics: Mapping[str, metric_fields.SetMetrics]
  arms: Mapping[str, Arm]
  learners: Mapping[str, Learner]
  tests: Mapping[str, str]
  studies: Mapping[str, StudySpec]
  sampling: fields.Sampling  # what sets fall back to
  server: fields.Server
  predict: fields.Predict
  export: fields.Export
  report: fields.Report
  runtime: fields.RuntimeFields
  benchmark: BenchmarkSpec
  given: Mapping[str, Any]  # the config with every default, by the names that records use

  def labels_of(self, images: str) -> str:
    """The label space of an image set, as its prompts name it; "" = the study's, as it always is of imported ones."""
    own = self.sets[images]
    return self.prompts[own.prompts].labels if isinstance(own, SampledSet) else ""


class BenchmarkSpec(benchmark_fields.Benchmark):
  sampling: Mapping[str, benchmark_fields.SamplingCase] = dataclasses.field(default_factory=dict)
  encoding: Mapping[str, benchmark_fields.EncodingCase] = dataclasses.field(default_factory=dict)
  training: Mapping[str, benchmark_fields.TrainingCase] = dataclasses.field(default_factory=dict)


def resolve(config: Config) -> StudySpec:
  """The study that a checked config (`validation.check`) describes."""
  benchmark = {
    kind: _each(of, config.benchmark[kind])
    for kind, of in dict(
      sampling=benchmark_fields.SamplingCase,
      encoding=benchmark_fields.EncodingCase,
      training=benchmark_fields.TrainingCase,
    ).items()
  }
  entries = grids.expand(
    config,
    points.Entries(
      sets={name: set_of(config, name) for name in config.sets},
      real=_each(fields.Real, config.real),
      learners={name: learner_of(config, name) for name in config.learners},
      common=_learner_of(config, ConfigDict(), "config.learning"),
    ),
  )
  return StudySpec(
    study=config.study,
    labels=config.labels,
    seeds=config.seeds,
    # A matrix has no lists: what stands there are values that its studies have in common.
    prompts=_each(fields.Prompts, {} if config.studies else config.prompts),
    sets=entries.sets,
    real=entries.real,
    networks=_each(fields.Network, config.networks),
    encoders=_each(fields.Encoder, config.encoders),
    filters=_each(fields.Filter, config.filters),
    metrics=_each(metric_fields.SetMetrics, config.get("metrics", {})),
    arms={name: arm_of(config, name) for name in config.arms},
    learners=entries.learners,
    tests=config.tests.to_dict(),
    studies={name: resolve(own) for name, own in config.studies.items()},
    sampling=fields.Sampling.of(config.sampling),
    server=fields.Server.of(config.server),
    predict=fields.Predict.of(config.predict),
    export=fields.Export.of(config.export),
    report=fields.Report.of(config.report),
    runtime=fields.RuntimeFields.of(config.runtime),
    benchmark=BenchmarkSpec.of(config.benchmark, **benchmark),
    given=renamed.recorded(config.to_dict()),
  )


def set_of(config: Config, name: str) -> SampledSet | fields.Import:
  """One image set: if it is sampled, its own sampling fields where given, else `config.sampling`'s."""
  own = config.sets[name]
  if "source" in own:
    return fields.Import.of(own)
  return SampledSet(prompts=own.prompts, **_merged(fields.Sampling, config.sampling, own))


def arm_of(config: Config, name: str) -> Arm:
  own = config.arms[name]
  return Arm(images=ImagesRef.parse(own.images or ""), **_merged(fields.Tuning, config.tuning, own))


def learner_of(config: Config, name: str) -> Learner:
  """One learner: of all fields that it and `config.learning` hold, those of its task."""
  return _learner_of(config, config.learners[name], f"config.learners.{name}")


def _learner_of(config: Config, own: Config, where: str) -> Learner:
  of = tasks.GROUPS.find(own.get("task") or config.learning.task, where)
  values = _merged(of, config.learning, own)
  return learner_of_task(of)(images=ImagesRef.parse(own.get("images") or ""), **values)


def _each(of: type[G], named: Config) -> dict[str, G]:
  return {name: of.of(own) for name, own in named.items()}


def _merged(of: type[group.Group], common: Config, own: Config) -> dict[str, Any]:
  """What neither has is left to the group: a config that was not checked need not hold the fields of every task."""
  values = {name: common.get(name) if own.get(name) is None else own[name] for name in group.fields(of)}
  return {name: value for name, value in values.items() if value is not None}
