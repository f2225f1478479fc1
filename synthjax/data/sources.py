"""References to real images, opened: where a config or a command line names some, this file says what it may say.

embedded:digits:first|second|all    the digits that ship with synthjax
folder:PATH                         class folders named by class id; without labels, every image below PATH
tfds:NAME[/CONFIG][:SPLIT]          a data set of tensorflow_datasets, built with --file_format=array_record
coop:FILE:train|val|test[:ROOT]     a split file of CoOp's, its images below ROOT or beside the file
"""

from __future__ import annotations

from collections.abc import Callable

from ml_collections import ConfigDict

from synthjax.data.coop import open_coop
from synthjax.data.digits import open_embedded
from synthjax.data.draws import draw
from synthjax.data.folders import open_folder
from synthjax.data.source import Source
from synthjax.data.tfds_source import open_tfds
from synthjax.errors import UserError, nearest
from synthjax.labels.spaces import LabelSpace

_SCHEMES: dict[str, Callable[[str, str, LabelSpace | None], Source]] = {
  "embedded": open_embedded,
  "folder": open_folder,
  "tfds": open_tfds,
  "coop": open_coop,
}


def open_source(reference: str, labels: LabelSpace | None) -> Source:
  """Without labels, the source is unlabelled."""
  scheme, _, rest = reference.partition(":")
  if scheme not in _SCHEMES:
    raise UserError(
      f"source {reference!r}{nearest(scheme, _SCHEMES)}; a source is embedded:digits:second, folder:PATH or tfds:NAME:SPLIT"
    )
  return _SCHEMES[scheme](reference, rest, labels)


def open_real(config: ConfigDict, name: str, labels: LabelSpace) -> Source:
  """`config.real.NAME`."""
  own = config.real[name]
  source = open_source(own.source, labels)
  return draw(source, labels, shots=own.shots, fraction=own.fraction, imbalance=own.imbalance, seed=own.draw)
