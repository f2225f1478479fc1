"""The writer of word lists: English, distinct, pinned, and never of another class."""

import hashlib
import re

import pytest

from synthjax.labels.spaces import KINDS, SPACES, LabelSpace, load
from synthjax.prompts import strategies, words, writers
from synthjax.prompts.sentences import without_article
from synthjax.spec.fields import Prompts

OWN = [name for name in SPACES if not name.startswith("imagenet-")]  # the others are parts of ImageNet
_NOT_WRONG = {("caltech101-vtab", "background")}  # a class that is no thing


def distinct(space: LabelSpace, class_id: str) -> int:
  return len({s.text for s in words.words(class_id, space.name_of(class_id), 250, 0, space)})


@pytest.mark.parametrize("name", SPACES)
def test_of_250_draws_200_are_distinct(name):
  space = load(name)
  assert all(distinct(space, class_id) >= 200 for class_id in space.ids[:: max(1, len(space) // 4)])


@pytest.mark.slow
@pytest.mark.parametrize("name", OWN)
def test_of_250_draws_200_are_distinct_for_every_class(name):
  space = load(name)
  assert all(distinct(space, class_id) >= 200 for class_id in space.ids)


def test_sentences_are_seeded_and_pinned():
  """They are part of every image's identity: they may not change with Python or with this file."""
  space = load("cifar10")
  first = words.words("ship", "ship", 2, 0, space)
  assert first == words.words("ship", "ship", 3, 0, space)[:2] != words.words("ship", "ship", 2, 1, space)
  assert [write(name).prompts[1].text for name in ("cifar10", "eurosat", "cars")] == [
    "a photo of a typical airplane alone in the picture on a summer day, in bright light, seen from the left side",
    "a centered satellite photo of small Annual Crop Land next to something else, seen at a slant",
    "a photo of a dusty 2000 AM General Hummer SUV parked in the mountains, in cold light, seen from close by",
  ]
  lists = {kind: words.words("a", "ant", 99, 0, LabelSpace(("a",), ("ant",), kind=kind)) for kind in KINDS}
  text = "\n".join(s.text for kind in KINDS for s in lists[kind])
  assert hashlib.sha256(text.encode()).hexdigest()[:12] == "33c0e3430edb"


def write(labels: str | LabelSpace, **fields) -> strategies.Written:
  space = load(labels) if isinstance(labels, str) else labels
  return strategies.write(Prompts(**dict(strategy="LE", draws=12, per_class=4) | fields), space)


@pytest.mark.parametrize("name", OWN)
def test_prompts_read_as_english_whatever_the_template(name):
  space = load(name)
  for template in ("", "a photo of the {}."):
    for prompt in write(name, writer="words", template=template, draws=4).prompts:
      text = prompt.text
      assert space.name_of(prompt.class_id) in text
      assert not re.search(r"\b(an?|the) (an?|the) |  | ,|,,|, ?$|^,", text, re.IGNORECASE), text
      assert not re.search(r"\ba (?!one\b)(?:[aioAIO]|[eE](?!u|w))\w", text), text


@pytest.mark.parametrize("name", SPACES)
def test_no_list_has_another_classs_name_in_it(name):
  space = load(name)
  said = "\n".join(words.phrases(space.kind)).casefold()
  names = {part.casefold() for n in space.names for part in (n, *re.split(r" or | / ", n))}
  found = [n for n in names if n in said and re.search(rf"\b{re.escape(n)}(?:s|es)?\b", said)]
  assert {(name, n) for n in found} <= _NOT_WRONG


@pytest.mark.parametrize("name", ["eurosat", "dtd", "sun397"])
def test_no_list_has_a_word_of_a_class_where_all_of_the_picture_is_one(name):
  of_classes = {w for n in load(name).names for w in re.findall("[a-z]{4,}", n.casefold())}
  for phrase in words.phrases(load(name).kind):
    own = set(re.findall("[a-z]{4,}", phrase.casefold()))
    assert not (own | {w.removesuffix("s") for w in own}) & of_classes, phrase


def test_every_kind_has_lists_and_every_published_space_its_own():
  space = LabelSpace(("a",), ("ant",))
  for kind in KINDS:
    made = LabelSpace(space.ids, space.names, kind=kind)
    assert words.phrases(kind) and "ant" in words.words("a", "ant", 1, 0, made)[0].text
  kinds = {name: load(name).kind for name in SPACES}
  assert kinds["eurosat"] == kinds["resisc45"] == "satellite" and kinds["sun397"] == "scenes"
  assert kinds["cub"] == kinds["birdsnap"] == "birds" and kinds["pets"] == "pets"
  assert kinds["cifar10"] == kinds["imagenet"] == kinds["imagenet-r-80"] == "objects"


@pytest.mark.parametrize(
  ("name", "article"),
  [
    ("airplane", "an"), ("unicycle", "a"), ("umbrella", "an"), ("hourglass", "an"), ("house", "a"), ("European polecat", "a"),
    ("ewer", "a"), ("one-piece bathing suit", "a"), ("utility room", "a"), ("uninhabited hut", "an"), ("MD-11", "an"),
    ("F-16A/B", "an"), ("A310", "an"), ("Il-76", "an"), ("DHC-6", "a"), ("FIAT 500", "a"), ("737-200", "a"), ("8 ball", "an"),
    ("AK-47", "an"), ("GMC Terrain", "a"), ("Urban canal", "an"),
  ],
)  # fmt: skip
def test_the_article_goes_by_the_sound(name, article):
  assert words.article(name) == article


@pytest.mark.parametrize(
  ("name", "is_counted"),
  [
    ("sunglasses", False), ("Residential Buildings", False), ("Annual Crop Land", False), ("broccoli", False), ("pajamas", False),
    ("school bus", True), ("bird of paradise", True), ("beer glass", True), ("stained glass", False), ("letter S", True),
    ("2012 Buick Regal GS", True), ("iris", True), ("the sea", False), ("ibis", True), ("swim trunks / shorts", False),
  ],
)  # fmt: skip
def test_what_has_no_singular_has_no_article(name, is_counted):
  assert words.is_counted(name) == is_counted


def test_templates_lose_the_article_and_nothing_else():
  templates = (
    "a photo of a {}",
    "an {}",
    "a photo of the {} in a zoo",
    "The {}",
    "a satellite photo of {}",
    "a {} texture",
  )
  assert [without_article(t) for t in templates] == [
    "a photo of {}", "{}", "a photo of {} in a zoo", "{}", "a satellite photo of {}", "{} texture",
  ]  # fmt: skip
  assert without_article("data {}") == "data {}" and without_article("pizza {}") == "pizza {}"


# --- the default -----------------------------------------------------------------------------------


def test_the_default_is_the_grammar_for_glyphs_and_words_for_all_else():
  LE = Prompts(strategy="LE")
  said = strategies.identity(LE, load("digits"))
  assert said == strategies.identity(Prompts(strategy="LE", writer="grammar"), load("digits"))
  assert said["writer"] == "grammar" and "kind" not in said
  said = strategies.identity(LE, load("eurosat"))
  assert (said["writer"], said["kind"]) == ("words", "satellite")
  assert writers.name_of(LE, LabelSpace(("3", "4"), ("digit 3", "four"))) == "words"
  assert "writer" not in strategies.identity(Prompts(strategy="B"), load("cifar10"))
  written = write("cifar10")
  assert written.prompts[0].origin == "LE: words, a photo of {}" and not written.notes


def test_a_users_writer_may_ask_for_the_label_space(monkeypatch):
  def plain(class_id, name, draws, seed):
    return [writers.Sentence(f"{name} {draws}", {})]

  def knowing(class_id, name, draws, seed, labels):
    return [writers.Sentence(f"{name} of {len(labels)} {labels.kind}", {})]

  known = type(writers.WRITERS)("writer", {"plain": plain, "knowing": knowing})
  monkeypatch.setattr(writers, "WRITERS", known)
  assert write("dtd", writer="plain").prompts[0].text == "a photo of a banded 12"
  assert write("dtd", writer="knowing").prompts[0].text == "a photo of a banded of 47 textures"
