"""Numbers of the papers, to stand beside ours: top-1 in percent by encoder, data set and arm.

They are He et al.'s (2023): their generator, their draws of prompts, and the best epoch on the test set, while ours is
the last one. So a difference of a point is no news.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

_FILE = Path(__file__).parent / "published.json"


@functools.cache
def _body() -> dict[str, Any]:
  return json.loads(_FILE.read_text())


def source() -> str:
  return _body()["source"]


def value(encoder: str, dataset: str, arm: str) -> float | None:
  """`arm` is "zero-shot", or what is learnt from and the loss: LE+CF+SCE."""
  return _body()["values"].get(encoder, {}).get(dataset, {}).get(arm)
