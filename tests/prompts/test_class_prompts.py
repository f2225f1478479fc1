"""What is dropped of the texts that a model wrote for a class, and why."""

import pytest

from synthjax.prompts.class_prompts import (
  BANNED,
  LONG,
  NEAR,
  REPEATED,
  UNNAMED,
  Checks,
  ClassPrompts,
  OneClass,
  Text,
)
from synthjax.spec.fields import Prompts


def taken(texts, name="great grey owl", too_long=lambda t: False, **fields) -> ClassPrompts:
  checks = Checks(
    Prompts(**dict(per_class=9) | fields), OneClass("c", name), lambda ts: [too_long(t) for t in ts]
  )
  checks.take([Text(t) for t in texts])
  return checks.result()


@pytest.mark.parametrize(
  ("text", "is_named"),
  [
    ("A Great Grey Owl at dusk", True),
    ("two great grey owls, asleep", True),
    ("great grey-owl", True),
    ("a grey great owl", False),
    ("great grey owlet", False),
    ("great greyowl", False),
  ],
)
def test_the_name_stands_as_whole_words_in_order_perhaps_in_the_plural(text, is_named):
  found = taken([text])
  assert [t.text for t in found.texts] == ([text] if is_named else [])
  assert found.dropped == ({} if is_named else {UNNAMED: 1})
  assert taken([text], names_class=False).texts


def test_each_text_is_dropped_for_its_first_reason_and_the_rest_is_not_looked_at_once_there_are_enough():
  texts = ["owl one", "Owl  ONE", "owl two on a drawing", "wren", "owl " + "x " * 50, "owl four", "owl five"]
  found = taken(texts, name="owl", banned=" drawing , oil paint", too_long=lambda t: len(t) > 60, per_class=2)
  assert [t.text for t in found.texts] == ["owl one", "owl four"]
  assert found.dropped == {REPEATED: 1, BANNED: 1, UNNAMED: 1, LONG: 1}


def test_near_repeats_share_more_than_so_many_of_their_words():
  """Jaccard's index of a b c d e and a b c d f is 4 / 6."""
  pair = ["owl a b c d e", "owl a b c d f"]  # 5 / 7 with the name
  assert taken(pair, name="owl", overlap=0.7).dropped == {NEAR: 1}
  assert taken(pair, name="owl", overlap=0.72).dropped == {}
  assert taken(["owl a b", "b a owl"], name="owl", overlap=1.0).dropped == {}
