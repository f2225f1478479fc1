"""The data card of an export: what is in it, what made it, what chose it, and how to open it. Markdown, with the front
matter that Hugging Face reads."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

_SHOWN = 20  # prompts
OPENED = {
  "webdataset": """import webdataset

samples = webdataset.WebDataset("train/{0..%d}.tar", shardshuffle=False).decode("pil").to_tuple("jpg", "cls", "json")""",
  "folder": """import datasets

images = datasets.load_dataset("imagefolder", data_dir=".", split="train")""",
  "parquet": """import datasets

images = datasets.load_dataset(".", split="train")""",
}


@dataclasses.dataclass(frozen=True)
class Card:
  title: str  # LE, or LE/CF
  licence: str
  format: str
  files: int
  classes: Sequence[tuple[str, str, int]]  # id, name, images
  made: Mapping[str, Any]  # the set's record.json
  prompts: Mapping[str, Any] | None  # the list's record.json
  texts: Sequence[str]  # the prompts in use, most used first
  n_texts: int
  filter: Mapping[str, Any] | None  # the keep-list's record.json
  kept: Mapping[str, Any] | None  # its summary.json


def render(card: Card) -> str:
  total = sum(n for _, _, n in card.classes)
  front: dict[str, Any] = {
    "pretty_name": card.title,
    "license": card.licence or "unknown",
    "task_categories": ["image-classification"],
    "size_categories": [_size(total)],
    "tags": ["synthetic"] if card.prompts is not None else [],
  }
  if card.format == "parquet":
    files = [{"split": "train", "path": "data/train-*.parquet"}]
    front["configs"] = [{"config_name": "default", "data_files": files}]
  parts = [
    f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---\n",
    f"# {card.title}\n",
    f"{total:,} images of {sum(n > 0 for *_, n in card.classes):,} classes, written by synthjax. Licence: "
    f"{card.licence or 'not stated; ask whoever made this, and mind the terms of what the images were made with'}.\n",
    *_made(card),
    *_prompts(card),
    *_filter(card),
    "## Classes\n",
    _table(("class id", "name", "images"), card.classes),
    "## Opening it\n",
    f"```python\n{_opened(card)}\n```\n",
    f"Or with synthjax: `{'folder' if card.format == 'folder' else card.format}:PATH`.\n",
    "## Software\n",
    ", ".join(f"{name} {version}" for name, version in card.made.get("software", {}).items()) + "\n",
  ]
  return "\n".join(parts)


def _opened(card: Card) -> str:
  text = OPENED[card.format]
  return text % (card.files - 1) if "%d" in text else text


def _made(card: Card) -> list[str]:
  """Generator, sampler, seeds and all other settings that decide the images."""
  identity, runtime = card.made.get("identity", {}), card.made.get("runtime", {})
  if card.prompts is None:
    source = runtime.get("source", "?")
    rows = [("brought in from", source), *_settings(identity)]
    return ["## Where the images come from\n", _table(("", ""), rows)]
  rows = [
    ("generator", runtime.get("generator", "?")),
    ("its weights (SHA-256)", identity.get("generator", "?")),
  ]
  rows += [(k, v) for k, v in _settings(identity) if k != "generator"]
  text = "Every image was drawn by a text-to-image model from a prompt and a random key of its own; none is a photograph.\n"
  return ["## What generated them\n", text, _table(("", ""), rows)]


def _settings(identity: Mapping[str, Any]) -> list[tuple[str, str]]:
  return [
    (k, v if isinstance(v, str) else json.dumps(v))
    for k, v in identity.items()
    if k != "class_ids" and v not in ("", None)
  ]


def _prompts(card: Card) -> list[str]:
  if card.prompts is None and not any(card.texts):
    return []
  rows = _settings({k: v for k, v in (card.prompts or {}).get("identity", {}).items() if k != "class_names"})
  more = f" The {_SHOWN} most used of {card.n_texts:,}:" if card.n_texts > _SHOWN else ""
  text = f"{card.n_texts:,} distinct prompts; each image carries its own.{more}\n"
  texts = "".join(f"- {_escaped(text)}\n" for text in card.texts[:_SHOWN] if text)
  return ["## Prompts\n", *([_table(("", ""), rows)] if rows else []), text, texts]


def _filter(card: Card) -> list[str]:
  if card.filter is None or card.kept is None:
    return ["## Filter\n", "None: the whole set.\n"]
  resolved = {
    "threshold": card.kept["threshold"],
    "kept_per_class": card.filter["growth"].get("kept_per_class", 0),
  }
  rows = _settings({k: v for k, v in card.filter["identity"].items() if k != "class_names"} | resolved)
  columns = ("id", "drawn", "passed", "kept", "filled")
  counts = [tuple(row[c] for c in columns) for row in card.kept["classes"]]
  head = ("class id", "looked at", "passed", "kept", "of these, below the threshold")
  return ["## Filter\n", _table(("", ""), rows), _table(head, counts)]


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
  lines = [head, ["---"] * len(head), *rows]
  return "".join("| " + " | ".join(_escaped(str(cell)) for cell in line) + " |\n" for line in lines)


def _escaped(text: str) -> str:
  """A prompt or a name is text, whatever stands in it."""
  text = " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|")
  return text.replace("<", "&lt;").replace("`", "\\`").replace("[", "\\[")


def _size(n: int) -> str:
  for low, high, name in (
    (0, 1e3, "n<1K"),
    (1e3, 1e4, "1K<n<10K"),
    (1e4, 1e5, "10K<n<100K"),
    (1e5, 1e6, "100K<n<1M"),
  ):
    if low <= n < high:
      return name
  return "1M<n<10M" if n < 1e7 else "n>10M"
