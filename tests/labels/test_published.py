"""The label spaces of the papers' data sets, against what tfds ships of them."""

import re

import pytest
import tensorflow_datasets as tfds

from synthjax.labels import spaces
from synthjax.labels.matching import match

# Classes as the data sets' own pages count them; (background and easy faces of Caltech101 are no classes in CoOp).
COUNTS = {
  "cifar10": 10,
  "cifar100": 100,
  "caltech101": 100,
  "caltech101-vtab": 102,
  "caltech256": 256,
  "imagenet": 1000,
  "sun397": 397,
  "aircraft": 100,
  "birdsnap": 500,
  "cars": 196,
  "cub": 200,
  "flowers102": 102,
  "food101": 101,
  "pets": 37,
  "dtd": 47,
  "eurosat": 10,
  "imagenet-sketch": 1000,
  "imagenet-r": 200,
  "imagenet-v2": 1000,
  "imagenet-a": 200,
  "imagenet-lt": 1000,
  "stl10": 10,
  "resisc45": 45,
  "gtsrb": 43,
  "country211": 211,
}
# Where tfds ships the label names with its code: the same classes in the same order as ours.
TFDS = {
  "caltech101": "caltech101",
  "caltech101-vtab": "caltech101",
  "imagenet": "imagenet2012",
  "sun397": "sun397/standard-part1-120k",
  "cars": "cars196",
  "flowers102": "oxford_flowers102",
  "food101": "food101",
  "pets": "oxford_iiit_pet",
  "dtd": "dtd",
  "eurosat": "eurosat/rgb",
  "imagenet-sketch": "imagenet_sketch",
  "imagenet-r": "imagenet_r",
  "imagenet-v2": "imagenet_v2",
  "imagenet-a": "imagenet_a",
  "imagenet-lt": "imagenet_lt",
  "resisc45": "resisc45",
}


def test_every_data_set_of_the_papers_is_there_with_so_many_classes():
  assert {name: len(spaces.load(name)) for name in COUNTS} == COUNTS
  ensembles = {f"{name}-80" for name in ("imagenet", "imagenet-r", "imagenet-a")}
  small_world = {"digits", "glyphs", "letters", "seen-glyphs", "solfege", "solfege-glyphs"}
  assert set(spaces.SPACES) == COUNTS.keys() | ensembles | small_world


@pytest.mark.parametrize("name", TFDS)
def test_classes_and_their_order_are_those_that_tfds_ships(name, tmp_path):
  labels = spaces.load(name)
  theirs = tfds.builder(TFDS[name], data_dir=str(tmp_path)).info.features["label"].names
  ours = [i for i in theirs if i in labels.ids]
  assert ours == list(labels.ids)
  places = match(theirs, labels, name)
  assert places[places >= 0].tolist() == list(range(len(labels)))
  assert {theirs[k] for k in range(len(theirs)) if places[k] < 0} == set(labels.passed_over)


def test_birds_and_cars_and_caltech256_lie_where_their_own_numbers_say():
  for name, known in {
    "cub": {
      1: "Black footed Albatross",
      17: "Cardinal",
      130: "Tree Sparrow",
      138: "Tree Swallow",
      200: "Common Yellowthroat",
    },
    "caltech256": {
      1: "AK-47",
      56: "dog",
      85: "goat",
      105: "horse",
      145: "motorbike",
      251: "airplane",
      256: "toad",
    },
  }.items():
    labels = spaces.load(name)
    assert [i[:3] for i in labels.ids] == [f"{k:03d}" for k in range(1, len(labels) + 1)]
    assert {k: labels.names[k - 1] for k in known} == known
  assert spaces.load("cars").name_of("AM General Hummer SUV 2000") == "2000 AM General Hummer SUV"


def test_names_read_well_in_a_prompt():
  for name in COUNTS:
    labels = spaces.load(name)
    for text in labels.names:
      assert text == text.strip() and "_" not in text and "  " not in text, (name, text)
      assert text.isprintable() and len(text) < 100
    for template in (labels.template, *labels.templates):
      assert template.count("{}") == 1 and not re.search(r"\{\w", template)


def test_imagenet_has_two_pairs_of_one_name_and_says_so():
  notes = spaces.load("imagenet").notes()
  assert [re.findall(r"n\d{8}", line) for line in notes] == [
    ["n03773504", "n04008634"],
    ["n04355933", "n04356056"],
  ]
  assert "'missile'" in notes[0] and "'sunglasses'" in notes[1]
  assert [name for name in COUNTS if spaces.load(name).notes()] == [
    "imagenet",
    "imagenet-sketch",
    "imagenet-v2",
    "imagenet-lt",
  ]


def test_imagenets_kin_share_its_ids_names_and_headline_ensemble():
  imagenet, r = spaces.load("imagenet"), spaces.load("imagenet-r")
  assert len(imagenet.templates) == 7 and imagenet.templates[0] == "itap of a {}."
  assert len(spaces.load("imagenet-80").templates) == 80
  assert spaces.load("imagenet-r-80").templates == spaces.load("imagenet-80").templates
  assert r.templates == imagenet.templates and spaces.load("imagenet-80").names == imagenet.names
  assert all(imagenet.name_of(i) == r.name_of(i) for i in r.ids)
  assert set(r.ids) & set(r.passed_over) == set() and len(r.passed_over) == 800


def test_eurosat_asks_for_satellite_photos_and_the_others_for_photos():
  templates = {name: spaces.load(name).template for name in COUNTS}
  assert templates.pop("eurosat") == "a centered satellite photo of {}"
  assert set(templates.values()) == {"a photo of a {}"}
