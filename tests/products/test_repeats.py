"""The leakage report: a set into which copies of test images were planted."""

import csv
import json

import pytest
import tensorflow_datasets as tfds

from synthjax import study
from synthjax.data.sources import open_source
from synthjax.labels.spaces import load
from synthjax.runtime.errors import UserError
from synthjax.spec import config as fields_of
from synthjax.spec import validation
from synthjax.spec.command import Command
from tests.filters.test_photographs import COPIES as CHANGES
from tests.filters.test_photographs import scenes
from tests.filters.test_similarity import COPIES


def run(config, workdir, **kwargs) -> None:
  validation.check(config)
  study.run(Command(config, str(workdir), line="python -m synthjax.main ...", **kwargs))


@pytest.fixture
def planted(tmp_path):
  """(config, planted file -> the test image that it repeats): 40 digits of the first half, and 6 of the test."""
  test, other = (open_source(f"embedded:digits:{half}", load("digits")) for half in ("second", "first"))
  for i in range(40):
    file = tmp_path / "set" / str(other.labels[i]) / f"own{i}.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(other.encoded(i))
  leaks = {}
  for n, (how, copy) in enumerate(COPIES.items()):
    i = 50 * n + 3
    file = tmp_path / "set" / str(test.labels[i]) / f"leak{n}.png"
    copy(test.image(i).convert("RGB")).save(file)
    leaks[f"{test.labels[i]}/{file.name}"] = (test.keys[i], how)
  config = fields_of.study_config(labels="digits")
  config.sets.theirs = fields_of.imported_set(f"folder:{tmp_path / 'set'}", images_per_shard=16)
  config.encoders.clip = fields_of.encoder()
  config.encoders.small = fields_of.encoder("thumbnail")
  config.filters.clean = fields_of.image_filter("unlike", against="digits", encoder="small", threshold=0.985)
  config.filters.once = fields_of.image_filter("unlike", encoder="small", threshold=0.985)
  config.tests.digits = "embedded:digits:second"
  config.tuning.update(batch=16, epochs=2)
  config.arms["clean"] = fields_of.arm("theirs/clean")
  config.arms["once"] = fields_of.arm("theirs/once")
  config.seeds = 1
  config.runtime.compile_cache = ""
  return config, leaks


def keys_of(workdir) -> dict[str, str]:
  """Image id to key."""
  rows = map(json.loads, (workdir / "images/theirs/index.jsonl").read_text().splitlines())
  return {row["image_id"]: row["key"] for row in rows}


def pairs(workdir, rule: str) -> list[dict]:
  return list(csv.DictReader((workdir / f"keep/theirs/{rule}-small/pairs.csv").read_text().splitlines()))


def test_planted_copies_of_test_images_are_found_and_no_others(planted, tmp_path, capsys):
  config, leaks = planted
  workdir = tmp_path / "w"
  run(config, workdir)
  keys, found = keys_of(workdir), pairs(workdir, "clean")
  assert {keys[row["image_id"]]: row["repeats"] for row in found} == {f: key for f, (key, _) in leaks.items()}
  kept = (workdir / "keep/theirs/clean-small/ids.txt").read_text().split()
  assert sorted(keys[i] for i in kept) == sorted(set(keys.values()) - set(leaks)) and len(kept) == 40
  assert (
    "0 images are repeats to the byte and 6 more are nearly so; pairs.csv names them"
    in capsys.readouterr().err
  )
  results = [json.loads(line) for line in (workdir / "results.jsonl").read_text().splitlines()]
  assert {r["images"] for r in results if r["arm"] == "clean"} == {40}
  assert pairs(workdir, "once") == []
  page = (workdir / "report/index.html").read_text()
  assert "similarity to every image of digits below 0.985, by small; 0 images are repeats to the byte" in page
  assert "Images that theirs/clean rejected" in page and "Images that theirs/once rejected" not in page
  run(config, workdir, plan=True)
  assert "nothing is missing" in capsys.readouterr().out


