"""What a config file is made with: `get_config(arg="")` starts from `study_config()` and names what differs.

Config files import these from `synthjax.config`. The fields themselves, and what happens when one changes, stand in `fields.py`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from ml_collections import ConfigDict, config_dict

from synthjax.runtime.errors import UserError, nearest
from synthjax.spec import benchmark_fields, fields, group, metric_fields, renamed, tasks

Config: TypeAlias = Any  # a ConfigDict, of whose attributes a type checker knows nothing


def _group(of: type[group.Group]) -> Config:
  return _defaults(group.fields(of))


def _defaults(known: Mapping[str, group.Field]) -> Config:
  return ConfigDict({name: field.default for name, field in known.items()})


def study_config(labels: str = "digits") -> Config:
  """The defaults of every study; `config.prompts` and `config.sets` are for the study to fill."""
  config: Config = ConfigDict()
  config.study = ""  # its name in results; "" = the config file's
  config.labels = labels  # digits, a data set's (cifar10, imagenet, ...), or a YAML/JSON file of your own
  config.prompts = ConfigDict(sort_keys=False)  # name -> prompt_list(...)
  config.sets = ConfigDict(sort_keys=False)  # name -> image_set(...) or imported_set(...)
  config.real = ConfigDict(sort_keys=False)  # name -> real_images(...)
  config.networks = ConfigDict(sort_keys=False)  # name -> network(...)
  config.encoders = ConfigDict(sort_keys=False)  # name -> encoder(...)
  config.filters = ConfigDict(sort_keys=False)  # name -> image_filter(...)
  config.metrics = ConfigDict(sort_keys=False)  # name -> set_metrics(...)
  config.arms = ConfigDict(sort_keys=False)  # name -> arm(...)
  config.learners = ConfigDict(sort_keys=False)  # name -> learner(...)
  config.scaling = ConfigDict(sort_keys=False)  # name -> grid(...)
  config.tests = ConfigDict(
    sort_keys=False
  )  # name -> where real, labelled images lie: embedded:digits:second, folder:PATH
  config.studies = ConfigDict(sort_keys=False)  # name -> a whole study, in a folder of its own: matrix(...)
  config.seeds = 3  # of every arm; may grow
  config.sampling = _group(fields.Sampling)
  config.tuning = _group(fields.Tuning)
  config.learning = _defaults(tasks.fields_of(*tasks.SHIPPED))
  config.server = _group(fields.Server)
  config.predict = _group(fields.Predict)
  config.export = _group(fields.Export)
  config.report = _group(fields.Report)
  config.runtime = _group(fields.RuntimeFields)
  config.benchmark = _group(benchmark_fields.Benchmark)
  config.benchmark.sampling = ConfigDict(sort_keys=False)  # name -> sampling_case(...)
  config.benchmark.encoding = ConfigDict(sort_keys=False)  # name -> encoding_case(...)
  config.benchmark.training = ConfigDict(sort_keys=False)  # name -> training_case(...)
  return config


# What the studies of a matrix have in common: set once, on the matrix, it holds for all.
_COMMON = ("sampling", "tuning", "server", "runtime", "report")
_COMMON_FIELDS = {
  "encoders": ("weights", "dtype", "per_device_batch"),
  "filters": tuple(group.fields(fields.Filter)),
}
# Of a prompt list, who writes how much: in common as long as a study does not say otherwise, since a file of sentences is
# of one label space.
_COMMON_OF_PROMPTS = ("writer", "model", "draws", "per_class", "dtype", "per_device_batch")


def matrix(studies: dict[str, Config]) -> Config:
  """Studies side by side, each in a folder of its own below the workdir, and one table of them all.

  Sampling, tuning, seeds, encoders (but for their prompts) and filters are those of the first study, for all of them:
  `--config.sampling.generator=...` changes the matrix. Where the studies' prompt lists agree on a writer, so does
  `--config.prompts.LE.writer=...`, and `--config.studies.NAME.prompts.LE.writer=...` that of one. All other fields are the
  studies' own, `--config.studies.NAME. ...`.
  """
  first, config = next(iter(studies.values())), study_config()
  config.studies.update(studies)
  config.seeds = first.seeds
  for kind in _COMMON:
    config[kind] = first[kind]
  for kind, common in _COMMON_FIELDS.items():
    for name, own in first[kind].items():
      config[kind][name] = ConfigDict(own.to_dict())
      for study in config.studies.values():
        for field in common if name in study[kind] else ():
          study[kind][name][field] = config[kind][name].get_ref(field)
  for name, own in first.prompts.items():
    config.prompts[name] = ConfigDict({field: own[field] for field in _COMMON_OF_PROMPTS})
    same = [
      s.prompts[name]
      for s in studies.values()
      if name in s.prompts and s.prompts[name].strategy == own.strategy
    ]
    for one, field in itertools.product(same, _COMMON_OF_PROMPTS):
      if one[field] == own[field]:
        one[field] = config.prompts[name].get_oneway_ref(field)
  for study in config.studies.values():
    study.seeds = config.get_ref("seeds")
    for kind in _COMMON:
      study[kind] = config[kind]
  return config


def prompt_list(strategy: str, **given: Any) -> Config:
  """A prompt list for `config.prompts`."""
  return _override(_group(fields.Prompts), dict(strategy=strategy, **given), "prompt_list")


def encoder(weights: str = "embedded:clip", **given: Any) -> Config:
  """An encoder for `config.encoders`."""
  return _override(_group(fields.Encoder), dict(weights=weights, **given), "encoder")


def image_filter(rule: str, **given: Any) -> Config:
  """A filter for `config.filters`."""
  return _override(_group(fields.Filter), dict(rule=rule, **given), "image_filter")


def photograph_copies(**given: Any) -> Config:
  """A filter of rule unlike for `config.filters` that suits photographs, by an encoder of thumbnails: short for
  image_filter("unlike", threshold=0.8, mirrored=True, ...). Not for what is its own mirror image, as digits are."""
  return image_filter("unlike", **(dict(threshold=0.8, mirrored=True) | given))


def set_metrics(encoder: str = "clip", **given: Any) -> Config:
  """What is measured of image sets by one encoder, for `config.metrics`."""
  return _override(_group(metric_fields.SetMetrics), dict(encoder=encoder, **given), "set_metrics")


def network(task: str, **given: Any) -> Config:
  """One of the small world's networks, for `config.networks`."""
  return _override(_group(fields.Network), dict(task=task, **given), "network")


