"""Texts reach CLIP's vocabulary as CLIP's trainers cleaned them; the oracles are their own steps, and transformers'."""

import html
import itertools
import json
import random
import time

import ftfy
import numpy as np
import pytest
import regex
from transformers import CLIPTokenizer, CLIPTokenizerFast

from synthjax.encoders.clip import Clip
from synthjax.small_world import weights as embedded
from synthjax.weights import clean_text, tokenizer

FOLDER = embedded.folder("embedded:clip")
MAX = 400
PARTS = (
  "crane", "“crane”", "‘crane’", "crane’s", "„crane“", "«crane»", "crane &amp; heron", "crane & heron", "&lt;crane&gt;",
  "<b>crane</b> &amp; heron", "&amp;amp; crane", "&#8220;crane&#8221;", "<i> &ldquo;crane&rdquo;", "AT&T crane",
  "crane&nbsp;heron", "&copy crane", "&notacharacter; crane", "&#x1F600; crane", "e&#769;gret", "<p> e&#769;gret",
  "ｃｒａｎｅ", "ＣＲＡＮＥ　２３", "ｶﾞﾝ crane", "＆amp; crane", "cafÃ© crane", "â€œcraneâ€\x9d", "craneâ€™s", "Ã¼ber crane",
  "l’humanitÃ©", "ðŸ˜€ crane", "cafe\u0301", "café", "CAFÉ", "E\u0301GRET", "A\u030angstro\u0308m", "ﬁve ﬂamingos", "oﬃce", "ĳs",
  "İstanbul", "ISTANBUL ı", "ΟΔΥΣΣΕΥΣ", "ΣΑΣ crane", "STRASSE ẞ ß", "J\u030car", "H\u0331at", "Ω Å K", "ǅungla", "ﬀ", "😀 crane",
  "👩\u200d👩\u200d👧 crane", "🇩🇪 crane", "👍🏽", "crane\u00a0heron", "crane\u2009heron", "crane\u3000heron", "crane\u200bheron",
  "crane\u200d", "\ufeffcrane", "cra\u00adne", "\u202ecrane\u202c", "\u2066crane\u2069", "crane\nheron", "crane\r\nheron",
  "crane\rheron", "crane\theron", "crane\x0bheron", "crane\x0cheron", "crane\x85heron", "crane\u2028heron", "crane\u2029heron",
  "\x1b[31mcrane\x1b[0m", "crane\x00", "crane\x07", "crane\x1fheron", "crane\x7f", "  crane   heron  ", "", "   ", "\n",
  "it's we'll I'M they'd YOU'VE", "don’t", "99 % of 3½ m², 10³", "½ ⅔ Ⅷ ①", "...", "…crane", "crane!!!", "crane?!", "–crane—",
  "#crane @heron _x_ ~y~", "crane|heron", "<|crane|>", "鶴", "鹤在飞", "つる", "ツル", "두루미", "журавль", "ЖУРАВЛЬ", "कुरजां", "นกกระเรียน",
  "كركي", "עגור", "𝒸𝓇𝒶𝓃𝑒", "Ｃrane", "crane™ ®", "№ 5", "ŒUVRE œuvre", "Æ æ", "ﷺ", "¿Qué?", "naïve façade", "ÿ", "\u0301crane",
  "cr\u0336ane", "Z̷̢a̵l̶g̸o̶", "a\ufffdb", "\ue000crane", "crane\ufe0f", "\U000e0067crane", "'crane'", '"crane"', "`crane´", "′crane″",
)  # fmt: skip
FRAMES = ("{}", "a photo of a {}", "a photo of a {}, in “white” on a dark board", "A {} & a {}")
TEXTS = [frame.replace("{}", part) for part in PARTS for frame in FRAMES]


@pytest.fixture(scope="module")
def clip():
  return Clip(FOLDER)


def ids_of(clip, texts) -> list[list[int]]:
  """Without the padding, and without the marks of start and end."""
  tokens = tokenizer.tokenize(clip._tokenizer, texts, MAX)
  return [row[1 : n - 1].tolist() for row, n in zip(tokens.ids, tokens.lengths, strict=True)]


class Reference:
  """OpenAI's simple_tokenizer, step by step, on the files of a folder. A special token's name is a text here."""

  def __init__(self, folder):
    self.vocabulary = json.loads((folder / "vocab.json").read_text())
    merges = (folder / "merges.txt").read_text().split("\n")[1:-1]
    self.ranks = {tuple(m.split()): i for i, m in enumerate(merges)}
    self.letters = tokenizer._byte_letters()
    self.pieces = regex.compile(
      r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+", regex.IGNORECASE
    )

  def __call__(self, text: str) -> list[int]:
    text = html.unescape(html.unescape(ftfy.fix_text(text))).strip()
    text = regex.sub(r"\s+", " ", text).strip().lower()
    return [i for piece in self.pieces.findall(text) for i in self._ids(piece)]

  def _ids(self, piece: str) -> list[int]:
    word = [self.letters[b] for b in piece.encode()]
    word[-1] += "</w>"
    while pairs := [p for p in itertools.pairwise(word) if p in self.ranks]:
      best, joined = min(pairs, key=self.ranks.__getitem__), []
      while word:
        n = 2 if tuple(word[:2]) == best else 1
        joined.append("".join(word[:n]))
        word = word[n:]
      word = joined
    return [self.vocabulary[w] for w in word]


