"""What a config file is made with: `get_config(arg="")` starts from `study_config()` and names what differs.

The fields themselves, and what happens when one changes, stand in `fields.py`; this module hands them on.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from ml_collections import ConfigDict, config_dict

from synthjax.runtime.errors import UserError, nearest
from synthjax.spec.fields import (  # noqa: F401  handed on
  BENCHMARK,
  BY_SHOTS,
  ENCODER,
  ENCODING_CASE,
  EXPORT,
  EXPORT_FORMATS,
  FILTER,
  GROWTH,
  IDENTITY,
  IMPORT,
  LEARNING,
  METRICS,
  NETWORK,
  OF_NETWORKS,
  ORDERS,
  PREDICT,
  PROMPTS,
  REAL,
  REPORT,
  RUNTIME,
  RUNTIME_FIELDS,
  SAMPLERS,
  SAMPLING,
  SAMPLING_CASE,
  THUMBNAIL,
  TRAINING_CASE,
  TUNING,
  Field,
  identity_of,
  of_kind,
)


def _group(fields: dict[str, Field]) -> ConfigDict:
  return ConfigDict({name: field.default for name, field in fields.items()})


def study_config(labels: str = "digits") -> ConfigDict:
  """The defaults of every study; `config.prompts` and `config.sets` are for the study to fill."""
  config = ConfigDict()
  config.study = ""  # its name in results; "" = the config file's
  config.labels = labels  # digits, a data set's (cifar10, imagenet, ...), or a YAML/JSON file of your own
  config.prompts = ConfigDict(sort_keys=False)  # name -> prompt_list(...)
  config.sets = ConfigDict(sort_keys=False)  # name -> image_set(...) or imported_set(...)
  config.real = ConfigDict(sort_keys=False)  # name -> real_images(...)
  config.networks = ConfigDict(sort_keys=False)  # name -> network(...)
  config.encoders = ConfigDict(sort_keys=False)  # name -> encoder(...)
  config.filters = ConfigDict(sort_keys=False)  # name -> image_filter(...)
  config.arms = ConfigDict(sort_keys=False)  # name -> arm(...)
  config.learners = ConfigDict(sort_keys=False)  # name -> learner(...)
  config.tests = ConfigDict(
    sort_keys=False
  )  # name -> where real, labelled images lie: embedded:digits:second, folder:PATH
  config.studies = ConfigDict(sort_keys=False)  # name -> a whole study, in a folder of its own: matrix(...)
  config.seeds = 3  # of every arm; may grow
  config.sampling = _group(SAMPLING)
  config.tuning = _group(TUNING)
  config.learning = _group(LEARNING)
  config.predict = _group(PREDICT)
  config.export = _group(EXPORT)
  config.report = _group(REPORT)
  config.runtime = _group(RUNTIME_FIELDS)
  config.benchmark = _group(BENCHMARK)
  config.benchmark.sampling = ConfigDict(sort_keys=False)  # name -> sampling_case(...)
  config.benchmark.encoding = ConfigDict(sort_keys=False)  # name -> encoding_case(...)
  config.benchmark.training = ConfigDict(sort_keys=False)  # name -> training_case(...)
  return config


# What the studies of a matrix have in common: set once, on the matrix, it holds for all.
_COMMON = ("sampling", "tuning", "runtime", "report")
_COMMON_FIELDS = {"encoders": ("weights", "dtype", "per_device_batch"), "filters": tuple(FILTER)}


def matrix(studies: dict[str, ConfigDict]) -> ConfigDict:
  """Studies side by side, each in a folder of its own below the workdir, and one table of them all.

  Sampling, tuning, seeds, encoders (but for their prompts) and filters are those of the first study, for all of them:
  `--config.sampling.generator=...` changes the matrix. All other fields are the studies' own, `--config.studies.NAME. ...`.
  """
  first, config = next(iter(studies.values())), study_config()
  config.studies.update(studies)
  config.seeds = first.seeds
  for group in _COMMON:
    config[group] = first[group]
  for group, fields in _COMMON_FIELDS.items():
    for name, own in first[group].items():
      config[group][name] = ConfigDict(own.to_dict())
      for study in config.studies.values():
        for field in fields if name in study[group] else ():
          study[group][name][field] = config[group][name].get_ref(field)
  for study in config.studies.values():
    study.seeds = config.get_ref("seeds")
    for group in _COMMON:
      study[group] = config[group]
  return config


def prompt_list(strategy: str, **fields: Any) -> ConfigDict:
  """A prompt list for `config.prompts`."""
  return _override(_group(PROMPTS), dict(strategy=strategy, **fields), "prompt_list")


def encoder(weights: str = "embedded:clip", **fields: Any) -> ConfigDict:
  """An encoder for `config.encoders`."""
  return _override(_group(ENCODER), dict(weights=weights, **fields), "encoder")


def image_filter(rule: str, **fields: Any) -> ConfigDict:
  """A filter for `config.filters`."""
  return _override(_group(FILTER), dict(rule=rule, **fields), "image_filter")


def photograph_copies(**fields: Any) -> ConfigDict:
  """A filter of rule unlike for `config.filters` that suits photographs, by an encoder of thumbnails: short for
  image_filter("unlike", threshold=0.8, mirrored=True, ...). Not for what is its own mirror image, as digits are."""
  return image_filter("unlike", **(dict(threshold=0.8, mirrored=True) | fields))


def network(task: str, **fields: Any) -> ConfigDict:
  """One of the small world's networks, for `config.networks`."""
  return _override(_group(NETWORK), dict(task=task, **fields), "network")


