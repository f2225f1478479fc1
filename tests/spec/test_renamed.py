"""A config may use the older name of a field; a note says the newer one, and records keep the older one."""

import pytest

from synthjax.cli import command_line
from synthjax.runtime.errors import UserError
from synthjax.spec import config, fields, group, renamed
from synthjax.spec.study import resolve

SOURCE = """
from synthjax.config import learner, real_images, study_config
def get_config():
  config = study_config()
  config.real.r = real_images("embedded:digits:first")
  config.tests.t = "embedded:digits:second"
  config.learners.a = learner(real="r", steps=1%s)
  config.learners.b = learner(real="r", steps=1)
  %s
  return config
"""


@pytest.fixture
def parse(tmp_path):
  def run(*flags: str, given: str = "", line: str = ""):
    file = tmp_path / "study.py"
    file.write_text(SOURCE % (given, line))
    return command_line.parse([f"--config={file}", f"--workdir={tmp_path}", *flags])

  return run


def prefetch(command) -> tuple[int, int]:
  return tuple(own.prefetch for own in resolve(command.config).learners.values())


def test_the_older_name_in_a_config_file(parse):
  command = parse(line="config.learning.ahead = 5", given=", ahead=3")
  assert prefetch(command) == (3, 5) and "ahead" not in command.config.learning
  assert set(command.notes) == {
    "config.learning.ahead is now called prefetch",
    "config.learners.a.ahead is now called prefetch",
  }
  assert parse(line="config.learning.prefetch = 5").notes == ()


def test_the_older_name_on_the_command_line(parse):
  command = parse(
    "--config.learning.ahead=4", "--config.learners.b.ahead", "1", line="config.learning.prefetch = 7"
  )
  assert prefetch(command) == (4, 1) and len(command.notes) == 2


@pytest.mark.parametrize(
  ("flags", "given", "line", "where"),
  [
    (["--config.learning.ahead=4", "--config.learning.prefetch=3"], "", "", "config.learning"),
    ([], "", "config.learning.ahead, config.learning.prefetch = 4, 3", "config.learning"),
    ([], ", ahead=4, prefetch=3", "", "config.learners.a"),
  ],
)
def test_both_names_at_once_are_one_line(parse, flags, given, line, where):
  with pytest.raises(UserError) as e:
    parse(*flags, given=given, line=line)
  message = f"{where} sets both ahead and prefetch, which are one field; remove ahead, its older name"
  assert str(e.value).endswith(message) and "\n" not in str(e.value)


def test_a_wrong_value_under_the_older_name(parse):
  with pytest.raises(UserError, match=r"study\.py: config\.learning: prefetch is a int, not 'many'"):
    parse(line="config.learning.ahead = 'many'")
  with pytest.raises(UserError, match=r"config\.learning\.prefetch takes a whole number"):
    parse("--config.learning.ahead=many")
  with pytest.raises(UserError, match="prefetch is at least 0, not -1"):
    parse("--config.learning.ahead=-1")


def test_an_older_name_is_one_only_in_its_group(parse):
  with pytest.raises(UserError, match=r"config\.sampling has no field 'ahead'"):
    parse("--config.sampling.ahead=1")
  assert resolve(parse(line="config.tests.ahead = 'embedded:digits:second'").config).tests.keys() == {
    "t",
    "ahead",
  }


def test_records_keep_the_older_name(parse):
  study = resolve(parse("--config.learning.prefetch=6").config)
  own = study.learners["a"].to_dict()
  assert own["ahead"] == 6 and "prefetch" not in own
  assert study.given["learning"]["ahead"] == 6 and "prefetch" not in study.given["learning"]
  known = {field.name: field.recorded_name for field in group.fields(fields.Learning).values()}
  assert {name for name, recorded in known.items() if name != recorded} == {"prefetch"}


def test_a_config_of_today_is_recorded_as_it_is_but_for_older_names():
  whole = config.study_config().to_dict()
  assert renamed.recorded(whole) | {"learning": whole["learning"]} == whole
