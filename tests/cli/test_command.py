"""Each mistake on the command line or in a config file is one line that names the fix."""

import dataclasses

import pytest

from synthjax import main
from synthjax.cli import command_line as command_line
from synthjax.runtime.errors import UserError
from synthjax.spec import fields, group, validation
from synthjax.spec.study import resolve

GOOD = """
from synthjax.config import image_set, prompt_list, study_config
def get_config(arg=""):
  config = study_config()
  config.prompts.B = prompt_list("B")
  config.sets.B = image_set("B")
  config.sampling.steps = 7
  if arg: config.sampling.seed = int(arg)
  return config
"""


@pytest.fixture
def parse(tmp_path):
  def run(*flags: str, source: str = GOOD, arg: str = ""):
    file = tmp_path / "study.py"
    file.write_text(source)
    return command_line.parse([f"--config={file}{arg}", f"--workdir={tmp_path}", *flags])

  return run


def test_overrides_reach_typed_fields(parse):
  command = parse(
    "--config.sampling.guidance=4",
    "--config.sets.B.images_per_class=3",
    "--config.sampling.mark=false",
    arg=":5",
  )
  assert command.config.sampling.guidance == 4.0
  assert command.config.sampling.seed == 5
  assert resolve(command.config).sets["B"].images_per_class == 3
  assert resolve(command.config).sets["B"].steps == 7
  assert command.config.sampling.mark is False


def test_names_that_are_none_of_pythons_are_reached_too(parse):
  source = GOOD.replace("  return config", '  config.sets["B-5+x"] = image_set("B")\n  return config')
  command = parse("--config.sets.B-5+x.steps=5", "--config.sets.B-5+x.guidance=2.5", source=source)
  assert resolve(command.config).sets["B-5+x"].steps == 5
  with pytest.raises(UserError) as e:
    parse("--config.sets.B-5+x.steps=many", source=source)
  assert str(e.value).startswith("config.sets.B-5+x.steps takes ") and str(e.value).endswith("not 'many'")


@pytest.mark.parametrize(
  ("flags", "said"),
  [
    (["--config.sampling.step=3"], "config.sampling has no field 'step' (did you mean 'steps'?)"),
    (["--config.samplin.steps=3"], "config has no field 'samplin' (did you mean 'sampling'?)"),
    (["--config.sets.LE.steps=3"], "config.sets has no field 'LE' (known: B)"),
    (["--config.sampling.steps=many"], "config.sampling.steps takes a whole number (now 7), not 'many'"),
    (["--config.sampling.steps=1.5"], "takes a whole number"),
    (["--config.sampling.mark=perhaps"], "config.sampling.mark takes true or false"),
    (["--config.sampling.guidance=strong"], "takes a number"),
    (["--config.sampling.steps"], "Missing value"),
    (["--config.sampling.steps=0"], "steps is at least 1, not 0"),
    (["--config.sampling.eta=2"], "eta is between 0 and 1"),
    (["--config.sampling.jpeg_quality=101"], "jpeg_quality is between 1 and 100"),
    (["--config.sampling.dtype=float23"], "did you mean 'float32'"),
    (["--config.sets.B.prompts=C"], "config.sets.B: prompts is 'C', which config.prompts lacks"),
    (["--config.runtime.stale_seconds=1"], "stale_seconds (3 heartbeats) is at least 15"),
    (
      ["--config.sampling.images-per-class=3"],
      "has no field 'images-per-class' (did you mean 'images_per_class'?)",
    ),
    (["--config.sampling=3"], "config.sampling is a group of fields; set one of them"),
    (["--config.sampling.guidance=nan"], "guidance is at least 0, not nan"),
    (["--config.runtime.encode_threads=-1"], "config.runtime.encode_threads is at least 0"),
    (["--config.runtime.heartbeat_seconds=0"], "config.runtime.heartbeat_seconds is at least 0.1"),
    (["--workdri=x"], "unknown flag --workdri (did you mean 'workdir'?)"),
    (["--distributed=maybe"], "invalid choice: 'maybe'"),
    (["stray"], "unexpected argument 'stray'"),
    (["--config.sampling..steps=3"], "--config.sampling..steps: a name is missing between two dots"),
    (["--config..sampling.steps=3"], "a name is missing between two dots"),
    (["--config.sampling.=3"], "a name is missing between two dots, or at an end"),
    (["--config.=3"], "a name is missing"),
    (["--config.tuning.batch=1e12"], "config.tuning.batch takes a whole number (now 512), not '1e12'"),
    (["--config.tuning.batch=1000000000000"], "config.tuning.batch is at most 1,048,576"),
    (["--config.report.refresh_seconds=1e20"], "refresh_seconds takes a whole number"),
    (["--config.seeds=" + "9" * 5000], "config.seeds takes a whole number (now 3), not '999"),
    (["--config.seeds=\u00b2"], "config.seeds takes a whole number (now 3), not '\u00b2'"),
    (["--config.sets.B.steps=many"], "config.sets.B.steps takes a whole number (now None), not 'many'"),
    (["--config.sampling.guidance=1e999"], "config.sampling.guidance is a number, not inf"),
    (["--config.sampling.negative_prompt=\udcff"], "is not UTF-8"),
  ],
)
def test_a_wrong_flag_is_one_line(parse, flags, said):
  with pytest.raises(UserError) as e:
    parse(*flags)
  assert said in str(e.value)
  assert "\n" not in str(e.value) and len(str(e.value)) < 400