def image_set(prompts: str, **given: Any) -> Config:
  """An image set for `config.sets`: a prompt list sampled by `config.sampling` and what is overridden here."""
  return _override(
    ConfigDict(dict(prompts=prompts, **_empty(group.fields(fields.Sampling)))), given, "image_set"
  )


def imported_set(source: str, **given: Any) -> Config:
  """An image set for `config.sets` whose images exist already: they are imported, not sampled."""
  return _override(_group(fields.Import), dict(source=source, **given), "imported_set")


def real_images(source: str, **given: Any) -> Config:
  """Real images to learn from, for `config.real`."""
  return _override(_group(fields.Real), dict(source=source, **given), "real_images")


def arm(images: str = "", **given: Any) -> Config:
  """A line of the result, for `config.arms`: a set, or SET/FILTER for what a filter kept of it, and `config.tuning`
  but for what is overridden here. Without images it is the zero-shot classifier, and nothing is learnt."""
  return _override(ConfigDict(dict(images=images, **_empty(group.fields(fields.Tuning)))), given, "arm")


def learner(images: str = "", **given: Any) -> Config:
  """A network to train, for `config.learners`: on a set, or SET/FILTER, on `real` images, or on both; by `config.learning`
  but for what is overridden here."""
  known = tasks.fields_of(*tasks.SHIPPED, str(given.get("task", "")))
  return _override(ConfigDict(dict(images=images, **_empty(known))), given, "learner", tasks.is_field)


def sweep(**axes: Iterable[Any]) -> Iterator[dict[str, Any]]:
  """Every combination of values, the last axis quickest: `for fields in sweep(norm=("shared", "auxiliary"), ratio=(1, 2))`."""
  for values in itertools.product(*axes.values()):
    yield dict(zip(axes, values, strict=True))


def grid(images: str = "", **given: Any) -> Config:
  """A grid of runs for `config.scaling`: learners on a set, or SET/FILTER, on `real` images, or on both, by the recipe `learner`. A
  tuple of values is an axis, any other value holds at every point; their names are fields of sets, real images and learners."""
  made = ConfigDict(dict(images="", real="", learner="", combine="product"))
  own = {name: given.pop(name) for name in list(made) if not isinstance(given.get(name), tuple | list | None)}
  _override(made, dict(images=images, **own), "grid")
  made.axes = ConfigDict({k: v for k, v in given.items() if isinstance(v, tuple | list)}, sort_keys=False)
  made.fixed = ConfigDict(
    {k: v for k, v in given.items() if not isinstance(v, tuple | list)}, sort_keys=False
  )
  return made


def log(low: int, high: int, count: int) -> tuple[int, ...]:
  """Whole numbers from `low` to `high` at equal ratios, for an axis: log(10, 1000, 5) is (10, 32, 100, 316, 1000)."""
  if not (0 < low < high and count >= 2):
    raise UserError(
      f"log({low}, {high}, {count}): it takes two positive numbers, the larger second, and a count of 2 or more"
    )
  found = tuple(round(low * (high / low) ** (i / (count - 1))) for i in range(count))
  if len(set(found)) < count:
    raise UserError(
      f"log({low}, {high}, {count}): there are not so many whole numbers that differ; ask for fewer"
    )
  return found


def sampling_case(generator: str, **given: Any) -> Config:
  """A generator to time, for `config.benchmark.sampling`."""
  return _override(_group(benchmark_fields.SamplingCase), dict(generator=generator, **given), "sampling_case")


def encoding_case(weights: str, **given: Any) -> Config:
  """An encoder to time, for `config.benchmark.encoding`."""
  return _override(_group(benchmark_fields.EncodingCase), dict(weights=weights, **given), "encoding_case")


def training_case(model: str, **given: Any) -> Config:
  """A network to time while it learns, for `config.benchmark.training`."""
  return _override(_group(benchmark_fields.TrainingCase), dict(model=model, **given), "training_case")


def _empty(known: Mapping[str, group.Field]) -> dict[str, Any]:
  return {name: config_dict.placeholder(field.type) for name, field in known.items()}


def _override(
  config: Config, given: dict[str, Any], where: str, is_later: Callable[[str], bool] = lambda name: False
) -> Config:
  """Some fields are found only once the whole file has been read: by older names, which a note says, or of a learner's task,
  which `config.learning` may name."""
  for name, value in given.items():
    if renamed.newer_name(name, config) or (name not in config and is_later(name)):
      config[name] = value
      continue
    if name not in config:
      raise UserError(f"{where} has no field {name!r}{nearest(name, config)}")
    try:
      config[name] = value
    except TypeError:
      raise UserError(f"{where}: {name} is a {config.get_type(name).__name__}, not {value!r}") from None
  return config
