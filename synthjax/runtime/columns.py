"""How wide a terminal shows a text."""

from __future__ import annotations

import unicodedata


def columns(text: str) -> int:
  """How wide a terminal shows it: Chinese, Japanese and Korean characters take two columns, accents none."""
  return sum(_columns_of(character) for character in text)


def cut(text: str, width: int) -> str:
  """As much of it as fits."""
  used = 0
  for i, character in enumerate(text):
    used += _columns_of(character)
    if used > width:
      return text[:i]
  return text


def _columns_of(character: str) -> int:
  if unicodedata.category(character) in ("Mn", "Me", "Cf"):
    return 0
  return 2 if unicodedata.east_asian_width(character) in "WF" else 1
