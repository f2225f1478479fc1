"""Every data set of the papers, in its own layout: zero-shot and tuned, end to end, with the CLIP that ships.

The images are coloured squares and the generator knows nothing: what is asked is that every class arrives where it
belongs, in the order of the data set or of the space, never by its place.
"""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from synthjax import study
from synthjax.data import tfds_source
from synthjax.encoders.clip import Clip
from synthjax.labels import spaces
from synthjax.spec import config as fields_of
from synthjax.spec import validation
from synthjax.spec.command import Command
from synthjax.weights import hub
from tests.data import tfds_files

SMALL = (
  "cifar10",
  "eurosat",
  "stl10",
  "gtsrb",
  "pets",
  "dtd",
)  # they share what is compiled; the others: slow
LARGE = tuple(
  name
  for name in spaces.SPACES  # those left out have the images of another, with other templates or with the background
  if name not in (*SMALL, "caltech101-vtab")
  and not name.endswith("-80")
  and not set(spaces.load(name).ids) <= set(spaces.load("glyphs").ids)
)
# They have ImageNet's classes, and no images of their own are drawn for them: their tests alone are theirs.
READ_ONLY = tuple(name for name in LARGE if name.startswith("imagenet-"))


def in_its_layout(name: str, root: Path) -> str:
  """A test image of each class; a reference to them."""
  labels = spaces.load(name)
  order = tfds_files.labels_of(len(labels), len(labels))
  if labels.test:
    data_set = labels.test.split(":")[1]
    known = tfds_files.class_names(data_set)
    numbers = [known.index(labels.ids[k]) if labels.ids[k] in known else k for k in order]
    tfds_files.write(root / "tfds", data_set, labels=numbers if name != "cub" else order)
    return labels.test.removesuffix("[80%:]")
  folder = root / name
  if name == "aircraft":  # all images in one folder, and lists of names beside it
    rows = [[f"{k:07d}.jpg", 0, labels.ids[k]] for k in order]
    folder.mkdir()
    (folder / "variants.json").write_text(json.dumps({"train": [], "val": [], "test": rows}))
    for k in order:
      (folder / f"{k:07d}.jpg").write_bytes(tfds_files.picture(k, "JPEG"))
    return f"coop:{folder / 'variants.json'}:test"
  for k in order:
    (folder / labels.ids[k]).mkdir(parents=True)
    (folder / labels.ids[k] / f"{k:03d}_0001.jpg").write_bytes(tfds_files.picture(k, "JPEG"))
  return f"folder:{folder}"


def short(name: str, clip: Clip, root: Path) -> str:
  """The label space, with names and a template that the small CLIP, which reads 32 tokens, can read."""
  labels, file = spaces.load(name), root / f"{name}.json"
  lengths = clip.tokenize([f"a {text}" for text in labels.names]).lengths
  cut = {
    i: " ".join(text.split()[:2])[:20]
    for i, text, n in zip(labels.ids, labels.names, lengths, strict=True)
    if n > 28
  }
  file.write_text(json.dumps({"like": name, "template": "a {}", "classes": cut}))
  return str(file)


@pytest.fixture
def run_all(tmp_path, weights, monkeypatch):
  monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
  monkeypatch.setattr(tfds_source, "_CACHE", str(tmp_path / "cache"))
  clip = Clip(hub.locate("embedded:clip", tmp_path))

  def run(names: tuple[str, ...]) -> Path:
    studies = {}
    for name in names:
      config = studies[name] = fields_of.study_config(labels=short(name, clip, tmp_path))
      config.study = name
      config.tests[name] = in_its_layout(name, tmp_path)
      if name not in READ_ONLY:
        config.prompts.B = fields_of.prompt_list("B")
        config.sets.B = fields_of.image_set("B")
        config.arms["B+CE"] = fields_of.arm("B")
      config.sampling.update(
        dict(generator=str(weights), images_per_class=1, steps=1, images_per_shard=256, long_prompts="cut")
      )
      config.encoders.clip = fields_of.encoder()
      config.tuning.update(batch=64, epochs=1)
      config.arms["zero-shot"] = fields_of.arm()
      config.seeds = 1
      config.runtime.compile_cache = ""
    config = fields_of.matrix(studies)
    validation.check(config)
    study.run(Command(config, str(tmp_path / "w"), line="python -m synthjax.main ..."))
    return tmp_path / "w"

  return run


def check(names: tuple[str, ...], workdir: Path) -> None:
  with (workdir / "matrix.csv").open() as file:
    cells = list(csv.DictReader(file))
  assert {(c["dataset"], c["arm"]) for c in cells if c["top1"]} == {
    (n, a) for n in names for a in ("zero-shot", "B+CE") if a == "zero-shot" or n not in READ_ONLY
  }
  for cell in filter(lambda c: c["top1"], cells):
    assert int(cell["n"]) == len(spaces.load(cell["dataset"]))
    assert 0 <= float(cell["top1"]) <= 100 and cell["top1"] == cell["mean_class"]  # one image a class
  for name in names:
    labels = spaces.load(name)
    ids = labels.ids
    real = np.load(workdir / name / "embeddings" / name / "clip" / "all.npz")
    assert sorted(real["labels"]) == list(range(len(ids)))
    for key, k in zip(
      real["ids"], real["labels"], strict=True
    ):  # what tfds' images are, test_tfds_source.py asks
      assert (int(key[:7]) == k) if name == "aircraft" else (ids[k] == key.split("/")[0] or labels.test)
    if name not in READ_ONLY:
      generated = np.load(workdir / name / "embeddings" / "B" / "clip" / "00000.npz")
      assert set(generated["labels"]) <= set(range(len(ids)))
    run = next((workdir / name / "runs").glob("*/run.json"))
    assert tuple(json.loads(run.read_text())["identity"]["class_ids"]) == ids


def test_small_data_sets_end_to_end(run_all):
  check(SMALL, run_all(SMALL))


@pytest.mark.slow
def test_large_data_sets_end_to_end(run_all):
  check(LARGE, run_all(LARGE))
