"""Texts that cleaning alters make other pixels and classifiers: what was made before is named, all else stays."""

import shutil
import unicodedata

import pytest
import tensorflow_datasets as tfds

from synthjax import study
from synthjax.disk import workdir
from synthjax.products.image_set import ImageSet
from synthjax.products.network import Network
from synthjax.spec import config as fields_of
from synthjax.spec import validation
from synthjax.spec.command import Command
from synthjax.store import corrections, records
from synthjax.weights import clean_text, tokenizer

ALTERED = "an “ant”, by day"


def run(config, folder, **kwargs) -> None:
  validation.check(config)
  study.run(Command(config, str(folder), line="python -m synthjax.main ...", **kwargs))


def plan_of(config, folder, capsys) -> tuple[dict[str, str], str]:
  """(product -> state, all that is printed)"""
  capsys.readouterr()
  run(config, folder, plan=True)
  printed = capsys.readouterr().out
  return {row.split()[0]: row.split()[1] for row in printed.splitlines() if ": " not in row}, printed


@pytest.fixture
def before(monkeypatch):
  """Runs a function as releases did that cleaned no texts."""

  def of(then):
    with monkeypatch.context() as patch:
      patch.setattr(clean_text, "is_altered", lambda text: False)
      patch.setattr(tokenizer, "in_words", lambda text: unicodedata.normalize("NFC", text).lower())
      return then()

  return of


@pytest.fixture
def texts(small, tmp_path):
  """A set of plain prompts, and one in which one of three is altered."""

  def make():
    config = small(tmp_path, images_per_class=1)
    del config.sets["B"]
    for name, text in dict(plain="an ant", altered=ALTERED).items():
      (tmp_path / f"{name}.tsv").write_text(f"a\t{text}\nb\tbee\nc\tcat\n", encoding="utf-8")
      config.prompts[name] = fields_of.prompt_list("file", file=str(tmp_path / f"{name}.tsv"))
      config.sets[name] = fields_of.image_set(name)
    return config

  return make


def rows(folder, name: str) -> list[dict]:
  return list(tfds.builder_from_directory(folder / "images" / name).as_data_source("train"))


def test_sets_with_an_altered_text_are_refused_and_made_anew(texts, before, tmp_path, capsys):
  folder = tmp_path / "w"
  before(lambda: run(texts(), folder))
  then = {name: rows(folder, name) for name in ("plain", "altered")}
  states, printed = plan_of(texts(), folder, capsys)
  assert (states["images/plain"], states["images/altered"]) == ("done", "refused")
  assert "images/altered was made under a rule that has been corrected since: texts are cleaned" in printed
  with pytest.raises(records.Corrected, match=r"HTML entities.*; remove .*images/altered to make it again"):
    run(texts(), folder)
  shutil.rmtree(folder / "images" / "altered")
  run(texts(), folder)
  assert "nothing is missing" in plan_of(texts(), folder, capsys)[1]
  first, *others = [(old, new) for old, new in zip(then["altered"], rows(folder, "altered"), strict=True)]
  assert first[1]["prompt"].decode() == ALTERED  # stored as it is written
  assert not (first[0]["image"] == first[1]["image"]).all()
  for old, new in (first, *others):
    assert old["image_id"] != new["image_id"] and old["noise_id"] == new["noise_id"]
  for old, new in others:
    assert (old["image"] == new["image"]).all()


@pytest.mark.parametrize(
  "fields, is_other",
  [
    (dict(), False),
    (dict(negative_prompt="fog"), False),
    (dict(negative_prompt="“fog”"), True),
    (dict(negative_prompt="“fog”", guidance=1.0), False),
  ],
)
def test_a_negative_prompt_counts_where_it_guides(texts, before, tmp_path, fields, is_other):
  config = texts()
  config.sets.led = fields_of.image_set("plain", **fields)
  run(config, tmp_path / "w", stages=("prompts",))

  def identity() -> str:
    return (
      study.design(config, workdir.open_workdir(str(tmp_path / "w"))).get(ImageSet, "led").identity_hash()
    )

  assert (before(identity) != identity()) == is_other


@pytest.fixture
def judged(digits, tmp_path):
  """Some of whose classes have typographic names."""

  def make(quoted: bool):
    file, name = tmp_path / f"labels-{quoted}.yaml", "digit “3”" if quoted else "digit three"
    file.write_text(f"like: digits\nclasses: {{3: {name}}}\n", encoding="utf-8")
    config = digits(images_per_class=1)
    config.labels, config.seeds = str(file), 1
    config.prompts.LE = fields_of.prompt_list("file", file=str(tmp_path / "p.tsv"))
    (tmp_path / "p.tsv").write_text("".join(f"{i}\tdigit {i}\n" for i in range(10)))
    config.filters.CF.update(kept_per_class=1, max_rounds=0)
    del config.arms["LE+CE"]
    return config

  return make


def test_a_classifier_of_altered_names_is_another(judged, before, tmp_path, capsys):
  before(lambda: run(judged(True), tmp_path / "w"))
  states, printed = plan_of(judged(True), tmp_path / "w", capsys)
  assert {states[name] for name in ("images/LE", "embeddings/LE/clip", "embeddings/digits/clip")} == {"done"}
  assert states["keep/LE/CF-clip"] == "refused" and states["runs/zero-shot"] == "missing"
  assert (
    "runs/zero-shot: an older result, runs/" in printed and "was made before: texts are cleaned" in printed
  )


def test_a_classifier_of_plain_names_is_found(judged, before, tmp_path, capsys):
  before(lambda: run(judged(False), tmp_path / "w"))
  assert "nothing is missing" in plan_of(judged(False), tmp_path / "w", capsys)[1]


@pytest.mark.parametrize("name, is_altered", [("digit 1", False), ("digit “1”", True)])
def test_a_network_that_reads_altered_names_is_another(before, tmp_path, name, is_altered):
  (tmp_path / "labels.yaml").write_text(f"classes: {{1: {name}, 2: digit 2}}\n", encoding="utf-8")
  config = fields_of.study_config(labels=str(tmp_path / "labels.yaml"))
  for task in ("contrast", "autoencode"):
    config.networks[task] = fields_of.network(task)

  def identities() -> list[dict]:
    networks = study.design(config, workdir.open_workdir(str(tmp_path / "w"))).of(Network)
    return [network._record().identity for network in networks]

  (reads, sees), then = identities(), before(identities)
  assert sees == then[1] and (reads != then[0]) == is_altered
  assert corrections.before(reads) == then[0]


def test_a_prompt_is_as_long_as_its_cleaned_text(small, tmp_path):
  config = small(tmp_path, images_per_class=1)
  config.prompts.B = fields_of.prompt_list("file", file=str(tmp_path / "p.tsv"))
  (tmp_path / "p.tsv").write_text(f"a\t{'&#8217;' * 30}\nb\tbee\nc\tcat\n")
  config.sampling.preview = 1
  run(config, tmp_path / "w")
