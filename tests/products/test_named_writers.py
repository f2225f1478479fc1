"""Pages, plans and rows name word lists, so that nobody takes them for a language model's sentences."""

import json

import pytest

from synthjax import study
from synthjax.disk import workdir
from synthjax.products.report import Report
from synthjax.spec import config as fields_of
from synthjax.spec import validation
from synthjax.spec.command import Command
from tests.pages.test_report import words


def written_by(writer: str, digits):
  """A study of seconds, whose images are of a prompt list by this writer."""
  config = digits(images_per_class=2)
  config.prompts.LE.writer = writer
  del config.arms["LE+CF+SCE"]
  config.learning.update(model="resnet-mini", size=16, batch=8, steps=1)
  config.learners.net = fields_of.learner("LE")
  config.seeds = 1
  validation.check(config)
  return config


def drawn(config, root) -> str:
  """The page's words while nothing is there yet."""
  report = study.design(config, workdir.open_workdir(str(root))).get(Report)
  report.render(refresh_seconds=0)
  return words(report.page.read_text())


def test_words_are_named_in_plan_and_page(digits, tmp_path, capsys):
  config, root = written_by("words", digits), tmp_path / "w"
  study.run(Command(config, str(root), plan=True))
  assert "prompts (LE: words)" in capsys.readouterr().out
  page = drawn(config, root)
  assert "LE (LE: words, sentences of word lists and not of a language model)" in page
  assert "prompts.LE.writerwords" in page


@pytest.mark.parametrize("writer", ["", "grammar"])
def test_the_grammar_is_named_where_it_always_was(digits, tmp_path, capsys, writer):
  config = written_by(writer, digits)
  config.prompts.gloss = fields_of.prompt_list("gloss", labels="cifar10")
  config.sets.gloss = fields_of.image_set("gloss")
  study.run(Command(config, str(tmp_path / "w"), plan=True))
  assert "(LE" not in capsys.readouterr().out
  page = drawn(config, tmp_path / "w")
  assert "prompts.LE.writergrammar" in page and "prompts.gloss.strategygloss" in page
  assert "prompts.gloss.writer" not in page and "word lists" not in page


@pytest.mark.slow
def test_words_are_named_in_rows(digits, tmp_path):
  root = tmp_path / "w"
  study.run(Command(written_by("words", digits), str(root)))
  rows = [json.loads(line) for line in (root / "results.jsonl").read_text().splitlines()]
  assert {(row["arm"], row.get("prompts")) for row in rows} == {
    ("zero-shot", None),
    ("LE+CE", "LE: words"),
    ("net", "LE: words"),
  }
  prompts = (root / "prompts/LE/prompts.jsonl").read_text()
  assert '"text": "a photo of a' in prompts and '"origin": "LE: words, a photo of {}"' in prompts
