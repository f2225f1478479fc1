"""A class's name with what WordNet says of it."""

import pytest

from synthjax.labels.spaces import LabelSpace, load
from synthjax.labels.synsets import Synset
from synthjax.prompts import strategies
from synthjax.runtime.errors import UserError
from synthjax.spec.fields import Prompts

CRANES = load("imagenet")


def write(labels=CRANES, **fields):
  return {p.class_id: p for p in strategies.write(Prompts(**fields), labels).prompts}


def test_a_gloss_stands_behind_the_name():
  found = write(strategy="gloss")
  gloss = "large long-necked wading bird of marshes and plains in many parts of the world"
  bird = found["n02012849"]
  name = CRANES.name_of("n02012849")
  assert bird.text == f"a photo of a {name}, {gloss}" and bird.parts == {"description": gloss}
  assert bird.origin == "gloss: WordNet, a photo of a {}" and len(found) == 1000
  assert "wading" not in found["n03126707"].text
  assert write(strategy="gloss", template="{}!")["n02012849"].text == f"{name}, {gloss}!"


def test_hypernyms_go_from_the_nearest_to_the_root():
  text = write(load("cifar10"), strategy="hypernyms")["airplane"].text
  assert text.startswith("a photo of a airplane, heavier-than-air craft, aircraft, craft, vehicle")
  assert text.endswith("physical entity, entity")
  assert write(load("cifar10"), strategy="hypernyms", hypernyms=2)["airplane"].text == (
    "a photo of a airplane, heavier-than-air craft, aircraft"
  )


def test_identity_has_the_texts_and_how_many():
  def of(labels=CRANES, **fields):
    return strategies.identity(Prompts(**fields), labels)

  assert (
    "hypernyms" not in of(strategy="hypernyms") and of(strategy="hypernyms", hypernyms=2)["hypernyms"] == 2
  )
  assert of(strategy="hypernyms") != of(strategy="hypernyms", hypernyms=2) != of(strategy="gloss")
  assert of(strategy="gloss") == of(strategy="gloss", draws=3, seed=7, hypernyms=3)
  other = LabelSpace(CRANES.ids, CRANES.names, wordnet=((CRANES.ids[0], Synset("a fish", ())),))
  assert of(other, strategy="gloss")["wordnet_sha256"] != of(strategy="gloss")["wordnet_sha256"]


@pytest.mark.parametrize(
  ("strategy", "what"), [("gloss", "no WordNet definition"), ("hypernyms", "no WordNet hypernyms")]
)
def test_a_class_without_is_named_with_the_key_to_add(strategy, what):
  with pytest.raises(UserError) as e:
    write(load("eurosat"), strategy=strategy)
  line = str(e.value)
  assert f"strategy {strategy}: {what} of class 'AnnualCrop' (Annual Crop Land)" in line and "\n" not in line
  assert "`wordnet: {AnnualCrop: {gloss: TEXT, hypernyms: [TEXT, ...]}}` in the labels file" in line
