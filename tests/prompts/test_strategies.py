import json
import re

import pytest

from synthjax import study
from synthjax.labels.spaces import LabelSpace, load
from synthjax.prompts import strategies, writers
from synthjax.runtime.errors import UserError
from synthjax.runtime.registry import Registry
from synthjax.spec import config as fields_of
from synthjax.spec.command import Command
from synthjax.spec.fields import Prompts

LABELS = LabelSpace(("n1", "n2"), ("crane", "crane"), templates=("a {}", "the {}"))


def write(labels=LABELS, **fields):
  return strategies.write(Prompts(**fields), labels)


def test_basic_is_the_papers_template():
  assert [(p.class_id, p.text) for p in write(strategy="B").prompts] == [
    ("n1", "a photo of a crane"),
    ("n2", "a photo of a crane"),
  ]
  assert (
    write(strategy="B", template="a centered satellite photo of {}")
    .prompts[0]
    .text.endswith("photo of crane")
  )


def test_templates_are_filled_for_every_class():
  assert [p.text for p in write(strategy="templates").prompts] == ["a crane", "the crane"] * 2


def test_a_template_is_data():
  hostile = LabelSpace(("x",), ("{0.__class__}",))
  assert write(hostile, strategy="B").prompts[0].text == "a photo of a {0.__class__}"


def test_language_enhancement_drops_repeats_and_keeps_what_was_asked():
  written = write(load("digits"), strategy="LE")
  by_class = [[p.text for p in written.prompts if p.class_id == c] for c in load("digits").ids]
  assert all(len(texts) == len(set(texts)) == 200 for texts in by_class)
  assert all(text.startswith("a photo of a ") and "digit 7" in text for text in by_class[7])
  assert not written.notes


def test_a_writer_that_runs_dry_says_so(monkeypatch):
  def three(class_id, name, draws, seed):
    return [writers.Sentence(f"{name} {i % 3}", {}) for i in range(draws)]

  monkeypatch.setattr(writers, "WRITERS", Registry("writer", {"three": three}))
  written = write(strategy="LE", writer="three")
  assert len(written.prompts) == 6
  assert "gave fewer than 200 distinct sentences for 2 classes (fewest: 3 for 'n1')" in written.notes[0]


@pytest.mark.parametrize("name", ["imagenet", "cifar10", "dtd"])
def test_the_grammar_writes_of_glyphs_alone(name):
  with pytest.raises(
    UserError,
    match=r"writer 'grammar' .* \"a photo of a .*\"; use writer 'words', or strategy 'templates' or 'file'",
  ):
    write(load(name), strategy="LE", writer="grammar")


def test_what_else_to_use_where_the_labels_have_no_templates():
  ids = tuple("0123456789")
  numbered = LabelSpace(ids, tuple(f"species {i}" for i in ids))  # ids like digits' are not digits
  with pytest.raises(
    UserError,
    match=r"'species 0' .*; use writer 'words', or strategy 'B', 'templates' with `templates:` in the",
  ):
    write(numbered, strategy="LE", writer="grammar")
  assert len(write(LabelSpace(ids, ids), strategy="B").prompts) == 10


@pytest.mark.parametrize("body", ["like: digits\nonly: ['3', '5']", "classes: {n7: digit 7, n8: Letter B}"])
def test_the_grammar_writes_of_a_users_glyphs(tmp_path, body):
  (tmp_path / "labels.yaml").write_text(body)
  assert len(write(load(str(tmp_path / "labels.yaml")), strategy="LE", per_class=3).prompts) == 6


def test_the_grammar_is_seeded_and_pinned():
  """The sentences are part of every image's identity: they may not change with Python or with this file."""
  assert writers.grammar("3", "digit 3", 2, 0) == writers.grammar("3", "digit 3", 3, 0)[:2]
  assert writers.grammar("3", "digit 3", 1, 0) != writers.grammar("3", "digit 3", 1, 1)
  assert writers.grammar("3", "digit 3", 1, 0)[0].text == (
    "scanned digit 3, in red on grey paper, seen from afar"
  )
  sentences = writers.grammar("3", "digit 3", 400, 0)
  scans = [s.parts for s in sentences if s.parts["style"] == "scanned"]
  negatives = [p for p in scans if (p["ink"], p["ground"]) == ("white", "a dark board")]
  assert 170 < len(scans) < 230 and 0.65 * len(scans) < len(negatives) < 0.85 * len(scans)


@pytest.mark.parametrize("name", ["p.jsonl", "p.tsv"])
def test_a_users_file_with_repeat_counts(tmp_path, name):
  rows = [("n2", "a crane lifts", 1), ("n1", "a crane flies", 3), ("n1", "a grey crane", 1)]
  lines = {
    "p.jsonl": [json.dumps({"class": c, "prompt": t, "repeat": n}) for c, t, n in rows],
    "p.tsv": [f"{c}\t{t}\t{n}" if n > 1 else f"{c}\t{t}" for c, t, n in rows],
  }[name]
  (tmp_path / name).write_text("\n".join(lines) + "\n\n")
  prompts = write(strategy="file", file=str(tmp_path / name)).prompts
  assert [(p.class_id, p.text, p.repeat) for p in prompts] == [rows[1], rows[2], rows[0]]
  assert strategies.read_list("".join(p.to_line() + "\n" for p in prompts)) == prompts


