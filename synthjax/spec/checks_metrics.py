"""Metrics of image sets: which of them a config asks for, and which would fail late."""

from __future__ import annotations

from collections.abc import Iterator

from synthjax.runtime.errors import UserError, known, nearest
from synthjax.spec import fields, metric_fields
from synthjax.spec.checks import check_knows_classes, knows_classes
from synthjax.spec.metric_fields import CLIP_SCORE, LPIPS, OF_REAL, RECOGNIZABILITY, SetMetrics
from synthjax.spec.references import named
from synthjax.spec.study import SampledSet, StudySpec


def sets_of(own: SetMetrics, study: StudySpec) -> tuple[str, ...]:
  """The image sets that are measured."""
  return _listed(own.sets) or tuple(name for name in study.sets if _is_of_study(name, study))


def metrics_of(own: SetMetrics, study: StudySpec, image_set: str) -> tuple[str, ...]:
  """The metrics that are measured of a set: those that are named, or all that can be."""
  by_clip = knows_classes(study.encoders[own.encoder].weights)
  able = {
    RECOGNIZABILITY: bool(own.classifier) or by_clip,
    CLIP_SCORE: by_clip and isinstance(study.sets[image_set], SampledSet),
    LPIPS: bool(own.lpips),
    **dict.fromkeys(OF_REAL, bool(own.real)),
  }
  asked = _listed(own.metrics)
  return tuple(m for m in metric_fields.METRICS if (m in asked if asked else able.get(m, True)))


def check_metrics(where: str, own: SetMetrics, study: StudySpec) -> None:
  known(f"{where}: encoder", own.encoder, study.encoders)
  weights = study.encoders[own.encoder].weights
  if weights == fields.THUMBNAIL:
    raise UserError(
      f"{where}: encoder {own.encoder!r} makes thumbnails, which metrics do not take; name another"
    )
  for name in _listed(own.metrics):
    if name not in metric_fields.METRICS:
      raise UserError(f"{where}: metrics: {name!r}{nearest(name, metric_fields.METRICS)}")
  if not study.sets:
    raise UserError(f"{where} has no image set to measure; add one, config.sets.NAME = image_set(...)")
  for name in _listed(own.sets):
    known(f"{where}: sets: image set", name, study.sets)
    if not _is_of_study(name, study):
      raise UserError(f"{where}: sets: {name} is of other classes than the study's; leave it out")
  if own.real:
    known(f"{where}: real images", own.real, [*study.real, *study.tests])
  _check_needs(where, own, study)
  if 0 < own.subsample < 2:
    raise UserError(f"{where}: subsample {own.subsample} is no set; raise it, or set it to 0 for all images")


def _check_needs(where: str, own: SetMetrics, study: StudySpec) -> None:
  """Of metrics that are named, what they are computed from is there."""
  asked = _listed(own.metrics)
  if own.classifier:
    learner = named("learner", own.classifier)
    if not learner:
      raise UserError(f"{where}: classifier is '' or learner:NAME, not {own.classifier!r}")
    known(f"{where}: classifier: learner", learner, study.learners)
  for name in asked:
    if name in OF_REAL and not own.real:
      raise UserError(
        f"{where}: {name} compares with real images; set real to a name of config.real or config.tests, or leave it out"
      )
    if name == CLIP_SCORE or (name == RECOGNIZABILITY and not own.classifier):
      check_knows_classes(f"{where}: {name}", own.encoder, study)
    if name == LPIPS and not own.lpips:
      raise UserError(
        f"{where}: lpips needs its weights; set lpips to a folder of them, or leave it out of metrics"
      )
  if CLIP_SCORE in asked:
    for name in sets_of(own, study):
      if not isinstance(study.sets[name], SampledSet):
        raise UserError(
          f"{where}: clip_score needs the texts of images, and {name} is imported; leave it out, or name other sets"
        )
  if own.real_jpeg and not own.real:
    raise UserError(f"{where}: real_jpeg without real images; name some, or set it to 0")


def _listed(names: str) -> tuple[str, ...]:
  return tuple(dict.fromkeys(filter(None, map(str.strip, names.split(",")))))


def _is_of_study(image_set: str, study: StudySpec) -> bool:
  return study.labels_of(image_set) in ("", study.labels)


def keys(study: StudySpec) -> Iterator[tuple[str, str]]:
  """(image set, name in config.metrics) of all that is to be measured."""
  for name, own in study.metrics.items():
    yield from ((image_set, name) for image_set in sets_of(own, study))
