"""What is exported opens in the packages it is meant for, and comes back with the same ids, labels and bytes."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
import yaml

from synthjax import study
from synthjax.data.sources import label_space, open_source
from synthjax.labels.spaces import load
from synthjax.runtime.errors import UserError
from synthjax.spec import config as fields_of
from synthjax.spec import validation
from synthjax.spec.command import Command

FORMATS = ("webdataset", "folder", "parquet")


def run(config, workdir, **kwargs) -> None:
  validation.check(config)
  study.run(Command(config, str(workdir), line="python -m synthjax.main ...", **kwargs))


@pytest.fixture(scope="module")
def made(weights, tmp_path_factory):
  """A study of three digits' worth of noise, with a keep-list, and its config."""
  config = fields_of.study_config(labels="digits")
  config.prompts.LE = fields_of.prompt_list("LE", per_class=4, draws=6)
  config.sets.LE = fields_of.image_set("LE")
  config.sampling.update(
    dict(generator=str(weights), steps=2, images_per_class=4, images_per_shard=16, per_device_batch=8, seed=7)
  )
  config.encoders.clip = fields_of.encoder()
  config.filters.CF = fields_of.image_filter("clip", kept_per_class=2, max_rounds=0)
  config.export.licence = "cc-by-4.0"
  config.export.images = "LE/CF"
  config.runtime.compile_cache = ""
  workdir = tmp_path_factory.mktemp("study")
  run(config, workdir, stages=("prompts", "sample", "embed", "keep"))
  return config, workdir


def exported(made, out: Path, kind: str, images: str = "LE/CF", **fields) -> Path:
  config = made[0].copy_and_resolve_references()
  config.export.update(dict(images=images, format=kind, out=str(out), **fields))
  run(config, made[1], stages=("export",))
  return out


def files_of(folder: Path) -> dict[Path, int]:
  return {p: p.lstat().st_mtime_ns for p in folder.rglob("*")}


def examples(workdir, images: str) -> dict[str, dict]:
  """As TFDS reads them, by image id, in plan order."""
  skip = {"image": tfds.decode.SkipDecoding()}
  rows = tfds.builder_from_directory(workdir / "images/LE").as_data_source("train", decoders=skip)
  found = {row["image_id"].decode(): row for row in rows}
  if images == "LE":
    return found
  return {i: found[i] for i in (workdir / "keep/LE/CF-clip/ids.txt").read_text().split()}


@pytest.mark.parametrize("images", ["LE", "LE/CF"])
@pytest.mark.parametrize("kind", FORMATS)
def test_there_and_back(made, tmp_path, kind, images):
  wanted = examples(made[1], images)
  assert len(wanted) == (40 if images == "LE" else 20)
  out = exported(made, tmp_path / "out", kind, images, images_per_shard=16)
  source = open_source(f"{kind}:{out}", load("digits"))
  assert len(source) == len(wanted)
  for i in range(len(source)):
    told = source.about(i)
    row = wanted[told["image_id"]]
    assert source.encoded(i) == row["image"] and source.labels[i] == row["label"]
    for name in ("noise_id", "prompt", "prompt_id", "parent_id"):
      assert told[name] == row[name].decode()
    assert (told["sample_index"], told["round"]) == (row["sample_index"], row["round"])
    assert told["guidance"] == pytest.approx(float(row["guidance"]))
  if kind != "folder":
    assert list(source.keys) == list(wanted)


@pytest.mark.parametrize("kind", FORMATS)
def test_an_export_brought_in_is_the_set_again(made, tmp_path, kind):
  out = exported(made, tmp_path / "out", kind)
  config = fields_of.study_config(labels="digits")
  config.sets.back = fields_of.imported_set(f"{kind}:{out}")
  config.runtime.compile_cache = ""
  run(config, tmp_path / "w", stages=("import",))
  skip = {"image": tfds.decode.SkipDecoding()}
  rows = tfds.builder_from_directory(tmp_path / "w/images/back").as_data_source("train", decoders=skip)
  wanted = examples(made[1], "LE/CF")
  assert {row["image_id"].decode() for row in rows} == set(wanted)
  for row in rows:
    same = wanted[row["image_id"].decode()]
    for name in ("image", "label", "noise_id", "prompt", "prompt_id", "guidance", "strength"):
      assert row[name] == same[name]


def test_our_own_sets_are_sources(made):
  workdir, labels = made[1], load("digits")
  whole = open_source(f"synthjax:{workdir}/images/LE", labels)
  wanted = examples(workdir, "LE")
  assert list(whole.keys) == list(wanted) and (whole.name, whole.split) == ("LE", "train")
  for i, key in enumerate(whole.keys):
    assert whole.encoded(i) == wanted[key]["image"] and whole.labels[i] == wanted[key]["label"]
  kept = open_source(f"synthjax:{workdir}/keep/LE/CF-clip", labels)
  assert list(kept.keys) == list(examples(workdir, "LE/CF"))
  assert kept.encoded(3) == wanted[kept.keys[3]]["image"] and kept.digest != whole.digest
  assert np.asarray(whole.image(0)).shape == (32, 32, 3)
  turned = load("glyphs")  # 36 classes: by id, not by place
  assert [turned.ids[k] for k in open_source(f"synthjax:{workdir}/images/LE", turned).labels[:10]] == list(
    "0123456789"
  )
  with pytest.raises(UserError, match="is no whole image set; expected WORKDIR/images/SET"):
    open_source(f"synthjax:{workdir}/prompts/LE", labels)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it leaves its tars open