def test_repeats_inside_a_set(planted, tmp_path):
  """The first stays, whichever of the two it is: in the set's own order."""
  config, _ = planted
  del config.arms["clean"]
  folder = tmp_path / "set"
  first = sorted(folder.glob("*/own0.png"))[0]
  (first.parent / "zz_same.png").write_bytes(first.read_bytes())
  near = COPIES["all of it"](open_source("embedded:digits:first", load("digits")).image(0).convert("RGB"))
  near.save(first.parent / "zz_near.png")
  run(config, tmp_path / "w")
  found, keys = pairs(tmp_path / "w", "once"), keys_of(tmp_path / "w")
  said = [
    (keys[row["image_id"]].split("/")[1], keys[row["repeats"]].split("/")[1], row["exact"]) for row in found
  ]
  assert said == [("zz_same.png", "own0.png", "1"), ("zz_near.png", "own0.png", "0")]
  rows = list(tfds.builder_from_directory(tmp_path / "w/images/theirs").as_data_source("train"))
  kept = (tmp_path / "w/keep/theirs/once-small/ids.txt").read_text().split()
  assert len(rows) == 48 and len(kept) == 46


def test_a_file_of_the_test_itself_is_exact(planted, tmp_path):
  """A folder as the test, from which a JPEG was copied."""
  config, _ = planted
  source = open_source("embedded:digits:second", load("digits"))
  for i in range(60):
    file = tmp_path / "real" / str(source.labels[i]) / f"{i}.jpg"
    file.parent.mkdir(parents=True, exist_ok=True)
    source.image(i).convert("RGB").save(file, quality=90)
  copied = tmp_path / "set" / str(source.labels[7]) / "stolen.jpg"
  copied.write_bytes((tmp_path / f"real/{source.labels[7]}/7.jpg").read_bytes())
  config.tests.digits = f"folder:{tmp_path / 'real'}"
  run(config, tmp_path / "w", stages=("import", "embed", "keep"))
  found = pairs(tmp_path / "w", "clean")[0]
  assert (found["repeats"], found["exact"], found["similarity"]) == (
    f"{source.labels[7]}/7.jpg",
    "1",
    "1.0000",
  )


@pytest.mark.parametrize(
  ("change", "said"),
  [
    (lambda c: c.filters.clean.update(against="digit"), "against 'digit' (did you mean 'digits'?)"),
    (lambda c: c.filters.clean.update(rule="unlke"), "rule 'unlke' (did you mean 'unlike'?)"),
    (
      lambda c: c.filters.clean.update(rule="clip", encoder="clip"),
      "against belongs to rules unlike and real",
    ),
    (lambda c: c.filters.once.update(rule="clip"), "encoder 'small' makes thumbnails, which know no classes"),
    (
      lambda c: c.arms.once.update(encoder="small"),
      "encoder 'small' makes thumbnails, which know no classes",
    ),
    (lambda c: c.filters.once.update(threshold=1.0), "threshold is a probability, or a similarity"),
  ],
)
def test_mistakes_are_one_line(planted, tmp_path, change, said):
  config, _ = planted
  change(config)
  with pytest.raises(UserError) as e:
    run(config, tmp_path / "w")
  assert said in str(e.value) and "\n" not in str(e.value) and not (tmp_path / "w/images").exists()


@pytest.fixture
def photographs(tmp_path):
  """(config, its planted files -> scene): a test of ten scenes; a set of ten others, and of copies of four."""
  images = scenes(20)

  def put(image, folder: str, name: str) -> None:
    file = tmp_path / folder / "0" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    image.save(file, quality=90)

  for i, image in enumerate(images[:10]):
    put(image, "real", f"{i}.jpg")
  for i, image in enumerate(images[10:]):
    put(image, "set", f"own{i}.png")
  put(CHANGES["mirrored"](images[0]), "set", "mirrored.png")
  put(CHANGES["rotated by 2 degrees"](images[1]), "set", "rotated.png")
  put(CHANGES["cropped by 10 %"](images[7]), "set", "cropped.png")
  (tmp_path / "set/0/same.jpg").write_bytes((tmp_path / "real/0/2.jpg").read_bytes())
  config = fields_of.study_config(labels="digits")
  config.sets.theirs = fields_of.imported_set(f"folder:{tmp_path / 'set'}")
  config.encoders.clip = fields_of.encoder()
  config.encoders.small = fields_of.encoder("thumbnail")
  config.filters.plain = fields_of.image_filter("unlike", against="real", encoder="small")
  config.filters.photos = fields_of.photograph_copies(against="real", encoder="small")
  config.filters.both = fields_of.photograph_copies(
    against="real", encoder="small", second_encoder="clip", second_threshold=0.85
  )
  config.tests.real = f"folder:{tmp_path / 'real'}"
  for rule in ("plain", "photos", "both"):
    config.arms[rule] = fields_of.arm(f"theirs/{rule}")
  config.runtime.compile_cache = ""
  return config


