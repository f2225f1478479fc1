"""Texts become transformers' tokens and texts again; T5's spiece.model is read without sentencepiece."""

import json
import sys

import pytest

from synthjax.language.tokens import read_tokens
from tests.conftest import said_of
from tests.language import folders

TEXTS = [
  "a photo of an ant, the bee.",
  " a  cat ",
  "Zwölf 99 %",
  "<|im_end|> a</s><think>b</think>",
  "",
  "▁a",
]
CHARACTERS = 4


@pytest.mark.parametrize("kind", ["qwen3", "t5"])
@pytest.mark.parametrize("joins", [False, True])
def test_tokens_are_transformers(tmp_path, kind, joins):
  from transformers import PreTrainedTokenizerFast

  folder = getattr(folders, kind)(tmp_path / kind)
  about = dict(clean_up_tokenization_spaces=joins, eos_token="</s>" if kind == "t5" else folders.STOP)
  (folder / "tokenizer_config.json").write_text(json.dumps(about))
  theirs = PreTrainedTokenizerFast.from_pretrained(folder)
  own = read_tokens(folder, 300)
  for add in (False, True):
    ids = own.ids(TEXTS, add)
    assert ids == theirs(TEXTS, add_special_tokens=add).input_ids
    assert [own.text(i) for i in ids] == theirs.batch_decode(ids, skip_special_tokens=True)
  assert own.text(own.ids(["a . the , o"], False)[0]) == ("a. the, o" if joins else "a . the , o")


def spiece(file, pieces=folders.WORDS, **about) -> None:
  """A model as sentencepiece writes it."""
  from transformers.utils import sentencepiece_model_pb2_new as format_

  proto = format_.ModelProto()
  for text, kind in (("<pad>", 3), ("</s>", 3), ("<unk>", 2)):
    proto.pieces.add(piece=text, score=0, type=kind)
  for i, text in enumerate(pieces):
    proto.pieces.add(piece=text, score=-1 - i / 10, type=1)
  proto.trainer_spec.model_type = about.get("model_type", 1)
  proto.trainer_spec.unk_id = 2
  file.write_bytes(proto.SerializeToString())


def test_spiece_without_sentencepiece(tmp_path, monkeypatch):
  """The tokens are those of the tokenizer.json that has the same pieces, and T5's hundred more behind them."""
  monkeypatch.setitem(sys.modules, "sentencepiece", None)
  folder = folders.t5(tmp_path / "t5")
  of_json = read_tokens(folder, 300)
  (folder / "tokenizer.json").unlink()
  spiece(folder / "spiece.model")
  own = read_tokens(folder, 300)
  plain = ["a photo of an ant, the bee.", "a cat</s>", "9", ""]
  assert own.ids(plain, True) == of_json.ids(plain, True)
  assert own.ids([" a  cat "], True) == of_json.ids(["a cat"], True)  # white space is not kept
  extra = len(folders.WORDS) + 3 + 99
  assert own.ids(["the <extra_id_0> cat"], True) == [[4, extra, 9, 1]]
  assert own.text([4, extra, 9, 1]) == "the cat"
  assert "</s>" in own.marks and "<extra_id_99>" in own.marks


def hostile(tmp_path, change):
  folder = folders.t5(tmp_path / "t5")
  change(folder)
  return said_of(lambda: read_tokens(folder, 96))


# A text ends with a token that is not there: the library panics.
ENDLESS = {
  "type": "TemplateProcessing",
  "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}],
  "pair": [],
  "special_tokens": {},
}


def spoil_json(folder, **change):
  body = json.loads((folder / "tokenizer.json").read_text())
  (folder / "tokenizer.json").write_text(json.dumps(body | change))


@pytest.mark.parametrize(
  ("change", "said"),
  [
    (lambda f: (f / "tokenizer.json").unlink(), "tokenizer.json is missing, and so is spiece.model"),
    (lambda f: (f / "tokenizer.json").write_text("{"), "is no tokenizer that can be read"),
    (lambda f: (f / "tokenizer.json").write_text("[]"), "is no tokenizer that can be read"),
    (lambda f: (f / "tokenizer.json").write_bytes(b"\xff\xfe\x00"), "it is not UTF-8"),
    (
      lambda f: spoil_json(f, model={"type": "Unigram", "vocab": [], "unk_id": 5}),
      "is no tokenizer that can be read",
    ),
    (lambda f: spoil_json(f, model={"type": "Strange"}), "is no tokenizer that can be read"),
    (
      lambda f: spoil_json(f, post_processor=ENDLESS),
      "is no tokenizer that can be read (ValueError: no entry found for key",
    ),
    (lambda f: ((f / "tokenizer.json").unlink(), (f / "tokenizer.json").mkdir()), "is a folder"),
    (
      lambda f: (f / "tokenizer_config.json").write_text(
        '{"added_tokens_decoder": {"40": {"content": "<x>"}}}'
      ),
      "does not have the token '<x>' as number 40",
    ),
    (
      lambda f: ((f / "tokenizer.json").unlink(), (f / "spiece.model").write_bytes(b"\x0a\xff\xff\xff")),
      "spiece.model is no tokenizer that can be read (DecodeError",
    ),
    (
      lambda f: ((f / "tokenizer.json").unlink(), (f / "spiece.model").write_bytes(b"")),
      "spiece.model is no tokenizer that can be read",
    ),
    (
      lambda f: ((f / "tokenizer.json").unlink(), (f / "spiece.model").mkdir()),
      "spiece.model is no tokenizer that can be read",
    ),
    (
      lambda f: ((f / "tokenizer.json").unlink(), spiece(f / "spiece.model", model_type=2)),
      "spiece.model is no tokenizer that can be read",
    ),
    (
      lambda f: ((f / "tokenizer.json").unlink(), spiece(f / "spiece.model")),
      "has tokens up to 119, its config.json 96 of them",
    ),
  ],
)
def test_what_is_no_tokenizer_is_one_line(tmp_path, change, said):
  line = hostile(tmp_path, change)
  assert said in line, line
