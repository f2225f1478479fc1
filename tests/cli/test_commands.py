"""The console script's commands: what each stands for, what can be looked up, and mistakes."""

import subprocess
import sys

import pytest

from synthjax.cli import commands
from synthjax.runtime.errors import UserError
from synthjax.spec import benchmark_fields, fields, group, metric_fields, points, reference


@pytest.mark.parametrize(
  "typed, flags",
  [
    (["run", "--config=a.py", "--workdir=w"], ["--config=a.py", "--workdir=w"]),
    (["plan", "--config=a.py"], ["--plan", "--config=a.py"]),
    (["verify", "--workdir=w"], ["--stages=verify", "--workdir=w"]),
    (["preview", "--workdir=w"], ["--stages=prompts,sample", "--config.sampling.preview=8", "--workdir=w"]),
    (
      ["preview", "3", "--workdir=w"],
      ["--stages=prompts,sample", "--config.sampling.preview=3", "--workdir=w"],
    ),
    (["fields"], None),
  ],
)
def test_a_command_stands_for_flags(typed, flags):
  assert commands.run_flags(typed) == flags


def test_every_field_is_shown_with_its_kind_default_and_comment():
  said = commands.look_up(["fields"])
  for of, _ in reference.GROUPS.values():
    for name in group.fields(of):
      assert f"\n  {name} " in said
  (line,) = [
    line for line in commands.look_up(["fields", "sampling"]).splitlines() if line.startswith("  eta ")
  ]
  assert (
    "identity" in line and "0.0" in line and "between 0 and 1" in line and "DDIM: 0 = deterministic" in line
  )
  assert "largest beta and alpha" in commands.look_up(["fields", "tuning", "search_scale"])  # a comment above
  named = [
    *vars(fields).values(),
    *vars(metric_fields).values(),
    *vars(benchmark_fields).values(),
    points.Grid,
  ]
  groups = {g for g in named if isinstance(g, type) and issubclass(g, group.Group)} - {group.Group}
  assert {of for of, _ in reference.GROUPS.values()} == groups


def test_a_word_finds_fields_in_all_groups():
  said = commands.look_up(["fields", "weight_decay"])
  assert [line.split(":")[0] for line in said.splitlines() if "config." in line] == [
    "networks",
    "tuning",
    "learning",
  ]


def test_configs_are_listed_by_their_first_sentence(tmp_path):
  (tmp_path / "one.py").write_text('"""What it is\nfor.\n\nMore."""\n')
  (tmp_path / "two.py").write_text("def (")
  said = commands.look_up(["configs", str(tmp_path)]).splitlines()
  assert said == [f"{tmp_path}/one.py  What it is for.", f"{tmp_path}/two.py  (cannot be read as Python)"]


@pytest.mark.parametrize(
  "typed, said",
  [
    (["filds"], r"no command 'filds' \(did you mean 'fields'\?\)"),
    (["configs", "/none"], "/none holds no config files"),
    (["fields", "smapling"], r"no field holds 'smapling' \(did you mean 'sampling'\?\)"),
  ],
)
def test_mistakes_are_one_line(typed, said):
  with pytest.raises(UserError, match=said):
    commands.look_up(typed)


def test_it_is_started_as_a_module_and_looks_up_without_jax():
  code = (
    "import sys; sys.argv[1:] = ['fields', 'sampling']; from synthjax.main import script\ntry: script()\n"
  )
  code += "finally: print('jax' in sys.modules, file=sys.stderr)"
  ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
  assert ran.returncode == 0 and "images_per_class" in ran.stdout and ran.stderr.strip() == "False", (
    ran.stderr
  )
  ran = subprocess.run([sys.executable, "-m", "synthjax", "filds"], capture_output=True, text=True)
  assert ran.returncode == 2 and ran.stderr.count("\n") == 1 and "did you mean 'fields'?" in ran.stderr
