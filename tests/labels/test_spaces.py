import pytest

from synthjax.labels import spaces
from synthjax.runtime.errors import UserError


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
    ("classes: {a: x", "is not readable YAML"),
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
  with pytest.raises(
    UserError,
    match=r"'voc' is no label space \(known: digits, letters, glyphs, solfege, .*aircraft, .*stl10.*\); or name",
  ):
    spaces.load("voc")
  with pytest.raises(UserError) as e:
    spaces.load(str(tmp_path / "none.yaml"))
  assert str(e.value) == f"labels file {tmp_path / 'none.yaml'} does not exist; fix its path"
  with pytest.raises(UserError, match=r"labels file .* is a folder; name a regular file$"):
    (tmp_path / "folder.yaml").mkdir()
    spaces.load(str(tmp_path / "folder.yaml"))


def test_a_file_may_add_classes_to_another_space(tmp_path):
  """ImageNet-2K: ImageNet and a list of the user's."""
  (tmp_path / "2k.yaml").write_text("like: imagenet\nclasses:\n  n00007846: person\n  n00015388: animal\n")
  space, imagenet = spaces.load(str(tmp_path / "2k.yaml")), spaces.load("imagenet")
  assert space.ids == (*imagenet.ids, "n00007846", "n00015388")
  assert space.names[-2:] == ("person", "animal") and space.templates == imagenet.templates
  (tmp_path / "part.yaml").write_text(
    "like: 2k.yaml\nonly: [n00007846, n01440764]\ntemplates: cifar10\naliases: {a fish: n01440764}\n"
  )
  part = spaces.load(str(tmp_path / "part.yaml"))
  assert part.ids == ("n01440764", "n00007846")  # in the order of the other space
  assert len(part.templates) == 18 and len(part.passed_over) == 1000
  assert part.aliases == (("a fish", "n01440764"),) and part.test == "" != space.test


@pytest.mark.parametrize(
  ("text", "said"),
  [
    ("like: imagnet", "like 'imagnet' is no label space (did you mean 'imagenet'?)"),
    ("like: a.yaml", "leads back to this file"),
    ("like: digits\nonly: ['0', x]", "only: no class 'x' in digits"),
    ("classes: {a: x}\nonly: [a]", "name it, `like:`"),
    ("classes: {a: x}\naliases: {b: c}", "alias 'b' of no class 'c'"),
    ("classes: {a: x}\naliases: [b]", "aliases is a mapping"),
    ("classes: {a: x}\npassed_over: b", "passed_over is a list"),
    ("classes: {a: x}\nalso_called: [a]", "also_called is a mapping of class ids"),
    ("classes: {a: x}\nalso_called: {b: y}", "also_called: no class 'b'"),
    ("classes: {a: x}\nalso_called: {a: {b: c}}", "also_called of 'a' is a name or a list of them"),
    ("classes: {a: x}\ntemplates: [a b]", "template 'a b' has no {}"),
  ],
)
def test_what_is_wrong_about_another_space_is_one_line(tmp_path, text, said):
  (tmp_path / "a.yaml").write_text(text)
  with pytest.raises(UserError) as e:
    spaces.load(str(tmp_path / "a.yaml"))
  assert said in str(e.value) and "\n" not in str(e.value)


def test_classes_may_have_other_names_in_common(tmp_path):
  (tmp_path / "a.yaml").write_text(
    "like: digits\nonly: ['1', '2']\nalso_called: {'1': one, '2': [two, pair]}\n"
  )
  space = spaces.load(str(tmp_path / "a.yaml"))
  assert space.other_names("1") == ("one",) and space.other_names("2") == ("two", "pair")
  (tmp_path / "b.yaml").write_text("like: a.yaml\nalso_called: {'2': one}\n")
  assert spaces.load(str(tmp_path / "b.yaml")).also_called == (("1", ("one",)), ("2", ("one",)))


def test_a_syllable_stands_for_a_digit_and_a_letter():
  study, drawn = spaces.load("solfege"), spaces.load("solfege-glyphs")
  assert study.ids == spaces.load("digits").ids and len(drawn) == 17
  meant = {s: [i for i in drawn.ids if s in drawn.other_names(i)] for s in study.names}
  assert meant["do"] == ["1", "C"] and meant["la"] == ["6", "A"] and meant["digit 8"] == []
  ambiguous = [n for n in study.names if meant[n]]
  assert len(ambiguous) == 7 and all(study.name_of(meant[n][0]) == n for n in ambiguous)


def test_a_generator_s_glyphs_lack_some_and_swap_others():
  whole, seen = spaces.load("glyphs"), spaces.load("seen-glyphs")
  assert len(whole) - len(seen) == 12 and set(seen.ids) < set(whole.ids)
  assert all(seen.name_of(i) == whole.name_of(i) for i in seen.ids)
  others = {i: names for i in seen.ids if (names := seen.other_names(i))}
  assert len(others) == 6
  for class_id, (name,) in others.items():
    (other,) = [i for i in seen.ids if seen.name_of(i) == name]
    assert seen.other_names(other) == (seen.name_of(class_id),) and other != class_id


def test_names_that_collide_or_differ_only_in_case_are_reported():
  space = spaces.LabelSpace(("a", "b", "c", "d", "e"), ("crane", "Crane", "bee", "bee", "cat"))
  assert space.notes() == [
    "labels: classes a, b have names that differ only in case or spaces, 'Crane', 'crane'; their prompts are the same, "
    "their ids keep them apart",
    "labels: classes c, d share the name 'bee'; their prompts are the same, their ids keep them apart",
  ]
  assert spaces.load("digits").notes() == []
