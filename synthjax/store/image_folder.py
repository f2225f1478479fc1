"""Examples as a folder of class folders, in the layout of Hugging Face's `imagefolder`.

n01440764/ID.jpg     as stored; class folders bear class ids
metadata.jsonl       a line an image: file_name, class_id, image_id, prompt, ...
classes.json         folder to class id, where an id cannot be a folder's name
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from synthjax.labels.spaces import LabelSpace

# Of every file system; a dot in front would hide it, one at the end is lost on some.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}")


def folder_names(class_ids: Sequence[str]) -> list[str]:
  """The ids, where each can be a folder's name and no two are one to a file system that knows no case."""
  plain = all(_NAME.fullmatch(c) and not c.endswith(".") for c in class_ids)
  if plain and len({c.casefold() for c in class_ids}) == len(class_ids):
    return list(class_ids)
  return [f"class_{k:05d}" for k in range(len(class_ids))]


def write(
  folder: Path, examples: Iterable[dict[str, Any]], labels: LabelSpace, per_file: int, total: int
) -> None:
  del per_file, total  # a file an image
  names = folder_names(labels.ids)
  with (folder / "metadata.jsonl").open("w", encoding="utf-8") as metadata:
    for example in examples:
      name = f"{names[example['label']]}/{example['image_id']}.jpg"
      (folder / name).parent.mkdir(exist_ok=True)
      (folder / name).write_bytes(example["image"])
      row = {"file_name": name, "class_id": labels.ids[example["label"]]}
      row |= {k: v for k, v in example.items() if k not in ("image", "label")}
      metadata.write(json.dumps(row, ensure_ascii=False) + "\n")
  if names != list(labels.ids):
    mapping = dict(zip(names, labels.ids, strict=True))
    (folder / "classes.json").write_text(json.dumps(mapping, indent=2, ensure_ascii=False) + "\n")
