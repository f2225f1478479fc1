"""What bash offers, by the script itself; and that the script has all that there is."""

import resource
import shutil
import subprocess
import sys

import pytest

from synthjax import config
from synthjax.cli import commands, completion
from synthjax.runtime.errors import UserError
from synthjax.spec import group, reference
from synthjax.study.kinds import ON_REQUEST, STAGES
from tests.conftest import ROOT

needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
_ASK = """
source "$1"
shift
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_synthjax
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def offered(tmp_path):
  """For the words as bash breaks them, in a folder with two configs."""
  script = tmp_path / "completion.bash"
  script.write_text(commands.look_up(["completion", "bash"]))
  (tmp_path / "configs").mkdir()
  (tmp_path / "rows.csv").touch()
  for name in ("quickstart.py", "few_shot.py", "notes.txt"):
    (tmp_path / "configs" / name).touch()

  def ask(*words: str) -> list[str]:
    line = ["bash", "--norc", "-c", _ASK, "ask", str(script), "synthjax", *words]
    ran = subprocess.run(line, capture_output=True, text=True, cwd=tmp_path)
    assert ran.returncode == 0 and not ran.stderr, ran.stderr
    return ran.stdout.split()

  return ask


@needs_bash
@pytest.mark.parametrize(
  "typed, words",
  [
    (
      "",
      "run plan verify predict export report preview fields configs fit completion doctor --version --help",
    ),
    ("pr", "predict preview"),
    ("run --", "--config= --workdir= --plan --stages= --distributed= --help --config."),
    ("run --config =", "configs/few_shot.py configs/quickstart.py"),
    ("plan --config = configs/q", "configs/quickstart.py"),
    ("plan --config configs/f", "configs/few_shot.py"),
    ("plan --config = conf", "configs/"),
    ("run --workdir = con", "configs/"),
    ("run --stages = sample,ke", "sample,keep"),
    ("run --stages v", "verify"),
    ("run --distributed = o", "on off"),
    ("run --plan --config.sampling.ste", "--config.sampling.steps="),
    ("run --config.se", "--config.seeds= --config.server. --config.sets."),
    ("run --config.sets.LE.gui", "--config.sets.LE.guidance="),
    ("run --config.sets.B-5+x.sour", "--config.sets.B-5+x.source="),
    ("run --config.export.i", "--config.export.images= --config.export.images_per_shard="),
    ("run --config.benchmark.t", "--config.benchmark.torch= --config.benchmark.training."),
    ("run --config.benchmark.training.vit.mo", "--config.benchmark.training.vit.model="),
    ("run --config.sampling.steps = 5", ""),
    ("fields benchmark.t", "benchmark.training"),
    ("fields sampling s", ""),
    ("configs con", "configs/"),
    ("fit ", "rows.csv configs/"),
    ("fit --la", "--law="),
    ("fit rows.csv --law = b", "broken"),
    ("fit rows.csv --y = l", "loss"),
    ("completion ", "bash zsh"),
    ("doctor --", "--config= --workdir= --distributed= --wait= --help"),
    ("doctor --distributed = o", "on off"),
    ("help ", ""),
  ],
)
def test_bash_offers(offered, typed, words):
  assert sorted(offered(*typed.split(" "))) == sorted(words.split())


@needs_bash
def test_bash_takes_the_script_and_completes_by_it():
  ran = subprocess.run(
    ["bash", "--norc", "-c", 'eval "$(cat)"; complete -p synthjax'],
    input=commands.look_up(["completion", "bash"]),
    capture_output=True,
    text=True,
  )
  assert ran.stdout == "complete -F _synthjax synthjax\n" and not ran.stderr


@pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh")
def test_zsh_takes_the_script():
  script = commands.look_up(["completion", "zsh"])
  code = f"autoload -Uz compinit && compinit -u -D\n{script}\nwhich _synthjax >/dev/null && echo ${{_comps[synthjax]}}"
  ran = subprocess.run(["zsh", "-f", "-c", code], capture_output=True, text=True)
  assert "_bash_complete" in ran.stdout and not ran.stderr, ran.stderr


def test_every_stage_flag_and_field_is_offered():
  assert (*STAGES, *ON_REQUEST) == completion.STAGES
  offered = completion.fields()
  for of, where in reference.GROUPS.values():
    for place in where.replace(" = ", ", ").split(", "):
      if place.startswith("config."):
        assert {f"{name}=" for name in group.fields(of)} <= {*offered[place.replace("NAME", "*")]}
  assert {word.rstrip("=.") for word in offered["config"]} == {*config.study_config()}
  said = subprocess.run(
    [sys.executable, "-m", "synthjax.main", "--help"], capture_output=True, text=True, cwd=ROOT
  ).stdout
  assert all(flag.rstrip("=") in said for flag in completion.FLAGS)
  for command in ("run", "plan", "fields", "configs", "doctor", "completion"):
    assert command in commands.look_up(["--help"])


@pytest.mark.parametrize(
  "typed, said",
  [
    ([], "completion takes a shell: bash or zsh"),
    (["fish"], "completion takes a shell: bash or zsh"),
    (["bsh"], r"did you mean 'bash'\?"),
  ],
)
def test_another_shell_is_one_line(typed, said):
  with pytest.raises(UserError, match=said):
    commands.look_up(["completion", *typed])


def test_it_is_said_without_jax():
  code = "import sys; sys.argv[1:] = ['completion', 'zsh']; from synthjax.main import script\ntry: script()\n"
  code += "finally: print('jax' in sys.modules, 'rich' in sys.modules, file=sys.stderr)"
  ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
  assert ran.returncode == 0 and "bashcompinit" in ran.stdout and ran.stderr.strip() == "False False"


def test_it_is_said_at_once():
  """By the processor's time: a machine may be busy. The best of a few, as some of it is the system's."""

  def seconds() -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
      [sys.executable, "-m", "synthjax", "completion", "bash"], capture_output=True, check=True, cwd=ROOT
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime

  assert min(seconds() for _ in range(5)) < 0.3