@pytest.mark.parametrize(
  ("text", "said"),
  [
    ("n1\ta crane", "1 classes have no prompt ('n2')"),
    ("n1\ta\nn3\tb", "line 2: no class 'n3' (known: n1, n2)"),
    ("n1", "line 1: expected class id, tab, prompt"),
    ("n1\ta\t0", "repeat count is a whole number from 1"),
    ("n1\ta\t\u00b2", "repeat count is a whole number from 1 to 10,000,000, not '\u00b2'"),
    ("n1\ta\t1000000000000", "repeat count is a whole number from 1 to 10,000,000"),
    ("n1\ta\t" + "9" * 5000, "repeat count is a whole number from 1 to 10,000,000"),
    ("n1\ta\t9000000\nn2\tb\t9000000", "with repeats it has more than 10,000,000 prompts"),
    ("n1\t ", "the prompt is empty"),
  ],
)
def test_a_wrong_file_is_one_line(tmp_path, text, said):
  (tmp_path / "p.tsv").write_text(text)
  with pytest.raises(UserError) as e:
    write(strategy="file", file=str(tmp_path / "p.tsv"))
  assert said in str(e.value) and "\n" not in str(e.value)


def test_unknown_strategies_and_writers_name_their_neighbours():
  with pytest.raises(UserError, match=r"prompt strategy 'template'.*did you mean 'templates'"):
    write(strategy="template")
  with pytest.raises(UserError, match="did you mean 'grammar'"):
    write(strategy="LE", writer="gramar")
  with pytest.raises(UserError, match=r"has no \{\}"):
    write(strategy="B", template="a photo")


@pytest.mark.parametrize(
  ("line", "said"),
  [
    ("[" * 100_000, "line 1 is not readable JSON"),
    ('{"class": "n1", "prompt": "half \\ud83d"}', "line 1 is not readable JSON"),
    ('{"class": "n1", "prompt": "a", "repeat": ' + "9" * 5000 + "}", "line 1 is not readable JSON"),
    ('{"class": "n1", "prompt": "a", "repeat": 1e12}', "repeat count is a whole number"),
    ('{"class": "n1", "prompt": ["a", "b"]}', "line 1: expected"),
    ("3", "line 1: expected"),
  ],
)
def test_hostile_lines_of_json_are_one_line(tmp_path, line, said):
  (tmp_path / "p.jsonl").write_text(line + "\n")
  with pytest.raises(UserError) as e:
    write(strategy="file", file=str(tmp_path / "p.jsonl"))
  assert said in str(e.value) and "\n" not in str(e.value)


@pytest.mark.parametrize(
  ("fields", "said"),
  [
    (dict(strategy="template"), "did you mean 'templates'"),
    (dict(strategy="templates"), "the label space has none"),
    (dict(strategy="LE", writer="gramar"), "did you mean 'grammar'"),
    (dict(strategy="B", template="a photo"), "has no {}"),
    (dict(strategy="file"), "needs a file"),
    (dict(strategy="file", file="/no/such.tsv"), "does not exist; fix its path"),
    (dict(strategy="file", file="/dev/zero"), "is a device; name a regular file"),
  ],
)
def test_what_a_list_cannot_be_made_of_is_told_before_anything_is_made(tmp_path, fields, said):
  """Stage train comes first, and takes hours."""
  (tmp_path / "labels.yaml").write_text("classes: {'0': digit 0, '1': digit 1}\n")
  config = fields_of.study_config(str(tmp_path / "labels.yaml"))
  config.networks.clip = fields_of.network("contrast")
  config.prompts.P = fields_of.prompt_list(**fields)
  for plan in (True, False):
    with pytest.raises(UserError, match=re.escape(said)):
      study.run(Command(config, str(tmp_path / "w"), plan=plan))
  assert not (tmp_path / "w").exists()


def test_line_separators_inside_a_sentence_survive(tmp_path):
  (tmp_path / "p.tsv").write_bytes("n1\ta crane\u2028at dawn\r\nn2\tb\r\n".encode())
  prompts = write(strategy="file", file=str(tmp_path / "p.tsv")).prompts
  assert [p.text for p in prompts] == ["a crane\u2028at dawn", "b"]
  assert strategies.read_list("".join(p.to_line() + "\n" for p in prompts)) == prompts


def test_sentences_of_a_file_are_language_enhancement_too(tmp_path):
  """Such as the published lists: `a photo of {sentence}`, exact repeats dropped, in the file's order."""
  file = tmp_path / "sentences.tsv"
  file.write_text("b\ta B on a wall\na\tan A\t2\na\tan A in red\nb\ta B\n")
  labels = LabelSpace(("a", "b"), ("A", "B"))
  fields = Prompts(strategy="LE", writer=f"file:{file}", draws=3, per_class=2)
  written = strategies.write(fields, labels)
  assert [(p.class_id, p.text) for p in written.prompts] == [
    ("a", "a photo of an A"),
    ("a", "a photo of an A in red"),
    ("b", "a photo of a B on a wall"),
    ("b", "a photo of a B"),
  ]
  assert {p.origin for p in written.prompts} == {"LE: file:sentences.tsv, a photo of {}"}
  moved = tmp_path / "elsewhere.tsv"
  moved.write_bytes(file.read_bytes())
  first, same = (
    strategies.identity(fields, labels),
    strategies.identity(Prompts(strategy="LE", writer=f"file:{moved}", draws=3, per_class=2), labels),
  )
  assert first == same and first["writer"] == "file"
  with pytest.raises(UserError, match="no such file; name one with lines of class id"):
    strategies.write(Prompts(strategy="LE", writer="file:nowhere.tsv"), labels)
  file.write_text("c\tx\n")
  with pytest.raises(UserError, match="line 1: no class 'c'"):
    strategies.write(fields, labels)
