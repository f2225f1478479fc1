"""config.json and generation_config.json of a language model: read, and refused where the network would be another one.

Sampling settings that a folder suggests (temperature, top_p, beams) are the caller's to choose, and are not read.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from synthjax.models.qwen3 import Qwen3, Qwen3Config
from synthjax.models.t5 import T5, T5Config
from synthjax.runtime.errors import UserError, nearest
from synthjax.weights import read

CONFIG, GENERATION = "config.json", "generation_config.json"
_CLASSES = {"t5": ("T5ForConditionalGeneration", "T5WithLMHeadModel"), "qwen3": ("Qwen3ForCausalLM",)}
_WIDTH, _DEPTH, _VOCABULARY = 10**5, 200, 10**7
# Counts, and the most that each may be. Those with a default may be missing.
_COUNTS = {
  "t5": {
    "vocab_size": _VOCABULARY,
    "d_model": _WIDTH,
    "d_kv": _WIDTH,
    "d_ff": 10 * _WIDTH,
    "num_layers": _DEPTH,
    "num_decoder_layers": _DEPTH,
    "num_heads": _WIDTH,
    "relative_attention_num_buckets": 1024,
    "relative_attention_max_distance": _WIDTH,
  },
  "qwen3": {
    "vocab_size": _VOCABULARY,
    "hidden_size": _WIDTH,
    "intermediate_size": 10 * _WIDTH,
    "num_hidden_layers": _DEPTH,
    "num_attention_heads": _WIDTH,
    "num_key_value_heads": _WIDTH,
    "head_dim": _WIDTH,
    "max_position_embeddings": _VOCABULARY,
  },
}
_MAY_LACK = {
  "t5": ("num_decoder_layers", "relative_attention_num_buckets", "relative_attention_max_distance"),
  "qwen3": ("head_dim", "num_key_value_heads", "max_position_embeddings"),
}
# What the networks do whatever the file says; anything else is another network. The first is the default.
_ONLY: dict[str, dict[str, tuple[Any, ...]]] = {
  "t5": {
    "feed_forward_proj": ("relu", "gated-gelu"),
    "is_encoder_decoder": (True,),
    "is_decoder": (False,),
    "tie_word_embeddings": (True, False),
    "tie_encoder_decoder": (False,),
  },
  "qwen3": {
    "hidden_act": ("silu",),
    "attention_bias": (False, True),
    "use_sliding_window": (False,),
    "rope_scaling": (None, {"rope_type": "default"}, {"type": "default"}),
    "tie_word_embeddings": (False, True),
    "is_decoder": (False, True),
    "is_encoder_decoder": (False,),
  },
}
_READ = {
  "t5": ("layer_norm_epsilon", "decoder_start_token_id", "dense_act_fn", "is_gated_act"),
  "qwen3": ("rms_norm_eps", "rope_theta", "rope_parameters", "layer_types"),
}
# What changes nothing of what is computed here: training, bookkeeping, other tasks, and how texts are sampled.
_SILENT = frozenset(
  [
    "attention_dropout",
    "bad_words_ids",
    "begin_suppress_tokens",
    "bos_token_id",
    "chunk_size_feed_forward",
    "classifier_dropout",
    "diversity_penalty",
    "do_sample",
    "dropout_rate",
    "dtype",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "eos_token_id",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "gradient_checkpointing",
    "id2label",
    "initializer_factor",
    "initializer_range",
    "label2id",
    "length_penalty",
    "max_length",
    "max_window_layers",
    "min_length",
    "model_type",
    "n_positions",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_past",
    "output_scores",
    "pad_token_id",
    "prefix",
    "problem_type",
    "remove_invalid_values",
    "repetition_penalty",
    "return_dict",
    "return_dict_in_generate",
    "sep_token_id",
    "sliding_window",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers_version",
    "typical_p",
    "use_bfloat16",
    "use_cache",
  ]
)


@dataclasses.dataclass(frozen=True)
class Checkpoint:
  """What a folder's configs say."""

  network: T5 | Qwen3
  vocabulary: int
  ends: tuple[int, ...]  # tokens that end a text
  spare: Mapping[str, str]  # tensors that the files may hold besides; see weights.read


def read_checkpoint(folder: Path, dtype: str) -> Checkpoint:
  file = folder / CONFIG
  kind = read.read_json(file).get("model_type")
  if not isinstance(kind, str) or kind not in _CLASSES:
    shown = repr(kind)[:80]
    raise UserError(
      f"weights: {file} has model_type={shown}; language models are {' or '.join(_CLASSES)}{_near(kind)}"
    )
  config = read.read_config(file, _CLASSES[kind])
  _check(file, kind, config)
  generation = folder / GENERATION
  sampling = read.read_json(generation) if generation.exists() else {}
  vocabulary = config["vocab_size"]
  ends = _ends(file, sampling.get("eos_token_id", config.get("eos_token_id")), vocabulary)
  with read.building(folder):
    if kind == "t5":
      start = sampling.get("decoder_start_token_id", config.get("decoder_start_token_id"))
      return _t5(file, config, dtype, _token(file, "decoder_start_token_id", start, vocabulary), ends)
    return _qwen3(file, config, dtype, ends)


def _near(kind: Any) -> str:
  close = nearest(kind, _CLASSES) if isinstance(kind, str) else ""
  return close if "did you mean" in close else ""


