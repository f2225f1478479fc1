"""Lists that a language model writes: LE, CD, SD and LAR, from requests to prompts, through a kill, and made again from answers."""

import json
import shutil
from collections.abc import Callable

import pytest

from synthjax import study
from synthjax.prompts import language_models
from synthjax.runtime.errors import UserError
from synthjax.runtime.registry import Registry
from synthjax.spec import config as fields_of
from synthjax.spec import validation
from synthjax.spec.command import Command
from tests.prompts import scripted
from tests.prompts.scripted import Scripted


@pytest.fixture
def model(monkeypatch) -> Callable[..., Scripted]:
  """Makes the model that writer scripted: asks."""

  def make(**given) -> Scripted:
    found = Scripted(**given)
    registry = Registry("language model", dict(language_models.MODELS) | {"scripted": lambda *_: found})
    monkeypatch.setattr(language_models, "MODELS", registry)
    return found

  return make


@pytest.fixture
def asked(tmp_path):
  """Runs stage prompts of a study with one list, and gives its prompts."""

  def run(strategy: str, name="L", plan=False, labels="digits", real="", **fields) -> list[dict]:
    config = fields_of.study_config(labels)
    given = dict(writer="scripted:x", per_class=20, overlap=1.0) | fields
    config.prompts[name] = fields_of.prompt_list(strategy, **given)
    if real:
      config.prompts[name].real = "some"
      config.real.some = fields_of.real_images(real)
      config.encoders.clip = fields_of.encoder()
    validation.check(config)
    stages = ("prompts", "embed") if real else ("prompts",)
    study.run(Command(config, str(tmp_path / "w"), line="", stages=stages, plan=plan))
    file = tmp_path / "w/prompts" / name / "prompts.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

  return run


def texts_of(prompts, class_id):
  return [p["text"] for p in prompts if p["class_id"] == class_id]


def test_contextual_prompts_combine_one_of_each_list(model, asked):
  asker = model(spoilt=0.3)
  prompts = asked("CD", items=12)
  assert [p["class_id"] for p in prompts] == [str(i) for i in range(10) for _ in range(20)]
  for p in prompts:
    assert p["parts"].keys() == {"foreground", "background", "lighting", "camera"}
    assert all(part in p["text"] for part in p["parts"].values()) and f"digit {p['class_id']}" in p["text"]
    assert p["origin"] == "CD: scripted"
  assert len({tuple(p["parts"].values()) for p in prompts if p["class_id"] == "3"}) == 20
  spoilt = [r for r in asker.asked if len(r.messages) > 2]
  assert spoilt and all("cannot be used" in r.messages[-1].text for r in spoilt)


def test_captions_that_the_encoder_does_not_read_to_the_end_are_dropped(model, asked):
  model()
  with pytest.raises(UserError, match="10 classes got no prompt of use"):  # of 32 tokens, and these have 70
    asked("CD", real="embedded:digits:first", fits="clip", items=12)


def test_styles_are_asked_once_and_each_class_is_depicted_in_all(model, asked):
  asker = model()
  prompts = asked("SD", styles=10, per_class=10)
  assert {p["parts"]["style"] for p in prompts if p["class_id"] == "7"} == {f"styles {i}" for i in range(10)}
  assert sum("artistic styles" in r.messages[1].text for r in asker.asked) == 1
  assert len(asker.asked) == 11


def test_sentences_are_dropped_for_nothing_but_exact_repeats(model, asked):
  model()
  prompts = asked("LE", draws=30, names_class=True)
  assert len(texts_of(prompts, "0")) == 20 and not any("digit" in p["text"] for p in prompts)
  assert all(p["text"].startswith("a photo of a thing called") for p in prompts)


def test_a_second_run_asks_nothing_and_recorded_answers_make_the_same_bytes(
  model, asked, tmp_path, monkeypatch
):
  asker = model(spoilt=0.2)
  first = asked("CD", items=12)
  n = len(asker.asked)
  assert asked("CD", items=12) == first and len(asker.asked) == n
  again = asked("CD", name="again", items=12, writer=f"recorded:{tmp_path / 'w/prompts/L'}")
  assert again == first and len(asker.asked) == n
  assert asked("CD", name="own", items=12, writer="recorded:L") == first
  copy = tmp_path / "copy"
  shutil.copytree(tmp_path / "w/prompts/L", copy)
  assert asked("CD", name="copied", items=12, writer=f"recorded:{copy}") == first
  shutil.rmtree(copy)
  assert asked("CD", name="copied", items=12, writer=f"recorded:{copy}") == first
  with pytest.raises(UserError, match="recorded with other classes or fields"):
    asked("CD", name="other", items=11, writer="recorded:L")


def test_a_grown_style_list_asks_only_what_is_new(model, asked, tmp_path):
  """Answers outlive the list: with its prompts gone, another strategy's setting reuses what was answered."""
  asker = model()
  asked("CD", items=12, per_class=20)
  n = len(asker.asked)
  folder = tmp_path / "w/prompts/L"
  for file in [*folder.glob("classes-*"), folder / "prompts.jsonl", folder / "record.json"]:
    file.unlink()
    for mark in (folder / ".checksums").glob(f"{file.name}.*"):
      mark.unlink()
  asked("CD", items=12, per_class=30)
  assert len(asker.asked) == n + 10 * 1  # a third request of captions for each class