def image_set(prompts: str, **fields: Any) -> ConfigDict:
  """An image set for `config.sets`: a prompt list drawn by `config.sampling` and what is overridden here."""
  return _override(ConfigDict(dict(prompts=prompts, **_empty(SAMPLING))), fields, "image_set")


def imported_set(source: str, **fields: Any) -> ConfigDict:
  """An image set for `config.sets` whose images are there already: they are brought in, not drawn."""
  return _override(_group(IMPORT), dict(source=source, **fields), "imported_set")


def real_images(source: str, **fields: Any) -> ConfigDict:
  """Real images to learn from, for `config.real`."""
  return _override(_group(REAL), dict(source=source, **fields), "real_images")


def arm(images: str = "", **fields: Any) -> ConfigDict:
  """A line of the result, for `config.arms`: a set, or SET/FILTER for what a filter kept of it, and `config.tuning`
  but for what is overridden here. Without images it is the zero-shot classifier, and nothing is learnt."""
  return _override(ConfigDict(dict(images=images, **_empty(TUNING))), fields, "arm")


def learner(images: str = "", **fields: Any) -> ConfigDict:
  """A network to train, for `config.learners`: on a set, or SET/FILTER, on `real` images, or on both; by `config.learning`
  but for what is overridden here."""
  return _override(ConfigDict(dict(images=images, **_empty(LEARNING))), fields, "learner")


def sweep(**axes: Iterable[Any]) -> Iterator[dict[str, Any]]:
  """Every combination of values, the last axis quickest: `for fields in sweep(norm=("shared", "auxiliary"), ratio=(1, 2))`."""
  for values in itertools.product(*axes.values()):
    yield dict(zip(axes, values, strict=True))


def sampling_case(generator: str, **fields: Any) -> ConfigDict:
  """A generator to time, for `config.benchmark.sampling`."""
  return _override(_group(SAMPLING_CASE), dict(generator=generator, **fields), "sampling_case")


def encoding_case(weights: str, **fields: Any) -> ConfigDict:
  """An encoder to time, for `config.benchmark.encoding`."""
  return _override(_group(ENCODING_CASE), dict(weights=weights, **fields), "encoding_case")


def training_case(model: str, **fields: Any) -> ConfigDict:
  """A network to time while it learns, for `config.benchmark.training`."""
  return _override(_group(TRAINING_CASE), dict(model=model, **fields), "training_case")


def _empty(fields: dict[str, Field]) -> dict[str, Any]:
  return {name: config_dict.placeholder(type(field.default)) for name, field in fields.items()}


def _override(config: ConfigDict, fields: dict[str, Any], where: str) -> ConfigDict:
  for name, value in fields.items():
    if name not in config:
      raise UserError(f"{where} has no field {name!r}{nearest(name, config)}")
    try:
      config[name] = value
    except TypeError:
      raise UserError(f"{where}: {name} is a {type(config[name]).__name__}, not {value!r}") from None
  return config


def set_fields(config: ConfigDict, name: str) -> dict[str, Any]:
  """The fields of one image set: if it is drawn, its own sampling fields where given, else `config.sampling`'s."""
  if is_imported(config, name):
    return config.sets[name].to_dict()
  return _merged(config.sampling, config.sets[name], SAMPLING)


def is_imported(config: ConfigDict, name: str) -> bool:
  """Whether an image set was made by `imported_set`."""
  return "source" in config.sets[name]


def set_labels(config: ConfigDict, name: str) -> str:
  """The label space of an image set, as its prompts name it; "" = the study's, as it always is of imported ones."""
  return "" if is_imported(config, name) else config.prompts[config.sets[name].prompts].labels


def arm_fields(config: ConfigDict, name: str) -> dict[str, Any]:
  """The tuning fields of one arm, likewise."""
  return _merged(config.tuning, config.arms[name], TUNING)


def learner_fields(config: ConfigDict, name: str) -> dict[str, Any]:
  """The learning fields of one learner, likewise."""
  return _merged(config.learning, config.learners[name], LEARNING)


def _merged(common: ConfigDict, own: ConfigDict, fields: Iterable[str]) -> dict[str, Any]:
  return {k: common[k] if own[k] is None else own[k] for k in fields}
