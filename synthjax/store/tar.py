"""Examples as WebDataset tars, in the layout of CLIP_benchmark's mirrors, with our class ids and metadata beside.

classnames.txt, classids.txt, zeroshot_classification_templates.txt
train/nshards.txt, train/0.tar, ...      ID.jpg (as stored), ID.cls (a line of classids.txt), ID.txt (prompt), ID.json
"""

from __future__ import annotations

import io
import itertools
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from synthjax.labels.spaces import LabelSpace


def write(
  folder: Path, examples: Iterable[dict[str, Any]], labels: LabelSpace, per_file: int, total: int
) -> None:
  """The bytes repeat: no clock stands in a tar."""
  del total
  train, files = folder / "train", 0
  train.mkdir()
  for chunk in _chunks(examples, per_file):
    with tarfile.open(train / f"{files}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
      for example in chunk:
        row = {k: v for k, v in example.items() if k not in ("image", "label")}
        row["class_id"] = labels.ids[example["label"]]
        for suffix, data in {
          "jpg": example["image"],
          "cls": str(example["label"]).encode(),
          "txt": example["prompt"].encode(),
          "json": json.dumps(row, ensure_ascii=False, sort_keys=True).encode(),
        }.items():
          member = tarfile.TarInfo(f"{example['image_id']}.{suffix}")
          member.size = len(data)
          tar.addfile(member, io.BytesIO(data))
    files += 1
  (train / "nshards.txt").write_text(f"{files}\n")
  (folder / "classnames.txt").write_text("".join(f"{name}\n" for name in labels.names))
  (folder / "classids.txt").write_text("".join(f"{class_id}\n" for class_id in labels.ids))
  templates = labels.templates or (labels.template,)
  lines = "".join(f"{t.replace('{}', '{c}')}\n" for t in templates)
  (folder / "zeroshot_classification_templates.txt").write_text(lines)


def _chunks(examples: Iterable[dict[str, Any]], size: int) -> Iterable[list[dict[str, Any]]]:
  rest = iter(examples)
  while chunk := list(itertools.islice(rest, size)):
    yield chunk
