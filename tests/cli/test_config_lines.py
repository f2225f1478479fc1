"""An error names the line of the config file that it is about, where the text of the file says it."""

import pytest

from synthjax import main
from synthjax.cli import config_lines

FILE = """from synthjax.config import arm, encoder, image_filter, image_set, prompt_list, study_config


def get_config(arg=""):
  config = study_config(labels="digits")
  config.prompts.B = prompt_list("B")
  config.sets["B-2"] = image_set("B", guidance=2.0)
  config.sampling.generator = "embedded:generator"
  config.encoders.clip = encoder("embedded:clip")
  config.filters.CF = image_filter(
    "clip",
    kept_per_class=4,
  )
  config.tuning.update(steps=10, batch=8)
  config.sampling.steps, config.sampling.images_per_class = 4, 5
  config.tests.digits = "embedded:digits:second"
  config.arms["B+CF"] = arm("B-2/CF")
  return config
"""


@pytest.fixture
def run(tmp_path, monkeypatch, capfd):
  monkeypatch.chdir(tmp_path)

  def run(before: str = "", after: str = "", *flags: str) -> str:
    assert before in FILE
    (tmp_path / "own.py").write_text(FILE.replace(before, after) if before else FILE)
    assert main.main(["--config=own.py", f"--workdir={tmp_path / 'w'}", "--plan", *flags]) == 2
    return capfd.readouterr().err.strip()

  return run


@pytest.mark.parametrize(
  ("before", "after", "said", "line"),
  [
    ('arm("B-2/CF")', 'arm("B-3/CF")', "B-3", 17),
    ("kept_per_class=4", "kept_per_class=-4", "kept_per_class is at least 0", 12),
    ('labels="digits"', 'labels="digit"', "config.labels 'digit'", None),
    ("batch=8", "batch=0", "batch", 14),
    ("steps, config.sampling.images_per_class = 4, 5", "steps, config.sampling.images_per_class = 0, 5", "steps", 15),
    ("steps, config.sampling.images_per_class", "step, config.sampling.images_per_class", "no field 'step'", 15),
    ("guidance=2.0", "guidance=-1.0", "guidance", 7),
    ('"embedded:digits:second"', '"embedded:digits:third"', "third", None),
  ],
)  # fmt: skip
def test_the_line_is_named(run, before, after, said, line):
  found = run(before, after)
  assert said in found and len(found.splitlines()) == 1
  assert found.endswith(f"(own.py line {line})") if line else " line " not in found


def test_a_value_of_the_command_line_is_in_no_file(run):
  found = run("", "", "--config.tuning.batch=0")
  assert "batch" in found and "own.py" not in found


def test_a_file_that_is_not_there_has_no_lines():
  assert (
    config_lines.about("config.sampling.steps is at least 1", ["--config=none.py", "--workdir", "w"]) == ""
  )
  assert config_lines.about("nothing of a config", ["--config", "none.py"]) == ""
