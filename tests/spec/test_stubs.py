"""What an editor completes in a config file is what the constructors take."""

from synthjax import config
from synthjax.spec import config as constructors
from synthjax.spec import group, stubs


def test_the_stub_says_what_the_fields_say():
  assert stubs.FILE.read_text() == stubs.text(), "write it anew: python -m synthjax.spec.stubs"


def test_the_stub_has_every_name_that_config_files_import():
  written = stubs.text()
  assert [
    name for name in config.__all__ if not any(f"{word}{name}" in written for word in ("def ", "as ", "\n"))
  ] == []


def test_every_constructor_takes_what_its_stub_says():
  for name, (of, own, first) in stubs.CONSTRUCTORS.items():
    field = next(f for f in group.fields(of).values() if f.name != own)
    given = ["x"] if first and "=" not in first else []
    made = getattr(constructors, name)(*given, **{field.name: field.default})
    assert made[field.name] == field.default, name