def test_a_class_without_prompts_is_named_or_takes_the_basic_one(model, asked, capsys):
  model(dry="digit 4")
  with pytest.raises(UserError, match=r"1 classes got no prompt of use from the model \('4'\)"):
    asked("CD", items=12)
  model(dry="digit 4")
  prompts = asked("CD", name="M", items=12, when_missing="basic")
  assert texts_of(prompts, "4") == ["a photo of a digit 4"]
  assert "1 classes got no prompt of use and take the basic one ('4')" in capsys.readouterr().err


def test_the_plan_counts_requests_and_tokens(model, asked, capsys):
  model()
  asked("CD", items=12, plan=True)
  said = capsys.readouterr().out
  assert "prompts/L" in said and "0/30" in said and "requests" in said
  assert "30 requests of 30, about" in said and "tokens asked" in said


def test_the_meaning_most_like_the_real_images_is_chosen(model, asked, tmp_path, monkeypatch):
  """Class ids are digits, names are all alike: only pictures tell what they mean."""
  labels = tmp_path / "labels.yaml"
  labels.write_text("classes:\n" + "".join(f'  "{i}": mark {i}\n' for i in range(10)))
  for i in range(10):
    monkeypatch.setitem(scripted.MEANINGS, f"mark {i}", [f"letter {'ABCDEFGHIJ'[i]}", f"digit {i}", "a wall"])
  model()
  prompts = asked("LAR", labels=str(labels), real="embedded:digits:first", template="{}")
  chosen = {p["class_id"]: p["parts"] for p in prompts}
  right = [i for i in range(10) if chosen[str(i)]["description"] == f"digit {i}"]
  assert all(c["chosen_by"] == "real images" for c in chosen.values())
  assert len(right) >= 8
  styles = dict(labels=str(labels), real="embedded:digits:first", fits="clip", styles=12)
  assert len(asked("SD", name="C", **styles)) > 100
  body = json.loads((tmp_path / "w/prompts/C/spread.json").read_text())
  assert body["encoder"] == "clip" and 0 < body["distance"] < 1
  lines = [json.loads(line) for line in (tmp_path / "w/prompts/L/meanings.jsonl").read_text().splitlines()]
  assert all(len(line["scores"]) == 3 for line in lines)


def test_real_images_are_described_one_by_one_with_the_name_before_the_caption(model, asked):
  asker = model(spoilt=0.2)
  prompts = asked("captions", real="embedded:digits:first", per_class=3)
  pictures = [r.images for r in asker.asked if len(r.messages) == 2]
  assert len(pictures) == len(set(pictures)) == 30 and all(p.startswith(b"\x89PNG") for (p,) in pictures)
  assert texts_of(prompts, "4") and all(
    p["text"] == f"digit {p['class_id']}, {p['parts']['caption']}" for p in prompts
  )
  assert {p["text"] for p in prompts if p["class_id"] == "4"} <= {
    f"digit 4, a picture of {len(p)} bytes" for (p,) in pictures
  }


def test_without_real_images_the_first_meaning_is_taken(model, asked, monkeypatch):
  monkeypatch.setitem(scripted.MEANINGS, "digit 1", ["a stroke", "a one"])
  model()
  prompts = asked("LAR")
  one = next(p for p in prompts if p["class_id"] == "1")
  assert one["text"] == "a photo of a digit 1, a stroke" and one["parts"]["chosen_by"] == "first meaning"


@pytest.mark.parametrize(
  "strategy, fields, line",
  [
    ("CD", dict(writer="grammar"), "strategy CD asks a language model; set writer to lm:REFERENCE"),
    ("SD", dict(writer="t5:x/y"), "a T5 writes sentences for strategy LE alone"),
    ("CD", dict(writer="server:http://localhost:1"), "needs the name of a model there; set model"),
    ("LE", dict(draws=10), "draws is 10, fewer than per_class 20"),
    ("CD", dict(writer="recorded:nowhere"), "no answers in"),
    ("captions", dict(writer="lm:x/y"), "takes no images; for captions set writer to server"),
    ("captions", dict(), "captions by a model are of real images; set real"),
    ("captions", dict(writer=""), "strategy captions needs a file"),
    ("CD", dict(described_by="M"), "described_by: prompt list 'M'"),
    ("CD", dict(described_by="L"), "L -> L: prompt lists are made from one another in a circle"),
    ("mix", dict(lists="L"), "strategy mix takes two lists or more"),
  ],
)
def test_what_cannot_be_is_one_line_and_makes_nothing(model, asked, tmp_path, strategy, fields, line):
  model()
  with pytest.raises(UserError, match=line):
    asked(strategy, **fields)
  assert not list(tmp_path.glob("w/prompts/*"))
