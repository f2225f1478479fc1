"""Images from elsewhere as an image set: imported once, and then filtered, tuned on and shown like our own."""

import hashlib
import io
import json
import shutil
import time

import numpy as np
import pytest
import tensorflow_datasets as tfds
from etils import epath
from PIL import Image

from synthjax import study
from synthjax.data.importing import as_jpeg, metadata
from synthjax.data.sources import open_source
from synthjax.labels.spaces import load
from synthjax.products.image_set import ImageSet
from synthjax.runtime.errors import UserError
from synthjax.spec import config as fields_of
from synthjax.spec import validation
from synthjax.spec.command import Command


def run(config, workdir, **kwargs) -> None:
  validation.check(config)
  study.run(Command(config, str(workdir), line="python -m synthjax.main ...", **kwargs))


@pytest.fixture
def folder(tmp_path):
  """Six images of each digit, as JPEG, PNG and WebP with what was asked for beside them; of class 9, four."""
  source, have = open_source("embedded:digits:first", load("digits")), dict.fromkeys(range(10), 0)
  for i, label in enumerate(source.labels.tolist()):
    if have[label] < (4 if label == 9 else 6):
      suffix = ("jpg", "png", "webp")[have[label] % 3]
      file = tmp_path / "theirs" / str(label) / f"{have[label]}.{suffix}"
      file.parent.mkdir(parents=True, exist_ok=True)
      source.image(i).save(file, quality=95)
      file.with_suffix(".txt").write_text(f"number {label}")
      have[label] += 1
  return tmp_path / "theirs"


@pytest.fixture
def config(folder):
  config = fields_of.study_config(labels="digits")
  config.sets.theirs = fields_of.imported_set(f"folder:{folder}", images_per_shard=16)
  config.encoders.clip = fields_of.encoder()
  config.filters.CF = fields_of.image_filter("clip", kept_per_class=3)
  config.tests.digits = "embedded:digits:first"
  config.tuning.update(batch=16, epochs=4)
  config.arms["zero-shot"] = fields_of.arm()
  config.arms["theirs+CE"] = fields_of.arm("theirs")
  config.arms["theirs+CF+SCE"] = fields_of.arm("theirs/CF", loss="SCE")
  config.seeds = 2
  config.runtime.compile_cache = ""
  return config


def examples(folder) -> list[dict]:
  skip = {"image": tfds.decode.SkipDecoding()}
  return list(tfds.builder_from_directory(folder).as_data_source("train", decoders=skip))


def test_a_study_of_images_brought_in(config, folder, tmp_path, capsys):
  workdir = tmp_path / "w"
  run(config, workdir)
  rows = examples(workdir / "images/theirs")
  assert len(rows) == 58 and [row["label"] for row in rows][:10] == list(range(10))
  assert [row["sample_index"] for row in rows] == sorted(row["sample_index"] for row in rows)
  for row in rows:
    suffix = ("jpg", "png", "webp")[row["sample_index"] % 3]
    data = (folder / f"{row['label']}/{row['sample_index']}.{suffix}").read_bytes()
    assert row["image_id"].decode() == hashlib.sha256(data).hexdigest()[:32]
    assert (row["image"] == data) == (suffix == "jpg")  # copied as stored
    assert row["prompt"].decode() == f"number {row['label']}" and row["parent_id"] == row["noise_id"] == b""
  results = [json.loads(line) for line in (workdir / "results.jsonl").read_text().splitlines()]
  assert {r["images"] for r in results} == {0, 58, 30}
  summary = json.loads((workdir / "keep/theirs/CF-clip/summary.json").read_text())
  assert summary["rounds"] == 0  # nobody can draw more of them
  page = (workdir / "report/index.html").read_text()
  assert f"58 images, imported from folder:{folder}" in page
  capsys.readouterr()
  run(config, workdir, plan=True)
  assert "nothing is missing" in capsys.readouterr().out
  shutil.rmtree(folder)  # it is not needed any more
  run(config, workdir, stages=("verify",))
  assert "images/theirs: every shard is as planned" in capsys.readouterr().out


def test_growth_and_what_is_refused(config, folder, tmp_path):
  workdir = tmp_path / "w"
  config.sets.theirs.images_per_class = 2
  run(config, workdir, stages=("import",))
  before = examples(workdir / "images/theirs")
  config.sets.theirs.images_per_class = 5
  run(config, workdir, stages=("import",))
  after = examples(workdir / "images/theirs")
  assert len(before) == 20 and len(after) == 49
  assert [r["image_id"] for r in after[:20]] == [r["image_id"] for r in before]
  (folder / "3" / "0.jpg").write_bytes((folder / "3" / "3.jpg").read_bytes())
  with pytest.raises(UserError, match="images/theirs: images was"):
    run(config, workdir, stages=("import",))


def test_shards_land_one_by_one(config, tmp_path, monkeypatch):
  """A process that dies leaves whole shards; the next one makes the rest, and bytes are the same."""
  run(config, tmp_path / "undisturbed", stages=("import",))
  from synthjax.data import importing

  made, real = [], importing.as_jpeg

  def dying(*args):
    made.append(args)
    if len(made) > 40:
      raise KeyboardInterrupt
    return real(*args)

  monkeypatch.setattr(importing, "as_jpeg", dying)
  with pytest.raises(KeyboardInterrupt):
    run(config, tmp_path / "w", stages=("import",))
  landed = sorted(p.name for p in (tmp_path / "w/images/theirs").glob("train.*"))
  assert len(landed) == 2 and not (tmp_path / "w/images/theirs/manifest.json").exists()
  monkeypatch.setattr(importing, "as_jpeg", real)
  run(config, tmp_path / "w", stages=("import",))
  for file in sorted((tmp_path / "undisturbed/images/theirs").glob("train.*")):
    assert (tmp_path / "w/images/theirs" / file.name).read_bytes() == file.read_bytes()