def test_webdataset_opens_it(made, tmp_path):
  import webdataset

  out = exported(made, tmp_path / "out", "webdataset", images_per_shard=8)
  assert (out / "train/nshards.txt").read_text().strip() == "3"
  urls = [str(out / f"train/{i}.tar") for i in range(3)]
  wanted, names = examples(made[1], "LE/CF"), (out / "classnames.txt").read_text().splitlines()
  raw = list(webdataset.WebDataset(urls, shardshuffle=False))
  decoded = list(webdataset.WebDataset(urls, shardshuffle=False).decode("pil"))
  assert [sample["__key__"] for sample in raw] == list(wanted)
  for sample, seen in zip(raw, decoded, strict=True):
    row = wanted[sample["__key__"]]
    assert (
      sample["jpg"] == row["image"] and seen["cls"] == row["label"] and seen["txt"] == row["prompt"].decode()
    )
    assert seen["jpg"].size == (32, 32) and seen["json"]["class_id"] == str(row["label"])
  assert names[3] == "digit 3"
  space = label_space(f"webdataset:{out}")
  assert (space.ids, space.names, space.templates) == (
    load("digits").ids,
    load("digits").names,
    load("digits").templates,
  )


@pytest.fixture
def huggingface(monkeypatch, tmp_path):
  """`datasets`, which keeps to a folder of the test's."""
  for name, value in dict(HF_HOME="hf", HF_DATASETS_CACHE="hf/datasets").items():
    monkeypatch.setenv(name, str(tmp_path / value))
  monkeypatch.setenv("HF_HUB_OFFLINE", "1")
  import datasets

  datasets.disable_progress_bars()
  monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "hf/datasets"))
  return datasets


@pytest.mark.parametrize("how", ["folder", "files"])
def test_huggingface_opens_parquet(made, tmp_path, huggingface, how):
  out = exported(made, tmp_path / "out", "parquet", images_per_shard=8)
  files = sorted(map(str, (out / "data").glob("*.parquet")))
  assert Path(files[0]).name == "train-00000-of-00003.parquet"
  if how == "folder":
    found = huggingface.load_dataset(str(out), split="train")
  else:
    found = huggingface.load_dataset("parquet", data_files=files, split="train")
  assert found.features["label"] == huggingface.ClassLabel(names=list("0123456789"))
  assert isinstance(found.features["image"], huggingface.Image)
  wanted = examples(made[1], "LE/CF")
  assert found["image_id"][:] == list(wanted) and found[0]["image"].size == (32, 32)
  raw = found.cast_column("image", huggingface.Image(decode=False))
  assert [row["image"]["bytes"] for row in raw] == [row["image"] for row in wanted.values()]
  assert raw["label"][:] == [row["label"] for row in wanted.values()]


def test_huggingface_opens_the_folder(made, tmp_path, huggingface):
  out = exported(made, tmp_path / "out", "folder")
  found = huggingface.load_dataset("imagefolder", data_dir=str(out), split="train")
  wanted = examples(made[1], "LE/CF")
  assert set(found["image_id"][:]) == set(wanted) and found[0]["image"].size == (32, 32)
  assert found[0]["class_id"] == str(wanted[found[0]["image_id"]]["label"])


def test_the_card_says_what_made_it(made, tmp_path):
  text = (exported(made, tmp_path / "out", "parquet") / "README.md").read_text()
  _, front, body = text.split("---\n", 2)
  about = yaml.safe_load(front)
  assert (
    about["license"] == "cc-by-4.0"
    and about["tags"] == ["synthetic"]
    and about["size_categories"] == ["n<1K"]
  )
  record = json.loads((made[1] / "images/LE/record.json").read_text())
  for said in (
    "20 images of 10 classes",
    f"| its weights (SHA-256) | {record['identity']['generator']} |",
    "| seed | 7 |",
    "| sampler | ddim |",
    "| strategy | LE |",
    "| rule | clip |",
    "| threshold | 0.1 |",  # 0.0 in the config: 1/N
    "| kept_per_class | 2 |",
    "| 3 | digit 3 | 2 |",
    "a photo of",
  ):
    assert said.replace("_", "\\_") in body or said in body, said


def test_the_same_again_has_nothing_to_do(made, tmp_path):
  out = exported(made, tmp_path / "out", "folder")
  before = files_of(out)
  exported(made, out, "folder")
  assert files_of(out) == before


def test_ids_that_no_folder_can_bear(made, tmp_path):
  from synthjax.store.image_folder import folder_names

  assert folder_names(["n01", "a.b"]) == ["n01", "a.b"]
  for odd in (["a/b"], ["n01", "N01"], [".."], [""], ["x" * 200], ["ä"]):
    assert folder_names(odd) == [f"class_{k:05d}" for k in range(len(odd))]


@pytest.mark.parametrize(
  ("fields", "said"),
  [
    (dict(images=""), "--stages export needs images"),
    (dict(images="LEE"), "config.export: image set 'LEE' (did you mean 'LE'?)"),
    (dict(images="LE/CFF"), "config.export: filter 'CFF'"),
    (dict(format="parkett"), "config.export.format 'parkett' (did you mean 'parquet'?)"),
    (dict(images_per_shard=0), "config.export.images_per_shard is at least 1"),
  ],
)
def test_mistakes_are_one_line(made, tmp_path, fields, said):
  with pytest.raises(UserError) as e:
    exported(
      made, tmp_path / "out", **dict(kind="folder") | {"kind": fields.pop("format", "folder")} | fields
    )
  assert said in str(e.value) and "\n" not in str(e.value) and not (tmp_path / "out").exists()


def test_what_is_not_there_yet_is_not_exported(made, tmp_path):
  config = made[0].copy_and_resolve_references()
  with pytest.raises(UserError, match="images/LE is missing; run the study first"):
    run(config, tmp_path / "empty", stages=("export",))
