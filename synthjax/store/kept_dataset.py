"""The images of a keep-list as a data set of their own, beside the list. A file in it names the list that it was written from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from etils import epath

from synthjax.disk import checksums, workdir
from synthjax.store import export
from synthjax.store.kept import Kept

DATASET = "dataset"
_BASIS = "kept_from.json"


def is_written(folder: epath.Path, kept: Kept) -> bool:
  """`folder`: of the keep-list."""
  path = folder / DATASET / _BASIS
  return path.exists() and checksums.read_json(path, "data set") == _basis(kept)


def write(
  folder: epath.Path,
  kept: Kept,
  name: str,
  image_set: epath.Path,
  places: Sequence[int],
  class_ids: Sequence[str],
) -> None:
  """`places` of the kept images in the set, whose folder is `image_set`."""
  beside = {_BASIS: workdir.to_json(_basis(kept))}
  export.write_part(image_set, places, folder / DATASET, name, class_ids, beside)


def _basis(kept: Kept) -> dict[str, Any]:
  return {"list": kept.name} if kept.name else kept.summary()["basis"]
