"""How large a value may be. Beyond, a study would hang, fill the memory or fail far from its cause, whatever it asks for.

The limits are far above what anybody has trained or drawn; they catch a slip of the keyboard and an infinity.
"""

from __future__ import annotations

import math
from typing import Any

from ml_collections import ConfigDict

from synthjax.disk.documents import is_writable
from synthjax.runtime.errors import UserError
from synthjax.spec.fields import Sampling

_COUNT, _NUMBER = 10**9, 1e9  # of fields that are not named here
_SEED = 2**63 - 1
_TEXT = 20_000  # characters
_MOST = {
  "batch": 2**20,
  "classes": 10**6,
  "cpu_devices": 1024,
  "cpu_group": 4096,
  "decode_batch": 2**20,
  "draw": _SEED,
  "draws": 100_000,
  "encode_threads": 1024,
  "epochs": 10**6,
  "examples": 10**13,
  "fsdp": 2**20,
  "images": 10_000,  # of a page
  "images_per_class": 10**8,
  "kept_per_class": 10**8,
  "max_drawn": 10_000,
  "max_rounds": 10_000,
  "neighbours": 10**6,
  "per_class": 100_000,
  "per_device_batch": 2**20,
  "pictures": 10**8,
  "prefetch": 10_000,
  "real_batch": 2**20,
  "rounds": 10**6,
  "search_scale": 10_000,
  "search_step": 1000,
  "seed": _SEED,
  "seeds": 10_000,
  "size": 2**14,
  "stored_size": 2**14,
  "views": 10_000,
}
_MOST_IMAGES = 10**8  # of a set
_MOST_SHARDS = 10**6


def check_limits(config: ConfigDict, where: str = "config") -> None:
  """Every value of a study's config, wherever it stands."""
  for name, value in config.items():
    if isinstance(value, ConfigDict):
      check_limits(value, f"{where}.{name}")
    else:
      for one in value if isinstance(value, list | tuple) else (value,):
        _check_value(f"{where}.{name}", name, one)


def _check_value(where: str, name: str, value: Any) -> None:
  if isinstance(value, str):
    _check_text(where, value)
  elif isinstance(value, int):
    most = _MOST.get(name, _COUNT)
    if abs(value) > most:
      raise UserError(f"{where} is at {'least -' if value < 0 else 'most '}{most:,}, not {_shown(value)}")
  elif isinstance(value, float):
    most = _MOST.get(name, _NUMBER)
    if not math.isfinite(value):
      raise UserError(f"{where} is a number, not {value}")
    if abs(value) > most:
      raise UserError(f"{where} is at {'least -' if value < 0 else 'most '}{most:,g}, not {value:g}")


def _check_text(where: str, text: str) -> None:
  if len(text) > _TEXT:
    raise UserError(f"{where} is a text of {len(text):,} characters; at most {_TEXT:,} are taken")
  if "\0" in text or not is_writable(text):
    raise UserError(f"{where} holds a character that no file can hold, {text[:80]!a}; write it without")


def _shown(value: int) -> str:
  """A number of thousands of digits is not written out, which Python refuses to do."""
  limit = 10**40
  return f"{value:,}" if abs(value) < limit else f"a number of {int(math.log10(abs(value))) + 1:,} digits"


def check_set_size(where: str, classes: int, own: Sampling) -> None:
  """Of a set that is drawn: its plan is held in memory."""
  images = classes * own.images_per_class
  if images > _MOST_IMAGES:
    raise UserError(
      f"{where}: images_per_class {own.images_per_class:,} of {classes:,} classes are {images:,} images; a set has "
      f"at most {_MOST_IMAGES:,}"
    )
  if images > _MOST_SHARDS * own.images_per_shard:
    raise UserError(
      f"{where}: {images:,} images make more than {_MOST_SHARDS:,} shards; raise images_per_shard from "
      f"{own.images_per_shard:,}"
    )
