import pytest

from synthjax.errors import UserError
from synthjax.labels import spaces


def test_built_in_spaces_share_their_ids():
  digits, glyphs = spaces.load("digits"), spaces.load("glyphs")
  assert len(digits) == 10 and len(glyphs) == 36
  assert glyphs.ids[:10] == digits.ids and glyphs.name_of("Q") == "letter Q"


@pytest.mark.parametrize(
  ("name", "text"),
  [
    ("a.yaml", "template: a {}\nclasses:\n  no: Norway\n  007: agent\n  n1: crane\n  n2: crane\n"),
    (
      "a.json",
      '{"template": "a {}", "classes": {"no": "Norway", "007": "agent", "n1": "crane", "n2": "crane"}}',
    ),
  ],
)
def test_a_users_file_keeps_order_ids_and_repeated_names(tmp_path, name, text):
  (tmp_path / name).write_text(text)
  space = spaces.load(str(tmp_path / name))
  assert space.ids == ("no", "007", "n1", "n2")  # not False and 7
  assert space.names == ("Norway", "agent", "crane", "crane")
  assert space.template == "a {}"


@pytest.mark.parametrize(
  ("text", "said"),
  [
    ("classes: {a: x, a: y}", "'a' stands there twice"),
    ("classes: [a, b]", "needs `classes:`, a mapping"),
    ("classes: {}", "needs `classes:`"),
    ("classes: {a: x}\ntemplates: 3", "templates is a list of texts"),
    ("classes: {[a]: x}", "a key is a text"),
    ("classes: {a: ''}", "class 'a' needs a name"),
    ("classes: {a: x}\ntemplate: a photo", "template 'a photo' has no {}"),
    ("classes: {a: x}\ntemplats: []", "unknown key 'templats' (did you mean 'templates'?)"),
    ("classes: {a: x", "is not valid yaml"),
  ],
)
def test_a_wrong_file_is_one_line(tmp_path, text, said):
  (tmp_path / "a.yaml").write_text(text)
  with pytest.raises(UserError) as e:
    spaces.load(str(tmp_path / "a.yaml"))
  assert said in str(e.value) and "\n" not in str(e.value)


def test_a_misspelt_or_missing_space_is_one_line(tmp_path):
  with pytest.raises(UserError, match="did you mean 'digits'"):
    spaces.load("digts")
  with pytest.raises(UserError, match="cannot be read"):
    spaces.load(str(tmp_path / "none.yaml"))
