"""What the values of a generator's config.json may be: networks are built by other libraries, which would fail late or hang."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from synthjax.runtime.errors import UserError

_WIDTH, _DEPTH, _MOST_BLOCKS = 10**5, 100, 16
_TEXT = {
  "vocab_size": 10**7,
  "hidden_size": _WIDTH,
  "intermediate_size": 10 * _WIDTH,
  "projection_dim": _WIDTH,
  "max_position_embeddings": _WIDTH,
  "num_hidden_layers": _DEPTH,
  "num_attention_heads": _WIDTH,
}
# The largest count of each key. Only those of _BY_BLOCK may be lists, a count for each block.
_COUNTS: dict[str, dict[str, int]] = {
  "text_encoder": _TEXT,
  "text_encoder_2": _TEXT,
  "unet": {
    "in_channels": _WIDTH,
    "out_channels": _WIDTH,
    "sample_size": _WIDTH,
    "cross_attention_dim": _WIDTH,
    "layers_per_block": _DEPTH,
    "attention_head_dim": _WIDTH,
    "transformer_layers_per_block": _DEPTH,
    "block_out_channels": _WIDTH,
    "addition_time_embed_dim": _WIDTH,
    "projection_class_embeddings_input_dim": _WIDTH,
    "time_cond_proj_dim": _WIDTH,
  },
  "vae": {
    "in_channels": _WIDTH,
    "out_channels": _WIDTH,
    "latent_channels": _WIDTH,
    "sample_size": _WIDTH,
    "layers_per_block": _DEPTH,
    "norm_num_groups": _WIDTH,
    "block_out_channels": _WIDTH,
  },
}
_BY_BLOCK = ("attention_head_dim", "transformer_layers_per_block")
_MAY_BE_NULL = ("addition_time_embed_dim", "projection_class_embeddings_input_dim", "time_cond_proj_dim")
_WIDTHS, _BLOCKS = "block_out_channels", ("down_block_types", "up_block_types")


def check(file: Path, part: str, config: Mapping[str, Any]) -> None:
  widths = config.get(_WIDTHS, [])
  if _WIDTHS in config and not (isinstance(widths, list) and 0 < len(widths) <= _MOST_BLOCKS):
    raise _error(file, config, _WIDTHS, "it must be a list of a count for each block")
  for key in _BLOCKS:
    if key in config and not _is_list_of(config[key], str, len(widths)):
      raise _error(file, config, key, f"it must be a list of {len(widths)} names of blocks, as {_WIDTHS} is")
  for key, most in _COUNTS[part].items():
    if key in config and not (config[key] is None and key in _MAY_BE_NULL):
      _check_counts(file, config, key, most, len(widths))
  if type(end := config.get("eos_token_id", 0)) is not int or not 0 <= end <= _TEXT["vocab_size"]:
    raise _error(file, config, "eos_token_id", "it must be the number of a token")


def _check_counts(file: Path, config: Mapping[str, Any], key: str, most: int, blocks: int) -> None:
  value = config[key]
  if key in _BY_BLOCK and isinstance(value, list) and len(value) != blocks:
    raise _error(file, config, key, f"it must be a count, or a list of {blocks}, as {_WIDTHS} is")
  values = value if isinstance(value, list) and key in (*_BY_BLOCK, _WIDTHS) else [value]
  for one in values:
    if type(one) is not int or not 1 <= one <= most:
      many = " for each block" if key in _BY_BLOCK else " for all blocks" if key.endswith("per_block") else ""
      raise _error(file, config, key, f"it must be a whole number from 1 to {most}{many}")


def _is_list_of(value: Any, kind: type, length: int) -> bool:
  return isinstance(value, list) and len(value) == length and all(isinstance(one, kind) for one in value)


def _error(file: Path, config: Mapping[str, Any], key: str, why: str) -> UserError:
  return UserError(
    f"weights: {file} has {key}={repr(config[key])[:80]}: {why}; fetch it again, or take another model"
  )
