"""Tar shards as CLIP_benchmark's mirrors lay them out, written here by hand."""

import io
import tarfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from synthjax.data.decoding import Unreadable
from synthjax.data.sources import open_source
from synthjax.data.webdatasets import label_space
from synthjax.labels.spaces import LabelSpace
from synthjax.runtime.errors import UserError

LABELS = LabelSpace(("n3", "n1", "n2", "n0"), ("Hot dog", "crane", "crane", "bee"))


def picture(shade: int, suffix: str) -> bytes:
  buffer = io.BytesIO()
  Image.new("RGB", (8, 8), (shade,) * 3).save(buffer, {"webp": "WEBP", "jpg": "JPEG", "png": "PNG"}[suffix])
  return buffer.getvalue()


def write(tar, members: dict[str, bytes]) -> None:
  tar.parent.mkdir(parents=True, exist_ok=True)
  with tarfile.open(tar, "w") as out:
    for name, data in members.items():
      entry = tarfile.TarInfo(name)
      entry.size = len(data)
      out.addfile(entry, io.BytesIO(data))


@pytest.fixture
def mirror(tmp_path):
  """Twelve shards of two samples; the image comes before or after its class."""
  (tmp_path / "test").mkdir()
  (tmp_path / "classnames.txt").write_text("bee\nhot_dog\n")
  (tmp_path / "zeroshot_classification_templates.txt").write_text(
    "a photo of a {c}.\na blurry photo of a {c}.\n"
  )
  (tmp_path / "test/nshards.txt").write_text("12")
  for shard in range(12):
    members = {}
    for i in (2 * shard, 2 * shard + 1):
      suffix = ("webp", "jpg", "png")[i % 3]
      parts = {f"s{i:07d}.{suffix}": picture(10 * i, suffix), f"s{i:07d}.cls": str(i % 2).encode()}
      members |= dict(reversed(parts.items())) if shard % 2 else parts
    write(tmp_path / "test" / f"{shard}.tar", members)
  return tmp_path


def fails(action, *said: str) -> None:
  with pytest.raises(UserError) as e:
    action()
  assert all(s in str(e.value) for s in said) and "\n" not in str(e.value), str(e.value)


def test_a_mirror(mirror):
  source = open_source(f"webdataset:{mirror}", LABELS)
  assert source.keys == [f"s{i:07d}" for i in range(24)] and source.split == "test"
  assert [LABELS.ids[k] for k in source.labels] == ["n0", "n3"] * 12  # by name, however it is written
  with ThreadPoolExecutor(4) as pool:
    shades = list(pool.map(lambda i: int(np.asarray(source.image(i))[0, 0, 0]), range(24)))
  np.testing.assert_allclose(shades, 10 * np.arange(24), atol=2)
  for other in (f"{mirror}:test", f"{mirror}/test", f"{mirror}/test/*.tar"):
    again = open_source(f"webdataset:{other}", LABELS)
    assert again.keys == source.keys and again.labels.tolist() == source.labels.tolist()
    assert again.digest == source.digest
  assert open_source(f"webdataset:{mirror}", None).labels is None


def test_its_own_label_space(mirror):
  space = label_space(f"webdataset:{mirror}")
  assert (space.ids, space.names) == (("0", "1"), ("bee", "hot_dog"))
  assert (
    space.templates == ("a photo of a {}.", "a blurry photo of a {}.")
    and space.template == space.templates[0]
  )
  assert open_source(f"webdataset:{mirror}", space).labels.tolist() == [0, 1] * 12


def test_names_that_two_classes_bear(mirror):
  (mirror / "classnames.txt").write_text("crane\nbee\n")
  fails(
    lambda: open_source(f"webdataset:{mirror}", LABELS),
    "label 'crane' may be classes n1, n2",
    "?map=FILE",
  )
  (mirror / "map.yaml").write_text("0: n2\n1: n0\n")
  source = open_source(f"webdataset:{mirror}?map={mirror / 'map.yaml'}", LABELS)
  assert [LABELS.ids[k] for k in source.labels] == ["n2", "n0"] * 12
  (mirror / "map.yaml").write_text("bee: n0\ncrane:\n")
  source = open_source(f"webdataset:{mirror}?map={mirror / 'map.yaml'}", LABELS)
  assert [LABELS.ids[k] for k in source.labels] == ["n0"] * 12 and source.keys[0] == "s0000001"
  (mirror / "classnames.txt").write_text("bee\nbee\n")
  fails(lambda: open_source(f"webdataset:{mirror}", LABELS), "labels 'bee' and 'bee' are both class 'n0'")


@pytest.mark.parametrize(
  ("harm", "said"),
  [
    (
      lambda m: (m / "classnames.txt").write_text("bee\n"),
      ".cls '1' is no line of its class names, which are 1",
    ),
    (
      lambda m: (m / "classnames.txt").write_text("bee\nhotdogs\n"),
      "label 'hotdogs' is no class of the label space (did you mean 'Hot dog'?)",
    ),
    (lambda m: (m / "test/7.tar").unlink(), "nshards.txt says 12 shards, but 11 are there"),
    (lambda m: (m / "test/7.tar").write_bytes(b"x" * 5000), "7.tar is not a whole tar"),
    (
      lambda m: write(m / "test/7.tar", {"a.jpg": picture(1, "jpg")}),
      "sample a has an image but no .cls",
    ),
    (lambda m: write(m / "train/0.tar", {}), "name a split: test, train"),
  ],
)
def test_mirrors_that_are_wrong(mirror, harm, said):
  harm(mirror)
  fails(lambda: open_source(f"webdataset:{mirror}", LABELS), said)


def test_shards_that_repeat_keys(tmp_path):
  for shard in (0, 1):
    write(tmp_path / f"{shard}.tar", {"a.jpg": picture(shard, "jpg"), "a.cls": b"n0"})
  source = open_source(f"webdataset:{tmp_path}", LABELS)
  assert source.keys == ["0/a", "1/a"] and source.labels.tolist() == [3, 3]  # .cls may hold the id itself


def test_a_tar_that_was_cut_later_is_one_image_less(tmp_path):
  write(tmp_path / "0.tar", {f"{i}.png": picture(i, "png") for i in range(3)})
  source = open_source(f"webdataset:{tmp_path}", None)
  with (tmp_path / "0.tar").open("r+b") as file:
    file.truncate(2500)
  source.image(0)
  with pytest.raises(Unreadable, match=r"0.tar:2: the tar ends before the image does"):
    source.image(2)


def test_nothing_there(tmp_path):
  fails(lambda: open_source(f"webdataset:{tmp_path}", LABELS), "there is no .tar in it")
  fails(lambda: open_source(f"webdataset:{tmp_path}/no", LABELS), "there is no such folder")
  fails(lambda: open_source(f"webdataset:{tmp_path}/*.tar", LABELS), "no file is called so")
  fails(lambda: open_source("webdataset:", LABELS), "expected webdataset:PATH")
