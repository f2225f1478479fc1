"""The example of the documentation: parts that a config file registers are used, and known by the file that defines them."""

import hashlib
import json
from pathlib import Path

import pytest

from synthjax import main
from synthjax.cli import commands
from synthjax.cli.command_line import load_config_file, parse
from synthjax.runtime.errors import UserError
from synthjax.runtime.registry import Registry
from synthjax.spec import tasks
from synthjax.spec.study import resolve

EXAMPLE = Path(__file__).parent.parent / "docs/examples/own_parts.py"


@pytest.fixture(autouse=True)
def groups(monkeypatch):
  """What a file registers stays for the life of a process: later tests' configs would have its task's fields."""
  monkeypatch.setattr(tasks, "GROUPS", Registry("task", tasks.SHIPPED))


@pytest.fixture
def run(tmp_path, capfd):
  file = tmp_path / "own_parts.py"
  file.write_text(EXAMPLE.read_text())

  def run(*flags: str) -> tuple[int, str]:
    code = main.main([f"--config={file}", f"--workdir={tmp_path / 'w'}", *flags])
    return code, capfd.readouterr().err

  return run


def identity(file: Path) -> dict:
  return json.loads(file.read_text())["identity"]


def test_lists_and_keep_lists_are_made_by_registered_parts(run, tmp_path):
  code, said = run("--stages=prompts,import,embed,keep")
  assert code == 0, said
  sha, w = hashlib.sha256(EXAMPLE.read_bytes()).hexdigest(), tmp_path / "w"
  assert identity(w / "prompts/seasons/record.json")["registered"] == {"writer seasons": sha}
  kept = w / "keep/inverted/contrast-clip"
  assert identity(kept / "record.json")["registered"] == {"rule contrast": sha}
  texts = [
    json.loads(line)["text"] for line in (w / "prompts/seasons/prompts.jsonl").read_text().splitlines()
  ]
  assert texts[0] == "a photo of a digit 0 in spring" and len(texts) == 40
  assert 0 < len((kept / "ids.txt").read_text().split()) <= 80


def test_what_another_version_of_the_file_made_is_refused_by_name(run, tmp_path):
  assert run("--stages=prompts")[0] == 0
  with open(tmp_path / "own_parts.py", "a") as file:
    file.write("# another version\n")
  code, said = run("--stages=prompts")
  assert code == 2 and "prompts/seasons" in said and "registered" in said and "Traceback" not in said


@pytest.mark.slow
def test_the_whole_example_runs(run, tmp_path):
  code, said = run()
  assert code == 0, said
  rows = [json.loads(line) for line in (tmp_path / "w/results.jsonl").read_text().splitlines()]
  assert {row["arm"] for row in rows} == {"zero", "inverted+CE", "confident"}
  made = [json.loads(f.read_text()) for f in (tmp_path / "w/runs").glob("*/run.json")]
  (learner,) = [x for x in made if "learner" in x]
  assert [*learner["identity"]["registered"]] == ["task confident"] and learner["identity"]["price"] == 0.2


def test_a_field_of_its_own_is_in_the_learner_s_identity(tmp_path):
  def identity(price: str) -> dict:
    file = tmp_path / "own_parts.py"
    file.write_text(EXAMPLE.read_text().replace(", price=0.2", price))
    return resolve(load_config_file(str(file))).learners["confident"].identity()

  assert identity(", price=0.3") == identity("") | {"price": 0.3} and identity("")["price"] == 0.1


def test_a_flag_sets_a_field_of_its_own_for_one_learner_or_for_all(run, tmp_path):
  assert run("--plan", "--config.learners.confident.price=0.3", "--config.learning.price=0.4")[0] == 0
  command = parse(
    [f"--config={tmp_path / 'own_parts.py'}", f"--workdir={tmp_path}", "--config.learning.price=0.4"]
  )
  assert command.config.learning.price == 0.4 and command.config.learners.confident.price == 0.2


def test_fields_of_its_own_are_looked_up():
  assert "price" not in commands.look_up(["fields", "learning.classify"])
  for flags in (["--config", str(EXAMPLE)], [f"--config={EXAMPLE}"]):
    (where, line) = commands.look_up(["fields", *flags, "learning.confident"]).splitlines()
    assert where.endswith("of task confident, beside those of classify")
    assert line.split() == [
      "price",
      "identity",
      "0.1",
      "number",
      "at",
      "least",
      "0;",
      "of",
      "answers",
      "that",
      "are",
      "unsure",
    ]
  with pytest.raises(UserError, match="fields --config takes a config file"):
    commands.look_up(["fields", "--config"])


@pytest.mark.parametrize(
  ("before", "after", "said"),
  [
    ('writer="seasons"', 'writer="season"', "writer 'season' (did you mean 'seasons'?)"),
    ('image_filter("contrast"', 'image_filter("contrasts"', "config.filters.contrast: rule 'contrasts' (did you mean"),
    ('task="confident"', 'task="confidant"', "config.learners.confident: task 'confidant' (did you mean"),
    ('imported_set("inverted:', 'imported_set("invert:', "source 'invert:first' (did you mean 'inverted'?)"),
    ("price=0.2", "price=-1.0", "config.learners.confident: price is at least 0, not -1.0"),
    ("price=0.2", 'price="much"', "learner: price is a float, not 'much'"),
    ('task="confident", ', "", "config.learners.confident: price: task classify has no such field"),
    ("Amount] = 0.1", "Amount]", "task confident: Price.price has no default"),
    ("price: Identity[Amount]", "price: float", "task confident: Price.price has no kind"),
    ('RULES.register("contrast")', 'RULES.register("clip")', "rule 'clip' ships with synthjax"),
  ],
)  # fmt: skip
def test_a_name_that_is_not_registered_is_one_line(run, tmp_path, before, after, said):
  text = EXAMPLE.read_text()
  assert before in text
  (tmp_path / "own_parts.py").write_text(text.replace(before, after))
  code, found = run("--plan")
  assert code == 2 and said in found and len(found.strip().splitlines()) == 1


def test_a_dataclass_of_a_config_file_finds_its_module(tmp_path):
  file = tmp_path / "typed.py"
  file.write_text(
    "from __future__ import annotations\nimport dataclasses\nfrom synthjax.config import study_config\n"
    "@dataclasses.dataclass\nclass Sizes:\n  n: int = 3\n"
    "def get_config(arg=''):\n  return study_config(labels='digits')\n"
  )
  try:
    load_config_file(str(file))
  except UserError as e:
    pytest.fail(str(e))
