"""Examples as Parquet, in the layout of Hugging Face's `datasets`: what a row means stands in the files themselves.

    data/train-00000-of-00003.parquet      image {bytes, path}, label (a ClassLabel of class ids), image_id, prompt, ...

pyarrow is an extra: `pip install synthjax[export]`.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from synthjax.labels.spaces import LabelSpace
from synthjax.runtime.errors import UserError

_ROWS = 100  # a group, which is what one image's reading costs: Hugging Face's own number
_SCALARS = {
  "image_id": "string",
  "noise_id": "string",
  "prompt": "string",
  "prompt_id": "string",
  "sample_index": "int32",
  "guidance": "float32",
  "parent_id": "string",
  "strength": "float32",
  "round": "int32",
}


def library() -> Any:
  """pyarrow, with its Parquet."""
  try:
    import pyarrow.parquet
  except ImportError:
    raise UserError("Parquet needs pyarrow: pip install 'synthjax[export]'") from None
  return pyarrow


def write(
  folder: Path, examples: Iterable[dict[str, Any]], labels: LabelSpace, per_file: int, total: int
) -> None:
  pa = library()
  schema = _schema(pa, labels)
  (folder / "data").mkdir()
  rest, files = iter(examples), -(-total // per_file)
  for index in range(files):
    path = folder / "data" / f"train-{index:05d}-of-{files:05d}.parquet"
    # JPEG bytes do not shrink, and a dictionary of them would hold each twice.
    with pa.parquet.ParquetWriter(path, schema, compression="none", use_dictionary=["label"]) as writer:
      left = per_file
      while chunk := list(itertools.islice(rest, min(_ROWS, left))):
        left -= len(chunk)
        rows = [_row(example) for example in chunk]
        writer.write_table(pa.Table.from_pylist(rows, schema=schema), row_group_size=_ROWS)


def _row(example: dict[str, Any]) -> dict[str, Any]:
  image = {"bytes": example["image"], "path": f"{example['image_id']}.jpg"}
  return {"image": image, "label": example["label"]} | {k: example[k] for k in _SCALARS}


def _schema(pa: Any, labels: LabelSpace) -> Any:
  image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
  kinds = {"string": pa.string(), "int32": pa.int32(), "float32": pa.float32()}
  fields = [("image", image), ("label", pa.int64()), *((k, kinds[v]) for k, v in _SCALARS.items())]
  features: dict[str, Any] = {
    "image": {"_type": "Image"},
    "label": {"names": list(labels.ids), "_type": "ClassLabel"},
  }
  features |= {k: {"dtype": v, "_type": "Value"} for k, v in _SCALARS.items()}
  return pa.schema(fields, metadata={"huggingface": json.dumps({"info": {"features": features}})})
