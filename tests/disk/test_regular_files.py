"""What would be waited for, or never ends, is refused where images are looked for: in a line that names the file."""

import io
import json
import os
import signal
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from synthjax.data.decoding import Unreadable
from synthjax.data.sources import open_source
from synthjax.disk import regular_files
from synthjax.labels.spaces import LabelSpace
from synthjax.runtime.errors import UserError

LABELS = LabelSpace(("n0",), ("bee",))


@pytest.fixture(autouse=True)
def in_time():
  """Waiting for ever is a failure, and not a test that never ends."""

  def too_long(*_):
    raise AssertionError("it hangs")

  before = signal.signal(signal.SIGALRM, too_long)
  signal.alarm(20)
  yield
  signal.alarm(0)
  signal.signal(signal.SIGALRM, before)


def picture() -> bytes:
  buffer = io.BytesIO()
  Image.new("RGB", (8, 8)).save(buffer, "PNG")
  return buffer.getvalue()


def a_fifo(path: Path) -> None:
  os.mkfifo(path)


def a_link_to_a_fifo(path: Path) -> None:
  os.mkfifo(path.parent.parent / "elsewhere")
  path.symlink_to(path.parent.parent / "elsewhere")


def a_link_to_zeros(path: Path) -> None:
  path.symlink_to("/dev/zero")


KINDS = [(a_fifo, "a FIFO"), (a_link_to_a_fifo, "a FIFO"), (a_link_to_zeros, "a device")]


def refused(action, *said: str) -> None:
  with pytest.raises((UserError, Unreadable)) as e:
    action()
  assert all(s in str(e.value) for s in said) and "\n" not in str(e.value), str(e.value)


@pytest.mark.parametrize(("make", "kind"), KINDS)
def test_among_the_images_of_a_folder(tmp_path, make, kind):
  (tmp_path / "photos/n0").mkdir(parents=True)
  (tmp_path / "photos/n0/a.png").write_bytes(picture())
  make(tmp_path / "photos/n0/b.png")
  source = open_source(f"folder:{tmp_path}/photos", LABELS)
  refused(lambda: source.digest, "n0/b.png", kind, "remove it")
  assert source.image(0).size == (8, 8)
  refused(lambda: source.image(1), "n0/b.png", kind)


@pytest.mark.parametrize(("make", "kind"), KINDS)
def test_among_the_images_that_a_split_file_lists(tmp_path, make, kind):
  (tmp_path / "photos").mkdir()
  (tmp_path / "photos/a.png").write_bytes(picture())
  make(tmp_path / "photos/b.png")
  rows = [["photos/a.png", 0, "bee"], ["photos/b.png", 0, "bee"]]
  (tmp_path / "split.json").write_text(json.dumps({"train": rows}))
  source = open_source(f"coop:{tmp_path}/split.json:train", LABELS)
  refused(lambda: source.digest, "photos/b.png", kind)
  refused(lambda: source.image(1), "photos/b.png", kind)


@pytest.mark.parametrize(("make", "kind"), [KINDS[0], KINDS[2]])
def test_among_tars(tmp_path, make, kind):
  (tmp_path / "test").mkdir()
  with tarfile.open(tmp_path / "test/0.tar", "w") as tar:
    entry = tarfile.TarInfo("a.png")
    entry.size = len(picture())
    tar.addfile(entry, io.BytesIO(picture()))
  make(tmp_path / "test/1.tar")
  refused(lambda: open_source(f"webdataset:{tmp_path}:test", None), "1.tar", kind)


def test_in_the_place_of_a_list(tmp_path):
  os.mkfifo(tmp_path / "split.json")
  refused(lambda: open_source(f"coop:{tmp_path}/split.json:train", LABELS), "split.json", "a FIFO")
  os.mkfifo(tmp_path / "map.yaml")
  (tmp_path / "n0").mkdir()
  (tmp_path / "n0/a.png").write_bytes(picture())
  refused(lambda: open_source(f"folder:{tmp_path}?map={tmp_path}/map.yaml", LABELS), "map.yaml", "a FIFO")


def test_a_caption_that_is_a_fifo_says_nothing(tmp_path):
  (tmp_path / "a.png").write_bytes(picture())
  os.mkfifo(tmp_path / "a.txt")
  assert open_source(f"folder:{tmp_path}", None).about(0) == {}


def test_a_file_that_fills_the_memory(tmp_path):
  """A terabyte that takes no room on the disk."""
  with (tmp_path / "a.png").open("wb") as file:
    file.truncate(1 << 40)
  source = open_source(f"folder:{tmp_path}", None)
  refused(lambda: source.image(0), "a.png", "1,099,511,627,776 bytes")
  refused(lambda: source.digest, "a.png", "1,099,511,627,776 bytes")


def test_links_to_files_are_followed(tmp_path):
  (tmp_path / "a.png").write_bytes(picture())
  (tmp_path / "b.png").symlink_to(tmp_path / "a.png")
  assert regular_files.read_bytes(tmp_path / "b.png") == picture()
  (tmp_path / "c.txt").write_bytes(b"one\r\ntwo\rthree\n")
  assert regular_files.read_text(tmp_path / "c.txt") == (tmp_path / "c.txt").read_text()
