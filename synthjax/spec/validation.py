"""Values that would fail late, or make a study that nobody meant: each is reported in one line before anything begins."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable
from typing import Any

from ml_collections import ConfigDict

from synthjax.runtime.errors import UserError, known, nearest
from synthjax.spec import benchmark_fields, fields, group, metric_fields, points, tasks
from synthjax.spec.checks import at_least, check_encoder
from synthjax.spec.checks_arms import check_arm
from synthjax.spec.checks_filters import check_filter
from synthjax.spec.checks_learners import check_learner
from synthjax.spec.checks_limits import check_limits
from synthjax.spec.checks_metrics import check_metrics
from synthjax.spec.checks_networks import check_network
from synthjax.spec.checks_prompts import check_prompts
from synthjax.spec.checks_sets import check_real, check_set
from synthjax.spec.config import Config, study_config
from synthjax.spec.study import BenchmarkSpec, StudySpec, resolve

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+-]{0,99}")
# Group of named products: the fields of each, what makes one, and whether its fields may be left to a default (None).
_NAMED: dict[str, tuple[type[group.Group], tuple[str, ...], str, bool]] = {
  "prompts": (fields.Prompts, (), "prompt_list(...)", False),
  "networks": (fields.Network, (), "network(...)", False),
  "real": (fields.Real, (), "real_images(...)", False),
  "sets": (fields.Sampling, ("prompts",), "image_set(...)", True),
  "encoders": (fields.Encoder, (), "encoder(...)", False),
  "filters": (fields.Filter, (), "image_filter(...)", False),
  "metrics": (metric_fields.SetMetrics, (), "set_metrics(...)", False),
  "arms": (fields.Tuning, ("images",), "arm(...)", True),
  "benchmark.sampling": (benchmark_fields.SamplingCase, (), "sampling_case(...)", False),
  "benchmark.encoding": (benchmark_fields.EncodingCase, (), "encoding_case(...)", False),
  "benchmark.training": (benchmark_fields.TrainingCase, (), "training_case(...)", False),
}
_GROUPS: dict[str, type[group.Group]] = {
  "sampling": fields.Sampling,
  "tuning": fields.Tuning,
  "server": fields.Server,
  "predict": fields.Predict,
  "export": fields.Export,
  "report": fields.Report,
  "runtime": fields.RuntimeFields,
  "benchmark": benchmark_fields.Benchmark,
}

LEAST_COUNTED = 10_000  # images: of fewer, bookkeeping takes too short to be timed


def check(config: Config) -> None:
  """The whole config of a study, or of a matrix of studies."""
  _complete("config", config, study_config())
  if config.studies:
    _check_matrix(config)
    return
  _check_groups(config)
  _check_learning(config)
  _check_texts(config)
  _check_grids(config)
  study = resolve(config)
  _check_values(study)
  _check_names(study)
  for name, prompts in study.prompts.items():
    check_prompts(f"config.prompts.{name}", prompts, study)
  for name in study.networks:
    check_network(study, name)
  for name, images in study.sets.items():
    check_set(f"config.sets.{name}", images, study)
  for name, real in study.real.items():
    check_real(f"config.real.{name}", real)
  for name, encoder in study.encoders.items():
    check_encoder(f"config.encoders.{name}", encoder)
  for name, rule in study.filters.items():
    check_filter(f"config.filters.{name}", rule, study)
  for name, metrics in study.metrics.items():
    check_metrics(f"config.metrics.{name}", metrics, study)
  for name in study.arms:
    check_arm(study, name)
  for name in study.learners:
    check_learner(study, name)
  _check_process(study.runtime)
  _check_benchmark(study.benchmark)
  check_limits(config)


def _check_groups(config: Config) -> None:
  """Every field is there, and no other."""
  for name, of in _GROUPS.items():
    cases = ("sampling", "encoding", "training") if name == "benchmark" else ()
    _complete(f"config.{name}", config[name], (*group.fields(of), *cases))
  for where, (of, others, maker, may_be_none) in _NAMED.items():
    for name, own in operator.attrgetter(where)(config).items():
      check_name(name, f"config.{where}:")
      if where == "sets" and isinstance(own, ConfigDict) and "source" in own:
        _complete(f"config.sets.{name}", own, group.fields(fields.Import), "imported_set(...)")
        continue
      _complete(f"config.{where}.{name}", own, (*others, *group.fields(of)), maker, may_be_none)


def _check_learning(config: Config) -> None:
  """The groups whose fields go by a learner's task."""
  tasks.complete(config)
  known = tasks.fields_of(*tasks.GROUPS)
  _complete("config.learning", config.learning, known)
  for name, own in config.learners.items():
    check_name(name, "config.learners:")
    where = f"config.learners.{name}"
    if isinstance(own, ConfigDict):
      tasks.check_taken(where, own, str(own.get("task") or config.learning.task))
    _complete(where, own, ("images", *known), "learner(...)", True)


def _check_grids(config: Config) -> None:
  for name, own in config.scaling.items():
    check_name(name, "config.scaling:")
    where = f"config.scaling.{name}"
    _complete(where, own, (*group.fields(points.Grid), "axes", "fixed"), "grid(...)")
    points.Grid.of(own).check(f"{where}: ")


