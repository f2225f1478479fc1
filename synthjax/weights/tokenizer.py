"""CLIP's tokenizers (vocab.json, merges.txt): read, or written, of bytes alone or of given words."""

from __future__ import annotations

import collections
import dataclasses
import itertools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from synthjax.models.flax_classes import CLIPTokenizerFast
from synthjax.runtime.errors import UserError
from synthjax.weights.clean_text import in_words
from synthjax.weights.read import read_json

START, END = "<|startoftext|>", "<|endoftext|>"
_SINGLE_TOKENS = 2 * 256 + 2  # of a byte-level vocabulary; all others come by merges


@dataclasses.dataclass(frozen=True)
class Tokens:
  """Tokenised texts; `lengths` counts the tokens before anything was cut."""

  ids: np.ndarray  # [n, max_tokens] int32
  lengths: np.ndarray  # [n]


def read(folder: Path, layout: str) -> CLIPTokenizerFast:
  """`layout` is whose the folder should be, for the error."""
  for name in ("vocab.json", "merges.txt"):
    if not (folder / name).exists():
      raise UserError(f"weights: {folder / name} is missing; the folder must have {layout}' layout")
  merges = (folder / "merges.txt").read_bytes().count(b"\n") - 1  # a head line
  if merges < len(read_json(folder / "vocab.json")) - _SINGLE_TOKENS:
    raise UserError(
      f"weights: {folder / 'merges.txt'} is not readable: it ends early, at {merges} merges; fetch it again"
    )
  try:
    found = CLIPTokenizerFast.from_pretrained(str(folder), local_files_only=True)
    # Texts come to it clean; composed once more, as the published files have it, a few would be others.
    found.backend_tokenizer.normalizer = None
    tokenize(found, ["a"], _SINGLE_TOKENS)  # which fails where an odd value of tokenizer_config.json is used
  except Exception as e:
    raise UserError(
      f"weights: {folder} is not readable ({type(e).__name__}: {' '.join(str(e).split())[:120]}); fetch it again"
    ) from e
  return found


def tokenize(tokenizer: CLIPTokenizerFast, texts: Sequence[str], max_tokens: int) -> Tokens:
  """Of a tokenizer that `read` has read."""
  cased = _cased(tokenizer)
  clean = [_clean(text, cased) for text in texts]
  lengths = np.array([len(ids) for ids in tokenizer(clean).input_ids])
  cut = tokenizer(clean, padding="max_length", truncation=True, max_length=max_tokens)
  return Tokens(np.array(cut.input_ids, np.int32), lengths)


def _cased(tokenizer: CLIPTokenizerFast) -> list[str]:
  """Tokens that a folder adds to CLIP's, for textual inversion, and that are looked for in texts as they are written."""
  added = tokenizer.added_tokens_decoder.values()
  return [t.content for t in added if not t.normalized and t.content != t.content.lower()]


def _clean(text: str, cased: Sequence[str]) -> str:
  clean = in_words(text)
  for token in cased:
    if token in text:
      clean = clean.replace(token.lower(), token)
  return clean


def write(folder: Path, words: Iterable[str] = ()) -> int:
  """Returns the size of the vocabulary. Each given word (lower-case ASCII) becomes one token, others go by bytes."""
  merges = _learn(sorted(set(words)))
  letters = _byte_letters()
  vocabulary = [*letters, *(letter + "</w>" for letter in letters), *("".join(m) for m in merges), START, END]
  folder.mkdir(parents=True, exist_ok=True)
  (folder / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(vocabulary)}), encoding="utf-8")
  lines = ["#version: 0.2", *(" ".join(m) for m in merges)]
  (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
  return len(vocabulary)


def _learn(words: list[str]) -> list[tuple[str, str]]:
  """Byte-pair merges, until every word is whole: the commonest pair first, of equals the first by name.

  The trainer of `tokenizers` breaks ties by chance: a run that resumed would have read other tokens.
  """
  parts = {word: [*word[:-1], f"{word[-1]}</w>"] for word in words}
  merges = []
  while any(len(p) > 1 for p in parts.values()):
    counts = collections.Counter(pair for p in parts.values() for pair in itertools.pairwise(p))
    merges.append(min(counts, key=lambda pair: (-counts[pair], pair)))
    parts = {word: _merged(p, merges[-1]) for word, p in parts.items()}
  return merges


def _merged(parts: list[str], pair: tuple[str, str]) -> list[str]:
  merged: list[str] = []
  for part in parts:
    if merged and (merged[-1], part) == pair:
      merged[-1] += part
    else:
      merged.append(part)
  return merged


def _byte_letters() -> list[str]:
  """The printable letter that stands for each byte in byte-level vocabularies."""
  printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
  spare = iter(range(256, 512))
  return [chr(b) if b in printable else chr(next(spare)) for b in range(256)]