def test_tokens_are_those_of_openais_tokenizer(clip):
  reference = Reference(FOLDER)
  assert len(set(TEXTS)) > 400
  for text, ours in zip(TEXTS, ids_of(clip, TEXTS), strict=True):
    assert ours == reference(text), ascii(text)


def test_tokens_are_those_of_a_diffusers_pipeline(clip):
  """Its tokenizer is transformers' slow one, with ftfy. That unescapes entities only where no `<` stands before them."""
  slow = CLIPTokenizer.from_pretrained(FOLDER)
  assert slow.fix_text is not None
  same = [t for t in TEXTS if html.unescape(ftfy.fix_text(t)) == ftfy.fix_text(t)]
  assert len(set(same)) > 350
  for text, ours in zip(same, ids_of(clip, same), strict=True):
    assert ours == slow(text)["input_ids"][1:-1], ascii(text)


def test_what_ftfy_leaves_alone_takes_the_short_way():
  """Plain ASCII is most of a million prompts, and ftfy takes 30 microseconds for each."""
  seeded = random.Random(0)
  letters = [chr(i) for i in range(128)]
  for _ in range(3000):
    text = "".join(seeded.choices(letters, k=seeded.randint(0, 9)))
    whole = " ".join(html.unescape(html.unescape(ftfy.fix_text(text))).split()).lower()
    assert clean_text.clean_text(text) == whole, ascii(text)


@pytest.mark.parametrize(
  "name", ["<|endoftext|>", "<|startoftext|>", "<|EndOfText|>", "&lt;|endoftext|>", "＜|endoftext|＞"]
)
def test_a_special_tokens_name_in_a_text_is_words(clip, name):
  first, second, words = ids_of(clip, [f"crane {name} heron", f"crane {name}! egret", f"crane {name}"])
  special = {clip._tokenizer.bos_token_id, clip._tokenizer.eos_token_id}
  assert not special & {*first, *second} and first[: len(words)] == words and first != words
  assert words == Reference(FOLDER)(f"crane {name}")


def test_a_text_is_altered_exactly_if_its_tokens_were_others_before(clip):
  """`before` is what every release up to this rule did: the fast tokenizer as it is published."""
  before = CLIPTokenizerFast.from_pretrained(FOLDER)
  texts = [
    *TEXTS,
    "x <|endoftext|> y",
    "<|startoftext|>",
    "<|STARTOFTEXT|> x",
    " a  photo\n",
    "Crane",
    "naïve",
  ]
  for text, now in zip(texts, ids_of(clip, texts), strict=True):
    assert clean_text.is_altered(text) == (now != before(text)["input_ids"][1:-1]), ascii(text)
  altered = sum(map(clean_text.is_altered, texts))
  assert 150 < altered < len(texts) - 150


def test_lengths_are_those_of_the_cleaned_text(clip):
  raw, clean = clip.tokenize(["crane &amp;&quot;&#8217;", "crane &\"'"]).lengths
  assert raw == clean


@pytest.mark.parametrize("normalized", [False, True])
def test_tokens_that_a_folder_adds_are_found_as_before(tmp_path, normalized):
  """Those of textual inversion."""
  size = tokenizer.write(tmp_path)
  added = dict(content="<Cat-Toy>", lstrip=False, rstrip=False, single_word=False, special=False)
  body = {"added_tokens_decoder": {str(size): added | {"normalized": normalized}}}
  (tmp_path / "tokenizer_config.json").write_text(json.dumps(body))
  texts = ["A <Cat-Toy> here", "a <cat-toy> here"]
  before = CLIPTokenizerFast.from_pretrained(tmp_path)(texts)["input_ids"]
  tokens = tokenizer.tokenize(tokenizer.read(tmp_path, "diffusers"), texts, MAX)
  assert [row[:n].tolist() for row, n in zip(tokens.ids, tokens.lengths, strict=True)] == before
  assert [size in row for row in before] == [True, normalized]


@pytest.mark.alone
@pytest.mark.slow
def test_a_plain_prompt_is_clean_within_microseconds():
  texts = [f"a photo of a scanned heavy digit {i}, in white on a dark board" for i in range(20_000)]
  began = time.perf_counter()
  assert not any(map(clean_text.is_altered, texts))
  assert np.char.equal([clean_text.clean_text(t) for t in texts], texts).all()
  assert (time.perf_counter() - began) / len(texts) < 20e-6
