"""A world in which a name may mean two glyphs, and the answers that ship for configs/diversify.py."""

import json
import re
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from synthjax import study
from synthjax.cli.command_line import load_config_file
from synthjax.labels import spaces
from synthjax.prompts import language_models
from synthjax.small_world import weights, world
from synthjax.spec import validation
from synthjax.spec.command import Command
from synthjax.weights import tokenizer
from tests.small_world import make_answers


def test_captions_call_a_glyph_by_each_of_its_names():
  labels = spaces.load("solfege-glyphs")
  pictures = world.pictures(17 * 40, labels, world.ALL_STYLES, seed=0)
  said = {i: pictures.captions[labels.ids.index(i) :: 17] for i in ("1", "C", "8")}
  do = [c for i in ("1", "C") for c in said[i] if re.search(r"\bdo\b", c)]
  alone = [c for c in do if not re.search(r"do, a (digit 1|letter C)\b", c)]
  assert 40 < len(do) < 67 and 15 < len(alone) < 40  # two thirds of 80, and one
  assert all("digit 8" in c for c in said["8"])
  assert any(re.search(r"\bdo, a digit 1\b", c) for c in said["1"])
  assert not any("letter C" in c for c in said["1"])
  plain = world.pictures(17, spaces.LabelSpace(labels.ids, labels.names), world.ALL_STYLES, seed=0)
  assert (plain.pixels == pictures.pixels[:17]).all()  # names change no picture
  assert {"do", "sol"} < world.words(labels)


def prompts_of(folder: Path) -> dict[str, list[dict]]:
  return {
    name: [
      json.loads(line) for line in (folder / "prompts" / name / "prompts.jsonl").read_text().splitlines()
    ]
    for name in (*make_answers.LISTS, "CD+SD")
  }


@pytest.fixture(scope="module")
def shipped(tmp_path_factory) -> tuple[Path, dict[str, list[dict]]]:
  """The lists of the config as it stands, by the answers that ship; and of these answers those that the script gives today."""
  folder = tmp_path_factory.mktemp("diversify")
  config = load_config_file(str(make_answers.ROOT / "configs/diversify.py"))
  for group in ("sets", "learners", "networks"):
    config[group] = ConfigDict()
  validation.check(config)
  study.run(Command(config, str(folder / "w"), line="", stages=("embed", "prompts")))
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(language_models, "MODELS", make_answers.with_script())
    make_answers.make(folder / "answers")
  return folder / "answers", prompts_of(folder / "w")


def test_the_answers_that_ship_are_those_to_what_is_asked_today(shipped):
  """Else: python -m tests.small_world.make_answers"""
  for name in make_answers.LISTS:
    assert (shipped[0] / f"{name}.jsonl").read_bytes() == (make_answers.FOLDER / f"{name}.jsonl").read_bytes()


def test_the_real_images_choose_the_meaning_that_was_planted(shipped):
  chosen = {p["class_id"]: p["parts"] for p in shipped[1]["LAR"]}
  assert {i: c["description"] for i, c in chosen.items()} == {str(i): f"a digit {i}" for i in range(10)}
  assert {c["chosen_by"] for c in chosen.values()} == {"real images"}
  first = {name: make_answers.meanings(name)[0] for name in make_answers._DIGITS}
  assert sum(meaning.startswith("a letter") for meaning in first.values()) == 4


def test_prompts_are_in_words_that_the_text_towers_know_and_within_their_tokens(shipped):
  texts = [p["text"] for prompts in shipped[1].values() for p in prompts]
  assert len(texts) > 1000
  known = world.words(spaces.load("solfege-glyphs"))
  assert {w for text in texts for w in re.findall(r"[a-z]{2,}", text.lower())} <= known
  of = tokenizer.read(weights.folder("embedded:generator") / "tokenizer", "transformers")
  assert tokenizer.tokenize(of, texts, world.MAX_TOKENS).lengths.max() <= world.MAX_TOKENS
  assert not any(style in text for style in make_answers.HELD_OUT for text in texts)


def test_each_class_has_as_many_prompts_as_the_largest_set_uses(shipped):
  for name, n in {"CD": 60, "SD": 30, "CD+SD": 60}.items():
    of_class = [p["class_id"] for p in shipped[1][name]]
    assert {of_class.count(i) for i in set(of_class)} == {n}, name