def test_repeats_have_ids_of_their_own(config, folder, tmp_path):
  (folder / "3" / "9.jpg").write_bytes((folder / "3" / "0.jpg").read_bytes())
  run(config, tmp_path / "w", stages=("import",))
  ids = [row["image_id"] for row in examples(tmp_path / "w/images/theirs")]
  assert len(set(ids)) == len(ids) == 59


def test_corrupt_images_are_named_and_left_out(config, folder, tmp_path, capsys):
  (folder / "3" / "1.png").write_bytes(b"\x89PNG")
  with pytest.raises(UserError, match=r"1 of 58 images cannot be read, first .*3/1.png"):
    run(config, tmp_path / "w", stages=("import",))
  config.runtime.unreadable = 0.05
  run(config, tmp_path / "w", stages=("import",))
  assert "skipped, cannot be read: " in capsys.readouterr().err
  assert len(examples(tmp_path / "w/images/theirs")) == 57
  assert (
    study.design(config, epath.Path(tmp_path / "w"))
    .get(ImageSet, "theirs")
    .note.endswith(", 1 could not be read")
  )
  left_out = json.loads((tmp_path / "w/images/theirs/left_out.json").read_text())
  assert [row["where"] for row in left_out] == [str(folder / "3" / "1.png")]


def stored(image: Image.Image, suffix: str, **how) -> bytes:
  buffer = io.BytesIO()
  image.save(buffer, suffix, **how)
  return buffer.getvalue()


def test_which_jpegs_are_copied():
  image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8))
  exif = Image.Exif()
  exif[0x0112] = 6
  plain = stored(image, "JPEG")
  assert as_jpeg(plain, "x", 0, 90) == as_jpeg(plain, "x", 40, 90) == plain
  for data, size in (
    (stored(image, "JPEG", exif=exif), (40, 60)),  # turned
    (stored(image.convert("L"), "JPEG"), (60, 40)),
    (stored(image.convert("CMYK"), "JPEG"), (60, 40)),
    (stored(image, "PNG"), (60, 40)),
  ):
    made = as_jpeg(data, "x", 0, 90)
    with Image.open(io.BytesIO(made)) as found:
      assert made != data and (found.mode, found.size, found.format) == ("RGB", size, "JPEG")
  with Image.open(io.BytesIO(as_jpeg(plain, "x", 20, 90))) as found:
    assert found.size == (30, 20)


@pytest.mark.parametrize(
  ("change", "said"),
  [
    (dict(source=""), "config.sets.theirs: source is empty"),
    (dict(source="folder:/no/such"), "there is no such folder"),
    (dict(images_per_class=-1), "images_per_class is at least 0"),
    (dict(jpeg_quality=0), "jpeg_quality is between 1 and 100"),
  ],
)
def test_mistakes_are_one_line(config, tmp_path, change, said):
  config.sets.theirs.update(change)
  with pytest.raises(UserError) as e:
    run(config, tmp_path / "w")
  assert said in str(e.value) and "\n" not in str(e.value)
  assert not (tmp_path / "w/images").exists()


CONFIG = """
from synthjax.config import imported_set, study_config

def get_config(arg=""):
  config = study_config(labels="digits")
  config.sets.theirs = imported_set({source!r}, images_per_shard=8)
  config.runtime.heartbeat_seconds = 0.5
  config.runtime.stale_seconds = 3.0
  return config
"""


@pytest.mark.slow
def test_processes_share_it_and_one_may_be_killed(folder, tmp_path, forked):
  file = tmp_path / "study.py"
  file.write_text(CONFIG.format(source=f"folder:{folder}"))

  def start(workdir):
    return forked(f"--config={file}", f"--workdir={workdir}", "--distributed=off")

  def finish(*processes):
    for process in processes:
      _, err = process.communicate(timeout=300)
      assert process.returncode == 0, err

  finish(start(tmp_path / "alone"))
  finish(start(tmp_path / "shared"), start(tmp_path / "shared"))
  dying = start(tmp_path / "killed")
  while dying.poll() is None and not (tmp_path / "killed/images/theirs/index.jsonl").exists():
    time.sleep(0.002)
  dying.kill()
  dying.communicate()
  finish(start(tmp_path / "killed"))
  for other in ("shared", "killed"):
    for path in sorted((tmp_path / "alone/images/theirs").glob("train.*")):
      assert (tmp_path / other / "images/theirs" / path.name).read_bytes() == path.read_bytes()


def test_what_an_example_has_no_room_for_is_left_out():
  """Half a character and numbers beyond 32 bits, as a .json beside an image may spell them."""
  odd = {"prompt": "\ud800", "guidance": 10**400, "strength": 1e300, "noise_id": "a", "parent_id": 3}
  assert metadata(odd) == {"noise_id": "a"}
  assert metadata({"prompt": "é\n", "guidance": 2}) == {"prompt": "é\n", "guidance": 2.0}
