"""Writes byte-level tokenizers in CLIP's file format (vocab.json, merges.txt): of bytes alone, or of given words."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

START, END = "<|startoftext|>", "<|endoftext|>"


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
  """Byte-pair merges, until every word is whole."""
  if not words:
    return []
  tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
  tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
  trainer = trainers.BpeTrainer(
    vocab_size=100_000, min_frequency=1, end_of_word_suffix="</w>", show_progress=False
  )
  tokenizer.train_from_iterator(words, trainer)
  return [tuple(m) for m in json.loads(tokenizer.to_str())["model"]["merges"]]


def _byte_letters() -> list[str]:
  """The printable letter that stands for each byte in byte-level vocabularies."""
  printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
  spare = iter(range(256, 512))
  return [chr(b) if b in printable else chr(next(spare)) for b in range(256)]
