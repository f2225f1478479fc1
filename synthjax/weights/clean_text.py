"""What CLIP's trainers did to a text before it was tokenised, OpenAI and OpenCLIP alike; so do Stable Diffusion's.

Broken encodings are repaired, typographic quotes straightened, ligatures and full-width letters taken apart (ftfy's
rules), HTML entities read, white space collapsed, upper case lowered. transformers' fast tokenizer knows the last two.
"""

from __future__ import annotations

import functools
import html
import re

import ftfy
from tokenizers import Regex, normalizers

# What ftfy leaves as it is: ASCII but for `&`, with which entities begin, and for control characters.
_PLAIN = re.compile(r"[\t\n\f\r -%'-~]*")
_SPECIAL = re.compile(r"<\|(?=(?:start|end)oftext\|>)")
# All that was done before texts were cleaned: what the published files of fast tokenizers say.
_BEFORE = normalizers.Sequence(
  [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
)


def clean_text(text: str) -> str:
  """As OpenAI's tokenizer cleans it."""
  if not _PLAIN.fullmatch(text):
    text = _fixed(text)
  return " ".join(text.split()).lower()


@functools.lru_cache(
  maxsize=2**16
)  # 100 microseconds each; an image set asks for each of its prompts many times
def _fixed(text: str) -> str:
  return html.unescape(html.unescape(ftfy.fix_text(text)))


def in_words(text: str) -> str:
  """Cleaned, and with nothing in it that the vocabulary takes for a special token.

  OpenAI's tokenizer lets `<|endoftext|>` in a text end it, and what follows is never read; in OpenCLIP's it is three
  words like any others. A prompt is data, so it is here as there. A space keeps them apart, which is no word.
  """
  return _SPECIAL.sub("<| ", clean_text(text))


def is_altered(text: str) -> bool:
  """Whether the text's tokens are other ones since texts are cleaned."""
  if "<|" not in text and _PLAIN.fullmatch(text):
    return False
  return in_words(text) != _BEFORE.normalize_str(text).strip(" ")
