"""A language model's tokenizer: tokenizer.json, or T5's spiece.model, made into the same kind without sentencepiece."""

from __future__ import annotations

import dataclasses
import types
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from synthjax.disk import documents, regular_files
from synthjax.runtime.errors import UserError, of_library
from synthjax.weights import read

JSON, SPIECE, CONFIG, SPECIAL = (
  "tokenizer.json",
  "spiece.model",
  "tokenizer_config.json",
  "special_tokens_map.json",
)
_SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
# What transformers joins again where a config asks for it.
_JOINED = (" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're")


@dataclasses.dataclass(frozen=True)
class Tokens:
  tokenizer: Tokenizer
  special: dict[str, str]  # bos_token, eos_token, ... as templates of chats know them
  marks: tuple[str, ...]  # texts that are read as special tokens wherever they stand
  joins: bool

  def ids(self, texts: Sequence[str], add_special: bool) -> list[list[int]]:
    return [
      found.ids for found in self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=add_special)
    ]

  def text(self, ids: Sequence[int]) -> str:
    """Without special tokens."""
    text = self.tokenizer.decode(list(ids), skip_special_tokens=True)
    if self.joins:
      for apart in _JOINED:
        text = text.replace(apart, apart.strip())
    return text


def read_tokens(folder: Path, vocabulary: int) -> Tokens:
  """`vocabulary` is the network's: the tokenizer may know no more tokens."""
  config = read.read_json(folder / CONFIG) if (folder / CONFIG).exists() else {}
  file = folder / (JSON if (folder / JSON).exists() or not (folder / SPIECE).exists() else SPIECE)
  if not file.exists():
    raise UserError(
      f"weights: {file} is missing, and so is {SPIECE}; fetch the folder again, with its tokenizer"
    )
  with of_library(lambda why: f"weights: {file} is no tokenizer that can be read ({why}); fetch it again"):
    tokenizer = _of_json(file) if file.name == JSON else _of_spiece(file, config)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    largest = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)
    _check_encodes(tokenizer)
  if not 0 <= largest < vocabulary:
    raise UserError(
      f"weights: {file} has tokens up to {largest}, its config.json {vocabulary} of them; fetch both again"
    )
  _check_added(file, config, tokenizer)
  named = (read.read_json(folder / SPECIAL) if (folder / SPECIAL).exists() else {}) | config
  special = {key: text for key in _SPECIAL if (text := _content(named.get(key)))}
  marks = tuple(token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special)
  return Tokens(tokenizer, special, marks, config.get("clean_up_tokenization_spaces") is True)


def _of_json(file: Path) -> Tokenizer:
  return Tokenizer.from_str(documents.read_text(file, f"weights: {file}", "fetch it again"))


def _of_spiece(file: Path, config: dict[str, Any]) -> Tokenizer:
  """As transformers makes T5's fast tokenizer of it."""
  from transformers.convert_slow_tokenizer import T5Converter

  regular_files.check(file)
  extra = config.get("extra_ids", 100)
  slow = types.SimpleNamespace(vocab_file=str(file), legacy=config.get("legacy") is not False)
  slow._extra_ids = extra if type(extra) is int and 0 <= extra <= 10_000 else 100
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # that bytes have no tokens of their own
    converter = T5Converter(slow)
    proto: Any = converter.proto
    pieces = [piece.piece for piece in proto.pieces]
    slow.convert_tokens_to_ids = pieces.index
    tokenizer = converter.converted()
  tokenizer.add_special_tokens([piece for piece in ("</s>", "<unk>", "<pad>") if piece in pieces])
  tokenizer.add_special_tokens([f"<extra_id_{i}>" for i in range(slow._extra_ids)])
  return tokenizer


def _check_encodes(tokenizer: Tokenizer) -> None:
  """A panic of the library's Rust is no Exception."""
  try:
    tokenizer.decode(tokenizer.encode("a 1").ids)
  except BaseException as e:
    if type(e).__name__ != "PanicException":
      raise
    raise ValueError(str(e)) from None


def _check_added(file: Path, config: dict[str, Any], tokenizer: Tokenizer) -> None:
  """The config may list tokens, which the tokenizer must have: no text would hold them."""
  added = config.get("added_tokens_decoder") or {}
  for key, about in added.items() if isinstance(added, dict) else ():
    content = _content(about)
    if content and str(tokenizer.token_to_id(content)) != key:
      raise UserError(
        f"weights: {file} does not have the token {content[:80]!r} as number {key[:20]}, as {CONFIG} has it; fetch both again"
      )


def _content(value: Any) -> str:
  """A token's text, which stands alone or with how it is looked for."""
  text = value.get("content") if isinstance(value, dict) else value
  return text if isinstance(text, str) else ""
