"""References to real images, opened: where a config or a command line names some, this file says what it may say.

embedded:digits:first|second|all    the digits that ship with synthjax
tfds:NAME[/CONFIG][:SPLIT]          a data set of tensorflow_datasets, built with --file_format=array_record
coop:FILE:train|val|test[:ROOT]     a split file of CoOp's, its images below ROOT or beside the file
folder:PATH[:SPLIT]                 class folders named by class id; without labels, every image below
webdataset:PATH[:SPLIT]             tar shards in the layout of CLIP_benchmark's mirrors; PATH may be a glob of .tar
parquet:PATH[:SPLIT]                Parquet files as Hugging Face's `datasets` writes them
synthjax:PATH                       WORKDIR/images/SET, or WORKDIR/keep/SET/FILTER-ENCODER for what a filter kept

What is whose: a class folder bears a class id; a name in classnames.txt or in a Parquet file is a class id or a name
that one class alone bears. Where that does not hold, a mapping says what is what, `their class: our class id` line by
line (nothing after the colon: left out). It is `classes.yaml` or `classes.json` in PATH, or any file: PATH?map=FILE.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from synthjax.data import webdatasets
from synthjax.data.coop import open_coop
from synthjax.data.digits import open_embedded
from synthjax.data.draws import draw
from synthjax.data.folders import open_folder
from synthjax.data.generated import open_generated
from synthjax.data.parquets import open_parquet
from synthjax.data.source import Source
from synthjax.data.tfds_source import open_tfds
from synthjax.labels import spaces
from synthjax.labels.spaces import LabelSpace
from synthjax.runtime.errors import UserError, nearest
from synthjax.spec.fields import Real
from synthjax.spec.references import named
from synthjax.spec.study import DrawnSet, StudySpec

_SCHEMES: dict[str, Callable[[str, str, LabelSpace | None], Source]] = {
  "embedded": open_embedded,
  "folder": open_folder,
  "tfds": open_tfds,
  "coop": open_coop,
  "parquet": open_parquet,
  "synthjax": open_generated,
  "webdataset": webdatasets.open_webdataset,
}


def open_source(reference: str, labels: LabelSpace | None) -> Source:
  """Without labels, the source is unlabelled."""
  scheme, _, rest = reference.partition(":")
  if scheme not in _SCHEMES:
    raise UserError(
      f"source {reference!r}{nearest(scheme, _SCHEMES)}; a source is embedded:digits:second, folder:PATH, or another that data/sources.py lists"
    )
  return _SCHEMES[scheme](reference, rest, labels)


def open_parents(config: StudySpec, reference: str, labels: LabelSpace) -> Source:
  """A source, or `real:NAME` of `config.real`."""
  name = named("real", reference)
  return open_real(config.real[name], labels) if name else open_source(reference, labels)


def check_sources(config: StudySpec, labels: LabelSpace, of_set: Mapping[str, LabelSpace]) -> None:
  """Opens what sets and learners will read, so that what is missing is an error before anything is made."""
  wanted: dict[tuple[str, LabelSpace], None] = {}
  for name in config.sets:
    own = config.sets[name]
    if isinstance(own, DrawnSet) and own.parents and own.strength != 1:
      source = config.real[own.real_parents].source if own.real_parents else own.parents
      wanted[source, of_set[name]] = None
  for learner in config.learners.values():
    for name, space in ((learner.real, of_set.get(learner.images.set, labels)), (learner.probe, labels)):
      if name:
        wanted[config.real[name].source, space] = None
  for reference, space in wanted:
    open_source(reference, space)


def label_space(labels: str) -> LabelSpace:
  """`config.labels`: what labels/spaces.py knows, or webdataset:PATH for the shards' own names and templates."""
  return webdatasets.label_space(labels) if labels.startswith("webdataset:") else spaces.load(labels)


def open_real(own: Real, labels: LabelSpace) -> Source:
  """One of `config.real`."""
  source = open_source(own.source, labels)
  return draw(source, labels, shots=own.shots, fraction=own.fraction, imbalance=own.imbalance, seed=own.draw)