def _t5(file: Path, config: dict[str, Any], dtype: str, start: int, ends: tuple[int, ...]) -> Checkpoint:
  gated = config.get("feed_forward_proj", "relu") == "gated-gelu"
  for key, own in (("is_gated_act", gated), ("dense_act_fn", "gelu_new" if gated else "relu")):
    if config.get(key, own) != own:
      raise _only(file, key, config[key], (own,))
  buckets, distance = (
    config.get(f"relative_attention_{key}", own) for key, own in (("num_buckets", 32), ("max_distance", 128))
  )
  if buckets % 2 or buckets < 4 or distance <= buckets // 2:
    raise UserError(
      f"weights: {file} has {buckets} buckets for distances up to {distance}; their number must be even, and less than "
      "twice the distance"
    )
  tied = config.get("tie_word_embeddings", True)
  network = T5Config(
    config["vocab_size"],
    config["d_model"],
    config["d_ff"],
    config["num_layers"],
    config.get("num_decoder_layers") or config["num_layers"],
    config["num_heads"],
    config["d_kv"],
    start,
    buckets,
    distance,
    _positive(file, config, "layer_norm_epsilon", 1e-6),
    gated,
    tied,
  )
  copies = {f"{name}.weight": "shared.weight" for name in ("encoder.embed_tokens", "decoder.embed_tokens")}
  unread = {
    "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight": ""
  }  # of the first releases
  spare = copies | unread | ({"lm_head.weight": "shared.weight"} if tied else {})
  return Checkpoint(T5(network, dtype), network.vocabulary, ends, spare)


def _qwen3(file: Path, config: dict[str, Any], dtype: str, ends: tuple[int, ...]) -> Checkpoint:
  heads, layers = config["num_attention_heads"], config["num_hidden_layers"]
  key_heads = config.get("num_key_value_heads") or heads
  head_size = config.get("head_dim") or config["hidden_size"] // heads
  if heads % key_heads or head_size % 2:
    raise UserError(
      f"weights: {file} has {heads} heads of {head_size} and {key_heads} of keys; the first must be a multiple of the last, and their size even"
    )
  if (types := config.get("layer_types")) and types != ["full_attention"] * layers:
    raise UserError(
      f"weights: {file} has layer_types other than {layers} times full_attention; sliding windows cannot be computed"
    )
  rope = config.get("rope_parameters") or {}
  if (
    not isinstance(rope, dict)
    or rope.get("rope_type", "default") != "default"
    or rope.keys() - {"rope_type", "rope_theta"}
  ):
    raise _only(file, "rope_parameters", rope, ({"rope_type": "default", "rope_theta": 1e6},))
  tied = config.get("tie_word_embeddings", False)
  network = Qwen3Config(
    config["vocab_size"],
    config["hidden_size"],
    config["intermediate_size"],
    layers,
    heads,
    key_heads,
    head_size,
    config.get("max_position_embeddings", 32768),
    _positive(file, config | rope, "rope_theta", 10000.0),
    _positive(file, config, "rms_norm_eps", 1e-6),
    tied,
    config.get("attention_bias", False),
  )
  spare = {"lm_head.weight": "model.embed_tokens.weight"} if tied else {}
  return Checkpoint(Qwen3(network, dtype), network.vocabulary, ends, spare)


def _check(file: Path, kind: str, config: dict[str, Any]) -> None:
  counts, only = _COUNTS[kind], _ONLY[kind]
  for key, most in counts.items():
    value = config.get(key)
    if value is None and key in _MAY_LACK[kind]:
      config.pop(key, None)
    elif value is None:
      raise UserError(f"weights: {file} lacks {key!r}; fetch it again")
    elif type(value) is not int or not 1 <= value <= most:
      raise UserError(
        f"weights: {file} has {key}={repr(value)[:80]}: it must be a whole number from 1 to {most}; fetch it again"
      )
  for key, known in only.items():
    if key in config and not any(config[key] == own and type(config[key]) is type(own) for own in known):
      raise _only(file, key, config[key], known)
  known = counts.keys() | only.keys() | {*_READ[kind]} | _SILENT
  for key, value in config.items():
    if key not in known and value not in (None, False, {}, [], ""):
      raise UserError(
        f"weights: {file} has {key[:80]}={repr(value)[:80]}, which no network of {kind} has here; take a checkpoint without it"
      )


def _only(file: Path, key: str, value: Any, known: tuple[Any, ...]) -> UserError:
  listed = " or ".join(map(repr, known))
  return UserError(
    f"weights: {file} has {key}={repr(value)[:80]}; only {listed} can be computed; take another model"
  )


def _positive(file: Path, config: Mapping[str, Any], key: str, default: float) -> float:
  value = config.get(key, default)
  if type(value) not in (int, float) or not 0 < value < 1e12 or not math.isfinite(value):
    raise UserError(
      f"weights: {file} has {key}={repr(value)[:80]}; it must be a number above 0; fetch it again"
    )
  return float(value)


def _ends(file: Path, value: Any, vocabulary: int) -> tuple[int, ...]:
  values = value if isinstance(value, list) and value else [value]
  return tuple(_token(file, "eos_token_id", one, vocabulary) for one in values)


def _token(file: Path, key: str, value: Any, vocabulary: int) -> int:
  if type(value) is not int or not 0 <= value < vocabulary:
    raise UserError(
      f"weights: {file} and {GENERATION} have {key}={repr(value)[:80]}; it must be a token, below {vocabulary}; fetch them again"
    )
  return value