def _check_texts(config: Config) -> None:
  """What names a part of the study is a text; and the parts are there."""
  for name, own in config.sets.items():
    if "source" in own:
      continue
    if not isinstance(own.prompts, str):
      raise UserError(
        f"config.sets.{name}: prompts is the name of one of config.prompts, not {own.prompts!r}"
      )
    if own.prompts not in config.prompts:
      raise UserError(
        f"config.sets.{name}: prompts is {own.prompts!r}, which config.prompts lacks{nearest(own.prompts, config.prompts)}"
      )
  for kind in ("arms", "learners"):
    for name, own in config[kind].items():
      _check_images(f"config.{kind}.{name}", own.images or "", config)
  if config.export.images:
    _check_images("config.export", config.export.images, config)
  for name, source in config.tests.items():
    check_name(name, "config.tests:")
    if not isinstance(source, str):
      raise UserError(f"config.tests.{name} is a text like embedded:digits:second, not {source!r}")


def _check_images(where: str, images: Any, config: Config) -> None:
  """SET or SET/FILTER."""
  if not isinstance(images, str):
    raise UserError(f"{where}: images is a text, SET or SET/FILTER, not {images!r}")
  name, slash, rule = images.partition("/")
  if images:
    known(f"{where}: image set", name, config.sets)
  if slash:
    known(f"{where}: filter", rule, config.filters)


def _check_values(study: StudySpec) -> None:
  """Each value against the bounds of its own field."""
  at_least("config.seeds", study.seeds, 1)
  for name in ("server", "predict", "export", "report", "runtime", "benchmark"):
    getattr(study, name).check(f"config.{name}.")
  for kind in ("prompts", "networks", "sets", "real", "encoders", "filters", "metrics", "arms", "learners"):
    for name, own in getattr(study, kind).items():
      own.check(f"config.{kind}.{name}: ")
  for kind in ("sampling", "encoding", "training"):
    for name, own in getattr(study.benchmark, kind).items():
      own.check(f"config.benchmark.{kind}.{name}: ")


def _check_names(study: StudySpec) -> None:
  for name in study.real:
    if name in study.sets or name in study.tests:
      raise UserError(f"config.real: {name} is the name of an image set or a test; real images need another")
  for name in study.learners:
    if name in study.arms:
      raise UserError(f"config.learners: {name} is the name of an arm; a learner needs another")
  for name in study.tests:
    if name in study.sets:
      raise UserError(f"config.tests: {name} is the name of an image set; real images need another")
  for kind in ("learners", "arms"):
    if getattr(study, kind) and not study.tests:
      raise UserError(
        f"config.{kind} are measured on real images: name some, config.tests.NAME = 'embedded:digits:second'"
      )


def _check_process(runtime: fields.RuntimeFields) -> None:
  if not 0 <= runtime.unreadable < 1:
    raise UserError(f"config.runtime.unreadable is a share, from 0 to below 1, not {runtime.unreadable}")
  low = 3 * runtime.heartbeat_seconds
  at_least("config.runtime.stale_seconds (3 heartbeats)", runtime.stale_seconds, low)


def _check_benchmark(benchmark: BenchmarkSpec) -> None:
  sizes = benchmark.bookkeeping
  if sizes and (len(set(sizes)) < 2 or min(sizes) < LEAST_COUNTED):
    raise UserError(
      f"config.benchmark.bookkeeping {sizes}: growth is seen at two numbers of images or more, of {LEAST_COUNTED:,} at least"
    )
  cases = benchmark.sampling or benchmark.encoding or benchmark.training
  if benchmark.rounds and not (cases or sizes):
    raise UserError(
      "config.benchmark.rounds without anything to measure: name some, config.benchmark.sampling.NAME = sampling_case(...)"
    )


def _check_matrix(config: Config) -> None:
  for kind in ("sets", "metrics", "arms", "tests"):
    if config[kind]:
      raise UserError(
        f"config.{kind} beside config.studies: in a matrix they are the studies' own, config.studies.NAME.{kind}"
      )
  for name, own in config.studies.items():
    check_name(name, "config.studies:")
    if not isinstance(own, ConfigDict) or "studies" not in own or own.studies:
      raise UserError(f"config.studies.{name} is no study; make it with study_config()")
    try:
      check(own)
    except UserError as e:
      raise UserError(f"study {name}: {e}") from None
    if not own.arms:
      raise UserError(f"config.studies.{name} has no arms: a matrix has nothing to show of it")


def check_name(name: str, what: str) -> str:
  """A name from a config may become a folder's name: nothing else in this package does."""
  if not isinstance(name, str) or not _NAME.fullmatch(name):
    raise UserError(f"{what} {name!r}: a name takes letters, digits, and _ + - inside, at most 100")
  return name


def _complete(
  where: str, given: Any, known: Iterable[str], maker: str = "study_config()", may_be_none: bool = False
) -> None:
  """Every known field, and no other."""
  if not isinstance(given, ConfigDict):
    raise UserError(f"{where} is {given!r}; make it with {maker}")
  for name in given:
    if name not in known:
      raise UserError(f"{where} has no field {name!r}{nearest(name, known)}")
  for name in known:
    if name not in given:
      raise UserError(f"{where} lacks the field {name!r}; make it with {maker}")
    if given[name] is None and not may_be_none:
      raise UserError(f"{where}.{name} is None; it needs a value")
