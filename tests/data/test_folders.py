"""A folder of the user's own: ids in another order than the alphabet's, two classes of one name, a nested split, faults."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from synthjax import study
from synthjax.data.sources import open_source
from synthjax.labels.spaces import LabelSpace, load
from synthjax.runtime.errors import UserError
from synthjax.spec import config as fields_of
from synthjax.spec import validation
from synthjax.spec.command import Command

# By the alphabet a_crane, b_crane, m_bee would be 0, 1, 2.
LABELS = LabelSpace(("m_bee", "b_crane", "a_crane"), ("bee", "crane", "crane"))


def put(folder, *names: str) -> None:
  for name in names:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (len(name), 9, 9)).save(folder / name)


def classes_of(source) -> dict[str, str]:
  return {key: LABELS.ids[label] for key, label in zip(source.keys, source.labels, strict=True)}


def fails(action, *said: str) -> None:
  with pytest.raises(UserError) as e:
    action()
  assert all(s in str(e.value) for s in said) and "\n" not in str(e.value), str(e.value)


def test_a_nested_split_by_class_id(tmp_path):
  put(tmp_path, "train/a_crane/1.png", "train/m_bee/1.png", "test/b_crane/1.png", "test/m_bee/sub/2.png")
  train, test = (open_source(f"folder:{tmp_path}:{split}", LABELS) for split in ("train", "test"))
  assert classes_of(train) == {"a_crane/1.png": "a_crane", "m_bee/1.png": "m_bee"}
  assert classes_of(test) == {"b_crane/1.png": "b_crane", "m_bee/sub/2.png": "m_bee"}
  assert (train.name, train.split) == (tmp_path.name, "train") and train.labels.tolist() == [2, 0]
  fails(lambda: open_source(f"folder:{tmp_path}", LABELS), "look like splits", f"folder:{tmp_path}:test")
  fails(lambda: open_source(f"folder:{tmp_path}:tset", LABELS), "there is no such folder")
  fails(lambda: open_source(f"folder:{tmp_path}:../x", LABELS), "'../x' is no split")


@pytest.mark.parametrize("suffix", ["yaml", "json"])
def test_an_explicit_mapping(tmp_path, suffix):
  """Two folders may be one class, and a folder may be left out."""
  put(tmp_path, "bees/1.png", "wasps/1.png", "machines/1.png", "birds/1.png")
  mapping = {"birds": "b_crane", "machines": "a_crane", "bees": "m_bee", "wasps": None}
  lines = [f"{k}: {v or ''}" for k, v in mapping.items()]
  file = tmp_path / f"classes.{suffix}"
  file.write_text(json.dumps(mapping) if suffix == "json" else "\n".join(lines))
  source = open_source(f"folder:{tmp_path}", LABELS)
  wanted = {"bees/1.png": "m_bee", "birds/1.png": "b_crane", "machines/1.png": "a_crane"}
  assert classes_of(source) == wanted and len(source) == 3
  elsewhere = file.rename(tmp_path / f"mine.{suffix}")
  assert classes_of(open_source(f"folder:{tmp_path}?map={elsewhere}", LABELS)) == wanted
  fails(lambda: open_source(f"folder:{tmp_path}", LABELS), "no class 'bees'", "?map=FILE")


def test_another_mapping_is_another_source(tmp_path):
  put(tmp_path, "x/1.png", "y/1.png")
  (tmp_path / "classes.yaml").write_text("x: m_bee\ny: a_crane\n")
  before = open_source(f"folder:{tmp_path}", LABELS).digest
  (tmp_path / "classes.yaml").write_text("x: a_crane\ny: m_bee\n")
  assert open_source(f"folder:{tmp_path}", LABELS).digest != before


@pytest.mark.parametrize(
  ("text", "said"),
  [
    ("x: m_bee\nx: a_crane\n", "'x' stands there twice"),
    (
      "x: b_crain\n",
      "'x' is mapped to class 'b_crain', which the label space lacks (did you mean 'b_crane'?)",
    ),
    ("xx: m_bee\n", "class 'x' is not in its class mapping (did you mean 'xx'?)"),
    ("- x\n", "a mapping of their class to our class id"),
    ("x: {y: z}\n", "a mapping of their class to our class id"),
    ("x: [\n", "is not readable YAML"),
  ],
)
def test_mappings_that_are_wrong(tmp_path, text, said):
  put(tmp_path, "x/1.png")
  (tmp_path / "classes.yaml").write_text(text)
  fails(lambda: open_source(f"folder:{tmp_path}", LABELS), said)


def test_what_lies_beside_an_image(tmp_path):
  put(tmp_path, "m_bee/1.png", "m_bee/2.png")
  (tmp_path / "m_bee/1.txt").write_text("a bee on a flower\n")
  source = open_source(f"folder:{tmp_path}", LABELS)
  assert [dict(source.about(i)) for i in range(2)] == [{"prompt": "a bee on a flower"}, {}]
  rows = [{"file_name": "m_bee/2.png", "prompt": "a bee", "image_id": "f" * 32}]
  (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
  source = open_source(f"folder:{tmp_path}", LABELS)
  assert source.about(0) == {} and source.about(1)["image_id"] == "f" * 32
  (tmp_path / "metadata.jsonl").write_text("{}\n")
  fails(lambda: open_source(f"folder:{tmp_path}", LABELS).about(0), "metadata.jsonl is not lines of JSON")


@pytest.fixture
def spoilt(tmp_path):
  """The first digits as somebody's folders, whose alphabet is the digits' backwards; 3 files corrupt, and a bomb."""
  source = open_source("embedded:digits:first", load("digits"))
  names = {str(d): f"{chr(ord('z') - d)}_folder" for d in range(10)}
  for i in range(len(source)):
    file = tmp_path / "data" / "test" / names[str(source.labels[i])] / f"{i:04d}.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(source.encoded(i))
  files = sorted((tmp_path / "data/test").glob("*/*.png"))
  files[3].write_bytes(files[3].read_bytes()[:60])
  files[200].write_bytes(b"<html>404</html>")
  files[500].write_bytes(b"")
  bomb = io.BytesIO()
  Image.new("1", (20_000, 20_000)).save(bomb, "PNG")
  files[700].write_bytes(bomb.getvalue())
  (tmp_path / "data/classes.yaml").write_text("".join(f"{f}: {d}\n" for d, f in names.items()))
  labels = tmp_path / "labels.yaml"  # two classes of one name
  labels.write_text("classes: {" + ", ".join(f'"{d}": "digit {min(d, 8)}"' for d in range(10)) + "}\n")
  return tmp_path, labels, [files[i] for i in (3, 200, 500, 700)]


def test_a_whole_study_on_it(spoilt, tmp_path, capsys):
  """Zero-shot is what it is on the digits themselves, but for the four images; all of them are named."""
  folder, labels, faulty = spoilt
  config = fields_of.study_config(labels=str(labels))
  config.encoders.clip = fields_of.encoder()
  config.tests.mine = f"folder:{folder}/data:test"
  config.arms["zero-shot"] = fields_of.arm()
  config.runtime.compile_cache = ""
  validation.check(config)
  study.run(Command(config, str(tmp_path / "w"), line="python -m synthjax.main ..."))
  said = capsys.readouterr().err
  assert all(f"skipped, cannot be read: {file}" in said for file in faulty)
  left_out = json.loads((tmp_path / "w/embeddings/mine/clip/left_out.json").read_text())
  assert sorted(row["where"] for row in left_out) == sorted(map(str, faulty))
  assert any("bomb" in row["why"] or "more than PIL decodes" in row["why"] for row in left_out)
  rows = [json.loads(line) for line in (tmp_path / "w/results.jsonl").read_text().splitlines()]
  assert {row["n"] for row in rows} == {894} and {row["split"] for row in rows} == {"test"}
  embedded = np.load(tmp_path / "w/embeddings/mine/clip/all.npz")
  right = open_source("embedded:digits:first", None)
  truth = open_source("embedded:digits:first", load("digits")).labels
  by_row = {
    int(key.split("/")[1][:4]): label for key, label in zip(embedded["ids"], embedded["labels"], strict=True)
  }
  assert len(right) - len(by_row) == 4 and all(truth[i] == label for i, label in by_row.items())
  page = (tmp_path / "w/report/index.html").read_text()
  assert "898 real images; 4 of them cannot be read and are skipped" in page
  # A limit that they exceed ends the study in a line.
  config.runtime.unreadable = 0.004
  with pytest.raises(
    UserError, match=r"4 of 898 images cannot be read, first .*; fix or remove them, or raise"
  ):
    study.run(Command(config, str(tmp_path / "w2"), line=""))
  config.runtime.unreadable = 1.5
  with pytest.raises(UserError, match=r"config\.runtime\.unreadable is a share"):
    validation.check(config)


def test_the_suffixes_of_torchvisions_image_folder(tmp_path):
  """IMG_EXTENSIONS of torchvision.datasets.folder; GTSRB's images are .ppm."""
  suffixes = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
  for suffix in (*suffixes, ".PPM", ".pnm"):
    Image.new("L" if "pgm" in suffix else "RGB", (8, 8), "white").save(tmp_path / f"x{suffix}")
  source = open_source(f"folder:{tmp_path}", None)
  assert sorted(source.keys) == sorted(f"x{s}" for s in (*suffixes, ".PPM", ".pnm"))
  for i in range(len(source)):
    assert np.asarray(source.image(i).convert("L")).min() >= 250
