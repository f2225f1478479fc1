"""Which feature classes a TFDS folder may name. TFDS imports the module of any other, which runs whatever it holds.

Names stand in features.json, and in dataset_info.json where that describes the features too; as `pythonClassName`, as
`python_class_name`, or as `type` in the files of old releases; and, nested, in texts that are JSON themselves.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from synthjax.disk import documents
from synthjax.runtime.errors import UserError

_CORE = "tensorflow_datasets.core.features."
# What data sets of pictures and labels are made of.
KNOWN = frozenset(
  _CORE + name
  for name in (
    "bounding_boxes.BBoxFeature",
    "class_label_feature.ClassLabel",
    "feature.Tensor",  # where older releases had it
    "features_dict.FeaturesDict",
    "image_feature.Image",
    "labeled_image.LabeledImage",
    "scalar.Scalar",
    "sequence_feature.Sequence",
    "tensor_feature.Tensor",
    "text_feature.Text",
  )
)
_NAMING = ("pythonClassName", "python_class_name", "type")
_TEXTS = ("json", "content")  # keys whose value may be JSON as a text


def check(folder: Path, what: str) -> None:
  """Before TFDS opens a folder: refuses one whose files name a class that is not known."""
  described = folder / "features.json", folder / "dataset_info.json"
  bodies = [_body(file, what) for file in described]
  own = bodies[1].get("features") if isinstance(bodies[1], dict) else None
  for file, body in zip(described, (bodies[0], own), strict=True):
    for name in _named(body):
      if name not in KNOWN:
        raise UserError(
          f"{what}: {file} names the feature class {name[:100]!r}, which is none of those that are read here, and its module is not imported; build the data set with tfds.features alone"
        )


def _body(file: Path, what: str) -> Any:
  if not file.exists():
    raise UserError(f"{what}: {file} is missing; a data set of TFDS has it: build or fetch it again")
  return documents.read_json(file, f"{what}: {file}", "build or fetch it again")


def _named(body: Any) -> Iterator[str]:
  if isinstance(body, list):
    for value in body:
      yield from _named(value)
  elif isinstance(body, dict):
    for key, value in body.items():
      if isinstance(value, str):
        if key in _NAMING:
          yield value
        elif key in _TEXTS:
          yield from _named(_read(value))
      else:
        yield from _named(value)


def _read(text: str) -> Any:
  try:
    return json.loads(text)
  except (ValueError, RecursionError):
    return None  # TFDS fails on it too, and imports nothing
