"""References to real images, opened: where a config or a command line names some, this file says what it may say.

embedded:digits:first|second|all    the digits that ship with synthjax
embedded:glyphs:STYLE[+STYLE][:N]   rendered digits and letters, 100 or N a class: printed, handwritten, typed, painted, scanned, ...;
                                    with :N:learn others than those, to learn from what is tested on those
tfds:NAME[/CONFIG][:SPLIT]          a data set of tensorflow_datasets, built with --file_format=array_record
coop:FILE:train|val|test[:ROOT]     a split file of CoOp's, its images below ROOT or beside the file
folder:PATH[:SPLIT]                 class folders named by class id; without labels, every image below
webdataset:PATH[:SPLIT]             tar shards in the layout of CLIP_benchmark's mirrors; PATH may be a glob of .tar
parquet:PATH[:SPLIT]                Parquet files as Hugging Face's `datasets` writes them
synthjax:PATH                       WORKDIR/images/SET, or WORKDIR/keep/SET/FILTER-ENCODER for what a filter kept

PATH of folder, webdataset, parquet and synthjax may be a URL, s3://BUCKET/..., gs:// or az://: what is below it is fetched once to
this machine (data/remote.py).

What is whose: a class folder bears a class id; a name in classnames.txt or in a Parquet file is a class id or a name
that one class alone bears. Where that does not hold, a mapping says what is what, `their class: our class id` line by
line (nothing after the colon: left out). It is `classes.yaml` or `classes.json` in PATH, or any file: PATH?map=FILE.
"""

from __future__ import annotations

from collections.abc import Callable

from synthjax.data import remote, webdatasets
from synthjax.data.coop import open_coop
from synthjax.data.draws import draw
from synthjax.data.embedded import open_embedded
from synthjax.data.folders import open_folder
from synthjax.data.generated import open_generated
from synthjax.data.parquets import open_parquet
from synthjax.data.source import Source
from synthjax.data.tfds_source import open_tfds
from synthjax.labels import spaces
from synthjax.labels.spaces import LabelSpace
from synthjax.runtime import absence
from synthjax.runtime.errors import UserError, nearest
from synthjax.runtime.registry import Registry
from synthjax.spec.fields import Real
from synthjax.spec.references import named
from synthjax.spec.study import StudySpec

Opens = Callable[[str, str, LabelSpace | None], Source]
_SHIPPED: dict[str, Opens] = {
  "embedded": open_embedded,
  "folder": open_folder,
  "tfds": open_tfds,
  "coop": open_coop,
  "parquet": open_parquet,
  "synthjax": open_generated,
  "webdataset": webdatasets.open_webdataset,
}
# A config file may register its own: a function of (the whole reference, what follows its scheme, classes) that opens a Source.
SOURCES: Registry[Opens] = Registry("source", _SHIPPED)


def open_source(reference: str, labels: LabelSpace | None) -> Source:
  """Without labels, the source is unlabelled. Raises NotHere where nothing of it is on this machine."""
  scheme, _, rest = reference.partition(":")
  if scheme not in SOURCES:
    raise UserError(
      f"source {reference!r}{nearest(scheme, list(SOURCES))}; a source is embedded:digits:second, folder:PATH, or another that data/sources.py lists"
    )
  absence.check(reference)
  return SOURCES[scheme](reference, remote.local(reference, rest), labels)


def open_parents(config: StudySpec, reference: str, labels: LabelSpace) -> Source:
  """A source, or `real:NAME` of `config.real`."""
  name = named("real", reference)
  return open_real(config.real[name], labels) if name else open_source(reference, labels)


def label_space(labels: str) -> LabelSpace:
  """`config.labels`: what labels/spaces.py knows, or webdataset:PATH for the shards' own names and templates."""
  return webdatasets.label_space(labels) if labels.startswith("webdataset:") else spaces.load(labels)


def open_real(own: Real, labels: LabelSpace) -> Source:
  """One of `config.real`."""
  source = open_source(own.source, labels)
  return draw(source, labels, shots=own.shots, fraction=own.fraction, imbalance=own.imbalance, seed=own.draw)