@pytest.mark.parametrize(
  ("source", "said"),
  [
    ("x = 1", "has no get_config"),
    (
      "from ml_collections import ConfigDict\ndef get_config(): return ConfigDict()",
      "make it with study_config()",
    ),
    ("import sys\nsys.exit(1)", "study.py line 2: SystemExit"),
    (GOOD.replace('image_set("B")', 'dict(prompts="B")'), "config.sets.B lacks the field"),
    (GOOD.replace('prompt_list("B")', "3"), "config.prompts.B is 3; make it with prompt_list(...)"),
    (GOOD.replace("steps = 7", "steps = None"), "config.sampling.steps is None"),
    ("def get_config(arg=''): return {}", "returned a dict; end it with `return config`"),
    ("def get_config(arg=''):\n  y = 1\n  return nothing", "study.py line 3: NameError"),
    ("def get_config(:", "study.py line 1: SyntaxError"),
    (GOOD.replace("steps", "step"), "config.sampling has no field 'step' (did you mean 'steps'?)"),
    (GOOD.replace("config.sampling.steps", "config.sets.B.step"), "config.sets.B has no field 'step'"),
    (GOOD.replace("sampling.steps", "sampling.nested.steps"), "study.py line 7: AttributeError"),
    (
      GOOD.replace('image_set("B")', 'image_set("B", guidanc=1.0)'),
      "has no field 'guidanc' (did you mean 'guidance'?)",
    ),
    (GOOD.replace('image_set("B")', 'image_set("B", guidance="x")'), "guidance"),
    (GOOD.replace("config.sets.B", "config.sets['B/C']"), "a name takes letters"),
    (GOOD.replace("config.sets.B", "config.sets[3]"), "3: a name takes letters"),
    (
      GOOD.replace("config.sampling.steps = 7", "config.smapling = {}"),
      "has no field 'smapling' (did you mean 'sampling'?)",
    ),
  ],
)
def test_a_wrong_config_file_is_one_line(parse, source, said):
  with pytest.raises(UserError) as e:
    parse(source=source)
  assert said in str(e.value)
  assert "\n" not in str(e.value)


@pytest.mark.parametrize("path", ["study.py", "./study.py", "sub/../study.py"])
@pytest.mark.parametrize(
  ("source", "said"),
  [
    ("def get_config(arg=''):\n  y = 1\n  return nothing", "study.py line 3: NameError"),
    ("import json\njson.loads('[' * 10 ** 6)", "study.py line 2: RecursionError"),
    ("x = 1\0", "Error: source code string cannot contain null bytes"),
  ],
)
def test_a_relative_path_keeps_the_line(tmp_path, monkeypatch, path, source, said):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "sub").mkdir()
  (tmp_path / "study.py").write_text(source)
  with pytest.raises(UserError) as e:
    command_line.parse([f"--config={path}", "--workdir=w"])
  assert said in str(e.value)


def test_what_the_command_prints_is_one_line_that_can_be_read(tmp_path, monkeypatch, capsys):
  """Names from a file stand in errors, whatever they hold."""

  def fail(argv):
    raise UserError("no class 'x\ny" + "z" * 10**6 + "'; name another")

  monkeypatch.setattr(command_line, "parse", fail)
  assert main.main(["--config=x.py", "--workdir=w"]) == 2
  said = capsys.readouterr().err
  assert said.count("\n") == 1 and said.startswith("synthjax: no class 'x y") and len(said) < 3000
  assert said.endswith("; name another\n")


def test_a_missing_config_file_names_its_neighbour(parse, tmp_path):
  parse()
  with pytest.raises(UserError, match=r"stud\.py does not exist \(did you mean '.*study\.py'"):
    command_line.parse([f"--config={tmp_path}/stud.py", f"--workdir={tmp_path}"])
  with pytest.raises(UserError, match="required: --workdir"):
    command_line.parse([f"--config={tmp_path}/study.py"])


def test_every_field_is_of_one_kind():
  groups = [
    g
    for g in vars(fields).values()
    if isinstance(g, type) and issubclass(g, group.Group) and g is not group.Group
  ]
  names = [(g, field.name) for g in groups for field in dataclasses.fields(g)]
  assert len(names) > 150 and names == [(g, name) for g in groups for name in group.fields(g)]
  assert list(fields.Sampling().of_kind(group.Kind.GROWTH)) == ["images_per_class"]


SHIPPED = {
  "benchmark": ("", "sampling,cpu", "encode,gpu"),
  "cifar100_transfer": ("", "resnet50", "deit-s-imagenet"),
  "diversify": ("", "all", "all,other-norms", "imagenet"),
  "scaling": ("", "classes", "recipes"),
  "scaling_imagenet": ("",),
  "embedded_world": ("", "trial"),
  "few_shot": ("", "digits,2", "imagenet", "eurosat"),
  "pretrain_transfer": ("", "resnet", "vit"),
  "quickstart": ("", "curve"),
  "real_and_synthetic": ("", "600"),
  "zero_shot": ("", "eurosat", "imagenet"),
  "zero_shot_matrix": ("", "cifar10,dtd"),
}


def test_shipped_configs_are_valid():
  from tests.conftest import ROOT

  assert {file.stem for file in (ROOT / "configs").glob("*.py")} == set(SHIPPED)
  for file, args in SHIPPED.items():
    for arg in args:
      validation.check(command_line.load_config_file(str(ROOT / "configs" / f"{file}.py"), arg))