SAME, MIRRORED = ("same.jpg", "0/2.jpg", "1", "file"), ("mirrored.png", "0/0.jpg", "0", "small mirrored")
ROTATED, CROPPED = ("rotated.png", "0/1.jpg", "0", "small"), ("cropped.png", "0/7.jpg", "0", "clip")


def test_who_found_each_copy_of_a_photograph(photographs, tmp_path, capsys):
  run(photographs, tmp_path / "w", stages=("import", "embed", "keep"))
  keys = keys_of(tmp_path / "w")
  found = {
    rule: {
      (keys[row["image_id"]].split("/")[1], row["repeats"], row["exact"], row["by"])
      for row in pairs(tmp_path / "w", rule)
    }
    for rule in ("plain", "photos", "both")
  }
  assert found == {
    "plain": {SAME},
    "photos": {SAME, MIRRORED, ROTATED},
    "both": {SAME, MIRRORED, ROTATED, CROPPED},
  }
  for rule, rows in found.items():
    kept = (tmp_path / f"w/keep/theirs/{rule}-small/ids.txt").read_text().split()
    assert {keys[i].split("/")[1] for i in kept} == {k.split("/")[1] for k in keys.values()} - {
      name for name, *_ in rows
    }
  near = json.loads((tmp_path / "w/keep/theirs/both-small/summary.json").read_text())
  assert (near["exact"], near["near"]) == (1, 3)
  assert near["near_by"] == {"clip": 1, "small": 1, "small mirrored": 1}
  said = capsys.readouterr().err
  assert "3 more are nearly so (1 by clip, 1 by small, 1 by small mirrored)" in said
  assert said.count("note:") == 1 and "theirs/plain-small: note: not found by thumbnails: most copies" in said
  run(photographs, tmp_path / "w", stages=("import", "embed", "keep"), plan=True)
  assert "nothing is missing" in capsys.readouterr().out
  run(photographs, tmp_path / "w", stages=("import", "embed", "keep"))
  assert "note:" not in capsys.readouterr().err  # once, where the list is made


def test_the_page_says_what_is_not_looked_for(photographs, tmp_path):
  del photographs.arms["photos"]
  photographs.tuning.update(batch=16, epochs=2)
  photographs.seeds = 1
  run(photographs, tmp_path / "w")
  page = (tmp_path / "w/report/index.html").read_text()
  assert (
    "similarity to every image of real below 0.95, by small; 1 images are repeats to the byte and 0 more are "
    "nearly so; not found by thumbnails: most copies of photographs that were cropped, framed, rotated or shifted, "
    "and mirror images"
  ) in page
  assert "below 0.8, by small, mirrored too and below 0.85, by clip; 1 images are" in page


def test_filters_without_the_young_fields_keep_their_identity(planted, tmp_path):
  config, _ = planted
  run(config, tmp_path / "w", stages=("import", "embed", "keep"))
  record = json.loads((tmp_path / "w/keep/theirs/clean-small/record.json").read_text())
  assert set(record["identity"]) == {"rule", "encoder", "threshold", "against", "when_short", "others"}
  changed = config.copy_and_resolve_references()
  changed.filters.clean.mirrored = True
  with pytest.raises(UserError, match="mirrored was null when it was made and is true now"):
    run(changed, tmp_path / "w", stages=("import", "embed", "keep"))


@pytest.mark.parametrize(
  ("change", "said"),
  [
    (dict(second_encoder="clp"), "second_encoder 'clp' (did you mean 'clip'?)"),
    (dict(second_encoder="small"), "second_encoder 'small' is the first one too"),
    (dict(second_encoder="", second_threshold=0.9), "second_threshold needs a second_encoder"),
    (dict(second_threshold=1.0), "second_threshold is a similarity"),
    (dict(encoder="clip", second_encoder="", second_threshold=0.0), "mirrored is for thumbnails"),
    (dict(rule="clip", encoder="clip", against=""), "mirrored belongs to rule unlike, not to clip"),
  ],
)
def test_mistakes_about_photographs_are_one_line(photographs, tmp_path, change, said):
  photographs.filters.both.update(change)
  with pytest.raises(UserError) as e:
    run(photographs, tmp_path / "w")
  assert said in str(e.value) and "\n" not in str(e.value) and not (tmp_path / "w/images").exists()
