"""WordNet's definitions and hypernyms of classes, against WordNet's own files where they are."""

from pathlib import Path

import pytest

from synthjax.labels import make_wordnet, synsets, wordnet
from synthjax.labels.spaces import LabelSpace, load
from synthjax.runtime.errors import UserError

DATA = Path("/usr/share/wordnet/data.noun")  # Debian's wordnet-base


def test_two_classes_of_one_name_have_two_meanings():
  imagenet = load("imagenet")
  bird, machine = "n02012849", "n03126707"
  assert imagenet.name_of(bird).startswith("crane") and imagenet.name_of(machine).startswith(
    "construction crane"
  )
  assert wordnet.gloss(imagenet, bird) == (
    "large long-necked wading bird of marshes and plains in many parts of the world"
  )
  assert wordnet.hypernyms(imagenet, bird)[:3] == ("wading bird", "aquatic bird", "bird")
  assert "lifts" in wordnet.gloss(imagenet, machine) and "bird" not in wordnet.hypernyms(imagenet, machine)


@pytest.mark.parametrize("name", ["imagenet", "imagenet-r", "imagenet-a-80", "cifar10", "cifar100", "stl10"])
def test_every_class_has_a_definition_and_a_chain_to_the_root(name):
  space = load(name)
  for class_id in space.ids:
    gloss, chain = wordnet.gloss(space, class_id), wordnet.hypernyms(space, class_id)
    assert gloss and '"' not in gloss and gloss == gloss.strip(" ;:,"), class_id
    assert chain[-1] == "entity" and "_" not in "".join(chain) and len(set(chain)) >= len(chain) - 1, class_id


@pytest.mark.parametrize(
  ("name", "class_id", "kind_of"),
  [
    ("cifar10", "deer", "ruminant"),
    ("cifar100", "ray", "fish"),
    ("cifar100", "seal", "mammal"),
    ("cifar100", "can", "container"),
    ("cifar100", "plate", "tableware"),
    ("cifar100", "mouse", "rodent"),
    ("cifar100", "orange", "edible fruit"),
    ("cifar100", "tank", "vehicle"),
    ("stl10", "car", "motor vehicle"),
  ],
)
def test_names_of_several_meanings_have_the_data_sets(name, class_id, kind_of):
  assert kind_of in wordnet.hypernyms(load(name), class_id)


def test_what_has_no_synset_says_so():
  space = LabelSpace(("a", "n99999999"), ("ant", "bee"))
  assert [wordnet.gloss(space, i) for i in space.ids] == ["", ""] and wordnet.hypernyms(space, "a") == ()
  assert wordnet.gloss(space, "n00001740") == ""  # entity: it ships as a parent alone


def test_a_users_file_maps_its_classes(tmp_path):
  (tmp_path / "birds.yaml").write_text(
    "kind: birds\nclasses: {c: crane, h: heron, n01440764: tench}\n"
    "wordnet:\n  c: n02012849\n  h: {gloss: grey or white wading bird, hypernyms: [wading bird, bird]}\n"
  )
  (tmp_path / "two.yaml").write_text(
    "like: birds.yaml\nonly: [c, h]\nwordnet: {c: {gloss: a lifting bird}}\n"
  )
  space, two = load(str(tmp_path / "birds.yaml")), load(str(tmp_path / "two.yaml"))
  assert wordnet.gloss(space, "c").startswith("large long-necked") and wordnet.gloss(space, "n01440764")
  assert wordnet.hypernyms(space, "h") == ("wading bird", "bird")
  assert space.kind == two.kind == "birds" and load("cifar10").kind == "objects"
  assert wordnet.gloss(two, "c") == "a lifting bird" and wordnet.hypernyms(two, "c") == ()
  assert wordnet.gloss(two, "h") == "grey or white wading bird" and len(two.wordnet) == 2


@pytest.mark.parametrize(
  ("text", "said"),
  [
    ("kind: bird", "kind 'bird' (did you mean 'birds'?)"),
    ("kind: [birds]", "kind is a text"),
    ("wordnet: [a]", "wordnet is a mapping of class ids"),
    ("wordnet: {b: n02012849}", "wordnet: no class 'b'"),
    ("wordnet: {a: n99999999}", "wordnet of 'a': synset 'n99999999' does not ship; give {gloss: TEXT"),
    ("wordnet: {a: {hypernyms: [bird]}}", "wordnet of 'a' is a synset's id, like n02012849, or {gloss:"),
    ("wordnet: {a: {gloss: x, hypernyms: bird}}", "wordnet of 'a' is a synset's id"),
    ("wordnet: {a: {gloss: x, hypernym: [bird]}}", "wordnet of 'a' is a synset's id"),
  ],
)
def test_a_wrong_file_is_one_line(tmp_path, text, said):
  (tmp_path / "a.yaml").write_text(f"classes: {{a: x}}\n{text}\n")
  with pytest.raises(UserError) as e:
    load(str(tmp_path / "a.yaml"))
  assert said in str(e.value) and "\n" not in str(e.value)


def test_lines_of_wordnet_are_read_as_their_manual_says():
  """wndb(5WN): the number of words is hexadecimal, a pointer has four fields; glosses hold examples in several ways."""
  rows = [
    b'n 01 entity 0 001 ~ 00000099 n 0000 | that which is; "so it is"',
    b'n 0a a_b 0 c 0 d 0 e 0 f 0 g 0 h 0 i 0 j 0 k 1 003 #p 00000001 n 0000 @ %s n 0000 @ 00000009 n 0000 | x; a "y" z; "an example"; "and b"',
    b"n 01 Nile 0 001 @i %s n 0000 | a river  ",
  ]
  data, ids = b"", []
  for row in rows:
    ids.append(f"n{len(data):08d}")
    above = ids[-2][1:].encode() if len(ids) > 1 else b""
    data += ids[-1][1:].encode() + b" 03 " + row.replace(b"%s", above) + b"\n"
  found = dict(make_wordnet.lines(data, ids[2:]))
  assert found == {
    ids[0]: (["entity"], "", ""),
    ids[1]: (["a b"], "", ids[0]),
    ids[2]: (["Nile"], "a river", ids[1]),
  }
  named = dict(make_wordnet.lines(data, ids))
  assert [named[i][1] for i in ids] == ["that which is", 'x; a "y" z', "a river"]
  assert named[ids[1]][0][0] == "a b" and len(named[ids[1]][0]) == 10
  with pytest.raises(ValueError, match="has no synset n00000001"):
    make_wordnet.read(data, "n00000001")


def test_what_ships_is_what_wordnets_files_say():
  if not DATA.is_file():
    pytest.skip("needs WordNet's files: apt-get install wordnet-base")
  assert make_wordnet.to_text(DATA.read_bytes()) == synsets.FILE.read_text()
