"""Values that would fail late, or make a study that nobody meant: each is told in one line before anything begins."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Iterable
from typing import Any

from ml_collections import ConfigDict

from synthjax.runtime.errors import UserError, nearest
from synthjax.spec import config as fields_of
from synthjax.spec.checks import DTYPES as _DTYPES
from synthjax.spec.checks import at_least as _at_least
from synthjax.spec.checks import known as _known
from synthjax.spec.checks import pattern as _pattern
from synthjax.spec.checks_adapter import check_adapter
from synthjax.spec.checks_filters import check_copies
from synthjax.spec.checks_learners import check_learner
from synthjax.spec.checks_limits import check_limits
from synthjax.spec.checks_networks import check_network

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+-]{0,99}")
# Group of named products: the fields of each, what makes one, and whether its fields may be left to a default (None).
_NAMED = {
  "prompts": (tuple(fields_of.PROMPTS), "prompt_list(...)", False),
  "networks": (tuple(fields_of.NETWORK), "network(...)", False),
  "real": (tuple(fields_of.REAL), "real_images(...)", False),
  "sets": (("prompts", *fields_of.SAMPLING), "image_set(...)", True),
  "encoders": (tuple(fields_of.ENCODER), "encoder(...)", False),
  "filters": (tuple(fields_of.FILTER), "image_filter(...)", False),
  "arms": (("images", *fields_of.TUNING), "arm(...)", True),
  "learners": (("images", *fields_of.LEARNING), "learner(...)", True),
  "benchmark.sampling": (tuple(fields_of.SAMPLING_CASE), "sampling_case(...)", False),
  "benchmark.encoding": (tuple(fields_of.ENCODING_CASE), "encoding_case(...)", False),
  "benchmark.training": (tuple(fields_of.TRAINING_CASE), "training_case(...)", False),
}
_GROUPS = {
  "sampling": fields_of.SAMPLING,
  "tuning": fields_of.TUNING,
  "learning": fields_of.LEARNING,
  "predict": fields_of.PREDICT,
  "export": fields_of.EXPORT,
  "report": fields_of.REPORT,
  "runtime": fields_of.RUNTIME_FIELDS,
  "benchmark": (*fields_of.BENCHMARK, "sampling", "encoding", "training"),
}


def check(config: ConfigDict) -> None:
  """The whole config of a study, or of a matrix of studies."""
  _complete("config", config, fields_of.study_config())
  if config.studies:
    _check_matrix(config)
    return
  for group, known in _GROUPS.items():
    _complete(f"config.{group}", config[group], known)
  for group, (known, maker, may_be_none) in _NAMED.items():
    for name, own in operator.attrgetter(group)(config).items():
      check_name(name, f"config.{group}:")
      if group == "sets" and isinstance(own, ConfigDict) and "source" in own:
        _check_import(f"config.sets.{name}", own)
        continue
      _complete(f"config.{group}.{name}", own, known, maker, may_be_none)
  for name, own in config.prompts.items():
    for field in ("draws", "per_class"):
      _at_least(f"config.prompts.{name}: {field}", own[field], 1)
  for name, own in config.networks.items():
    check_network(f"config.networks.{name}", own, config.networks)
  for name, own in config.sets.items():
    if fields_of.is_imported(config, name):
      continue
    if not isinstance(own.prompts, str):
      raise UserError(
        f"config.sets.{name}: prompts is the name of one of config.prompts, not {own.prompts!r}"
      )
    if own.prompts not in config.prompts:
      raise UserError(
        f"set {name!r} draws prompt list {own.prompts!r}, which config.prompts lacks{nearest(own.prompts, config.prompts)}"
      )
    fields = fields_of.set_fields(config, name)
    _check_set(f"config.sets.{name}", fields, config.real)
    if fields["generator"].startswith("network:"):
      _known(f"config.sets.{name}: network", fields["generator"].removeprefix("network:"), config.networks)
  for name, own in config.real.items():
    _check_real(f"config.real.{name}", own)
    if name in config.sets or name in config.tests:
      raise UserError(f"config.real: {name} is the name of an image set or a test; real images need another")
  for name, own in config.encoders.items():
    _known(f"config.encoders.{name}: dtype", own.dtype, _DTYPES)
    _at_least(f"config.encoders.{name}: per_device_batch", own.per_device_batch, 1)
  for name, own in config.filters.items():
    _check_filter(f"config.filters.{name}", own, config)
  for name, own in config.arms.items():
    _check_arm(f"config.arms.{name}", own, config)
  if config.learners and not config.tests:
    raise UserError(
      "config.learners are measured on real images: name some, config.tests.NAME = 'embedded:digits:second'"
    )
  for name in config.learners:
    if name in config.arms:
      raise UserError(f"config.learners: {name} is the name of an arm; a learner needs another")
    check_learner(config, name)
  for name in config.tests:
    check_name(name, "config.tests:")
    if not isinstance(config.tests[name], str):
      raise UserError(
        f"config.tests.{name} is a text like embedded:digits:second, not {config.tests[name]!r}"
      )
    if name in config.sets:
      raise UserError(f"config.tests: {name} is the name of an image set; real images need another")
  if config.arms and not config.tests:
    raise UserError(
      "config.arms are measured on real images: name some, config.tests.NAME = 'embedded:digits:second'"
    )
  for name, low in {
    "runtime.heartbeat_seconds": 0.1,
    "runtime.encode_threads": 0,
    "runtime.grace_seconds": 0,
    "runtime.save_seconds": 0,
    "runtime.log_seconds": 0,
    "runtime.cpu_devices": 0,
    "runtime.fsdp": 1,
    "runtime.device_memory_gb": 0,
    "benchmark.rounds": 0,
    "benchmark.seconds": 0.01,
    "report.refresh_seconds": 0,
    "report.images": 0,
    "export.images_per_shard": 1,
    "seeds": 1,
  }.items():
    group, _, field = name.rpartition(".")
    _at_least(f"config.{name}", (config[group] if group else config)[field], low)
  _known("config.export.format", config.export.format, fields_of.EXPORT_FORMATS)
  if config.export.images:
    _check_images("config.export", config.export.images, config)
  if not 0 <= config.runtime.unreadable < 1:
    raise UserError(
      f"config.runtime.unreadable is a share, from 0 to below 1, not {config.runtime.unreadable}"
    )
  _check_benchmark(config.benchmark)
  check_limits(config)
  _at_least(
    "config.runtime.stale_seconds (3 heartbeats)",
    config.runtime.stale_seconds,
    3 * config.runtime.heartbeat_seconds,
  )


def _check_matrix(config: ConfigDict) -> None:
  for group in ("sets", "arms", "tests"):
    if config[group]:
      raise UserError(
        f"config.{group} beside config.studies: in a matrix they are the studies' own, config.studies.NAME.{group}"
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


def _check_import(where: str, own: ConfigDict) -> None:
  _complete(where, own, fields_of.IMPORT, "imported_set(...)")
  if not own.source:
    raise UserError(f"{where}: source is empty; name labelled images, as folder:PATH")
  for name, low in dict(images_per_class=0, stored_size=0, images_per_shard=1).items():
    _at_least(f"{where}: {name}", own[name], low)
  _check_quality(where, own.jpeg_quality)


def _check_quality(where: str, quality: int) -> None:
  if not 1 <= quality <= 100:
    raise UserError(f"{where}: jpeg_quality is between 1 and 100, not {quality}")


def _check_real(where: str, own: ConfigDict) -> None:
  if not own.source:
    raise UserError(f"{where}: source is empty; name real images, as folder:PATH")
  for name, low in dict(shots=0, imbalance=1, draw=0).items():
    _at_least(f"{where}: {name}", own[name], low)
  if not 0 < own.fraction <= 1:
    raise UserError(f"{where}: fraction is above 0 and at most 1, not {own.fraction}")


def _check_filter(where: str, own: ConfigDict, config: ConfigDict) -> None:
  _known(f"{where}: rule", own.rule, ("clip", "real", "unlike"))
  _known(f"{where}: when_short", own.when_short, ("top", "fewer"))
  _known(f"{where}: encoder", own.encoder, config.encoders)
  if own.rule == "clip":
    _check_knows_classes(where, own.encoder, config)
  if own.rule == "real":
    _known(f"{where}: metric", own.metric, fields_of.METRICS)
    _known(f"{where}: against: real images", own.against, config.real)
    if not math.isfinite(own.margin):
      raise UserError(f"{where}: margin is a number, not {own.margin}")
    if own.threshold:
      raise UserError(f"{where}: rule real has a margin, not a threshold; set it to 0")
  elif own.against:
    _known(f"{where}: against", own.against, config.tests)
    if own.rule != "unlike":
      raise UserError(f"{where}: against belongs to rules unlike and real, not to {own.rule}; set it to ''")
  check_copies(where, own, config)
  for name, low in dict(kept_per_class=0, max_rounds=0, max_drawn=1).items():
    _at_least(f"{where}: {name}", own[name], low)
  if not 0 <= own.threshold < 1:
    raise UserError(
      f"{where}: threshold is a probability, or a similarity, from 0 (= the rule's own) to below 1, not {own.threshold}"
    )


def _check_images(where: str, images: str, config: ConfigDict) -> tuple[str, str]:
  """(SET, FILTER) of SET or SET/FILTER."""
  if not isinstance(images, str):
    raise UserError(f"{where}: images is a text, SET or SET/FILTER, not {images!r}")
  drawn, _, chosen = images.partition("/")
  if drawn or "/" in images:
    _known(f"{where}: image set", drawn, config.sets)
  if chosen or images.endswith("/"):
    _known(f"{where}: filter", chosen, config.filters)
  return drawn, chosen


def _check_knows_classes(where: str, encoder: str, config: ConfigDict) -> None:
  if config.encoders[encoder].weights == fields_of.THUMBNAIL:
    raise UserError(f"{where}: encoder {encoder!r} makes thumbnails, which know no classes; name a CLIP")


def _check_arm(where: str, own: ConfigDict, config: ConfigDict) -> None:
  fields = fields_of.arm_fields(config, where.rpartition(".")[2])
  _known(f"{where}: encoder", fields["encoder"], config.encoders)
  _check_knows_classes(where, fields["encoder"], config)
  _known(f"{where}: loss", fields["loss"], ("CE", "SCE"))
  drawn, chosen = _check_images(where, own.images, config)
  if drawn and (labels := fields_of.set_labels(config, drawn)):
    raise UserError(
      f"{where}: set {drawn} is of the classes of {labels}; an arm names those of config.labels"
    )
  for name, low in dict(images_per_class=0, epochs=1, batch=1, clip_norm=0, weight_decay=0).items():
    _at_least(f"{where}: {name}", fields[name], low)
  _check_arm_of_real(where, drawn, fields, config)
  for name in ("learning_rate", "temperature"):
    if not fields[name] > 0:
      raise UserError(f"{where}: {name} is above 0, not {fields[name]}")
  if not drawn:
    return
  n, available = fields["images_per_class"], fields_of.set_fields(config, drawn)["images_per_class"]
  if chosen:
    available = config.filters[chosen].kept_per_class or available
  if n > available > 0:  # of an imported set it is known only once it is there
    raise UserError(
      f"{where}: images_per_class {n}, but {own.images} has {available}; raise "
      f"{'config.filters.' + chosen + '.kept_per_class' if chosen else 'config.sampling.images_per_class'}"
    )


def _check_arm_of_real(where: str, drawn: str, fields: dict[str, Any], config: ConfigDict) -> None:
  """What bears on real images, and on the encoder."""
  for field in ("real", "validation"):
    if fields[field]:
      _known(f"{where}: {field}", fields[field], config.real)
  _known(f"{where}: order", fields["order"], fields_of.ORDERS)
  _known(f"{where}: batch_norm", fields["batch_norm"], ("frozen", "unfrozen"))
  _known(f"{where}: adapter", fields["adapter"], ("", "tip"))
  check_adapter(where, fields)
  for name, low in dict(real_batch=1, real_weight=0, steps=0).items():
    _at_least(f"{where}: {name}", fields[name], low)
  if fields["adapter"] and (drawn or not fields["real"] or not fields["validation"]):
    raise UserError(
      f"{where}: adapter tip learns from real images alone and needs others to choose by; set real and validation, and no images"
    )
  _pattern(f"{where}: learns", fields["learns"])
  through = fields["learns"] or fields["batch_norm"] == "unfrozen"
  if through and (fields["adapter"] or not (drawn or fields["real"])):
    raise UserError(f"{where}: learns and batch_norm need images or real ones to learn from, and no adapter")
  if fields["loss"] == "SCE" and fields["real"] and not drawn:
    raise UserError(f"{where}: loss SCE is for synthetic images, and it has none; set loss to CE")


def _check_benchmark(benchmark: ConfigDict) -> None:
  for kind, counts in dict(
    sampling=dict(size=0, steps=1, per_device_batch=1),
    encoding=dict(per_device_batch=1),
    training=dict(size=8, stored_size=0, classes=2, per_device_batch=2),
  ).items():
    for name, own in benchmark[kind].items():
      where = f"config.benchmark.{kind}.{name}"
      _known(f"{where}: dtype", own.dtype, _DTYPES)
      if kind == "training":
        _known(f"{where}: norm", own.norm, ("shared", "auxiliary"))
      for field, low in counts.items():
        _at_least(f"{where}: {field}", own[field], low)
  if benchmark.rounds and not (benchmark.sampling or benchmark.encoding or benchmark.training):
    raise UserError(
      "config.benchmark.rounds without anything to measure: name some, config.benchmark.sampling.NAME = sampling_case(...)"
    )


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


def _check_set(where: str, fields: dict[str, Any], real: ConfigDict) -> None:
  for name, low in dict(
    images_per_class=1,
    steps=1,
    cpu_group=1,
    size=0,
    stored_size=0,
    images_per_shard=1,
    per_device_batch=1,
    decode_batch=0,
    preview=0,
    guidance=0,
  ).items():
    _at_least(f"{where}: {name}", fields[name], low)
  for name in ("eta", "strength"):
    if not 0 <= fields[name] <= 1 and (name, fields[name]) != ("strength", fields_of.BY_SHOTS):
      raise UserError(f"{where}: {name} is between 0 and 1, not {fields[name]}")
  if fields["strength"] < 1 and not fields["parents"]:
    raise UserError(
      f"{where}: strength {fields['strength']} needs images to begin as; set parents, as folder:PATH"
    )
  scheme, _, name = fields["parents"].partition(":")
  if scheme == "real":
    _known(f"{where}: parents: real images", name, real)
  if fields["strength"] == fields_of.BY_SHOTS:
    if scheme != "real" or not real[name].shots:
      raise UserError(
        f"{where}: strength BY_SHOTS needs parents real:NAME, one of config.real with so many shots, not {fields['parents']!r}"
      )
    if fields["sampler"] == "lcm":
      raise UserError(f"{where}: strength BY_SHOTS is not for sampler lcm; set a number")
  _known(f"{where}: sampler", fields["sampler"], fields_of.SAMPLERS)
  if fields["eta"] and fields["sampler"] != "ddim":
    raise UserError(f"{where}: eta belongs to sampler ddim, not to {fields['sampler']}; set it to 0")
  _check_quality(where, fields["jpeg_quality"])
  _known(f"{where}: dtype", fields["dtype"], _DTYPES)
  _known(f"{where}: long_prompts", fields["long_prompts"], ("refuse", "cut"))
