"""The page of all fields is what the fields say, and every group of a config is on it."""

from synthjax.spec import config, group, reference


def test_the_page_says_what_the_fields_say():
  assert reference.PAGE.read_text() == reference.text(), "write it anew: python -m synthjax.spec.reference"


def test_every_field_has_a_row_below_its_group():
  sections = {part.partition("\n")[0]: part for part in reference.text().split("\n## ")[1:]}
  assert list(sections) == list(reference.GROUPS)
  for name, (of, _) in reference.GROUPS.items():
    for field in group.own_fields(of).values():
      assert f"\n| `{field.name}` | {field.kind.value} | `{field.default!r}` |" in sections[name], (
        f"{name}.{field.name}"
      )


def test_every_part_of_a_config_is_named():
  page = reference.text()
  assert [part for part in config.study_config() if f"config.{part}" not in page] == []


def test_no_row_breaks_its_table():
  """A bar inside a cell would begin another one."""
  rows = [
    line for line in reference.text().splitlines() if line.startswith("| `") and "config." not in line[:12]
  ]
  assert rows and {line.replace("\\|", "").count("|") for line in rows} == {6}
