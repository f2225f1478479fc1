import hashlib
import os
import random

import numpy as np
import pytest
from PIL import Image

from synthjax.data import embedded
from synthjax.data.decoding import Unreadable
from synthjax.data.sources import open_source
from synthjax.labels.spaces import LabelSpace, load
from synthjax.runtime.errors import UserError
from synthjax.small_world import digits, world

LABELS = LabelSpace(("b2", "a1", "n03"), ("bee", "ant", "cat"))
FILES = [
  "a1/2.png",
  "a1/10.JPG",
  "a1/sub/1.webp",
  "b2/x.gif",
  "b2/ä.tiff",
  "n03/y.bmp",
  "n03/z.jpeg",
  "n03/Z.tif",
]


def shade(name: str) -> int:
  return hashlib.sha256(name.encode()).digest()[0]


def write(folder, names) -> None:
  """Grey pictures; each shade is its name's."""
  for name in names:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 6), shade(name)).save(folder / name)


def fails(action, *said: str) -> None:
  with pytest.raises(UserError) as e:
    action()
  assert all(s in str(e.value) for s in said) and "\n" not in str(e.value), str(e.value)


# --- digits ------------------------------------------------------------------------------------------


def test_halves_of_the_digits():
  space = load("digits")
  first, second, whole = (open_source(f"embedded:digits:{s}", space) for s in ("first", "second", "all"))
  assert (len(first), len(second), len(whole)) == (898, 899, 1797)
  assert first.keys + second.keys == whole.keys and whole.keys[-1] == "1796"
  np.testing.assert_array_equal(np.concatenate([first.labels, second.labels]), whole.labels)
  np.testing.assert_array_equal(np.asarray(second.image(3)), digits.load("second")[0][3])
  assert (second.name, second.split) == ("digits", "second") and second.labels.dtype == np.int32
  assert len({s.digest for s in (first, second, whole)}) == 3


def test_digits_go_by_class_id():
  """Not by place: in this space, 3 comes first."""
  space = LabelSpace(("3", *"0124567890"[1:], "x", "0"), tuple("abcdefghijkl"))
  labels, want = open_source("embedded:digits:first", space).labels, digits.load("first")[1]
  np.testing.assert_array_equal(np.array(space.ids)[labels], want.astype(str))
  assert open_source("embedded:digits:first", None).labels is None
  fails(lambda: open_source("embedded:digits:first", LABELS), "no class '0'", "classes '0' to '9'")


# --- folders -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_the_order_is_not_the_file_systems(tmp_path, seed):
  names = random.Random(seed).sample(FILES, len(FILES))
  write(tmp_path, names)
  source = open_source(f"folder:{tmp_path}", LABELS)
  assert source.keys == sorted(FILES)
  for i, key in enumerate(source.keys):
    assert LABELS.ids[source.labels[i]] == key.split("/")[0]
    assert abs(int(np.asarray(source.image(i).convert("L"))[3, 3]) - shade(key)) <= 2  # JPEG
  assert source.labels.dtype == np.int32 and (source.name, source.split) == (tmp_path.name, "all")


def test_only_images_and_nothing_hidden(tmp_path):
  write(tmp_path, ["a1/1.png", ".cache/2.png", "a1/._3.png"])
  (tmp_path / "a1" / "notes.txt").write_text("no image")
  (tmp_path / "README").mkdir()
  assert open_source(f"folder:{tmp_path}", LABELS).keys == ["a1/1.png"]


def test_without_labels_every_image_below(tmp_path):
  write(tmp_path, ["top.png", "any/deep/er/1.png", "any.png"])
  source = open_source(f"folder:{tmp_path}", None)
  assert source.labels is None and source.keys == ["any.png", "any/deep/er/1.png", "top.png"]


def test_links_are_followed_and_circles_are_not(tmp_path):
  write(tmp_path / "elsewhere", ["1.png"])
  (tmp_path / "set").mkdir()
  (tmp_path / "set" / "a1").symlink_to(tmp_path / "elsewhere")
  (tmp_path / "set" / "b2").symlink_to(tmp_path / "elsewhere")
  (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "set")
  keys = open_source(f"folder:{tmp_path / 'set'}", LABELS).keys
  assert keys == ["a1/1.png", "b2/1.png"]


def test_the_digest_is_of_names_and_content(tmp_path):
  def digest(folder):
    return open_source(f"folder:{folder}", None).digest

  for folder in ("one", "two"):
    write(tmp_path / folder, ["1.png", "2.png"])
  before = digest(tmp_path / "one")
  assert digest(tmp_path / "two") == before
  (tmp_path / "one/1.png").write_bytes((tmp_path / "one/2.png").read_bytes())
  os.rename(tmp_path / "two/1.png", tmp_path / "two/3.png")
  assert len({before, digest(tmp_path / "one"), digest(tmp_path / "two")}) == 3


# --- images ------------------------------------------------------------------------------------------


def test_an_image_stands_upright(tmp_path):
  """Each of the eight ways a camera can be held: the red corner comes out top left."""
  upright = Image.new("RGB", (16, 8))
  upright.paste((255, 0, 0), (0, 0, 4, 4))
  turns = Image.Transpose
  undo = {
    2: turns.FLIP_LEFT_RIGHT,
    3: turns.ROTATE_180,
    4: turns.FLIP_TOP_BOTTOM,
    5: turns.TRANSPOSE,
    6: turns.ROTATE_90,
    7: turns.TRANSVERSE,
    8: turns.ROTATE_270,
  }
  for orientation in range(1, 9):
    stored = upright.transpose(undo[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / f"{orientation}.png", exif=exif)
  source = open_source(f"folder:{tmp_path}", None)
  for i in range(8):
    np.testing.assert_array_equal(np.asarray(source.image(i)), np.asarray(upright), err_msg=source.keys[i])


def unreadable(folder, said: str) -> None:
  source = open_source(f"folder:{folder}", None)
  with pytest.raises(Unreadable) as e:
    source.image(0)
  assert e.value.where == str(folder / source.keys[0]) and said in e.value.why and "\n" not in str(e.value)


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "tif", "bmp", "webp"])
def test_a_corrupt_image(tmp_path, suffix):
  noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
  file = tmp_path / f"x.{suffix}"
  Image.fromarray(noise).save(file)
  whole = file.read_bytes()
  for cut in (len(whole) // 2, 20, 0):
    file.write_bytes(whole[:cut])
    unreadable(tmp_path, "")
  file.write_bytes(b"<html>404</html>")
  unreadable(tmp_path, "cannot identify image file")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(("side", "said"), [(11, "11 x 11 pixels"), (20, "decompression bomb")])
def test_a_bomb(tmp_path, monkeypatch, side, said):
  Image.new("L", (side, side)).save(tmp_path / "x.png")
  open_source(f"folder:{tmp_path}", None).image(0)
  monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # PIL itself lets the double pass, with a warning
  unreadable(tmp_path, said)


def test_another_format_behind_the_suffix(tmp_path):
  """PIL would hand PostScript to another program."""
  Image.new("RGB", (8, 8)).save(tmp_path / "x.eps")
  os.rename(tmp_path / "x.eps", tmp_path / "x.jpg")
  unreadable(tmp_path, "cannot identify image file")


def test_glyphs_are_drawn_in_the_styles_that_are_named():
  space = LabelSpace(("B", "3"), ("letter B", "digit 3"))
  source = open_source("embedded:glyphs:painted+engraved", space)
  assert len(source) == 200 and source.keys[:3] == ["B-0", "3-0", "B-1"]
  np.testing.assert_array_equal(source.labels, np.arange(200) % 2)
  for i, want in enumerate(world.pictures(6, space, ("painted", "engraved"), embedded._SEEDS[""]).pixels):
    np.testing.assert_array_equal(np.asarray(source.image(i)), want)
  others = [open_source(f"embedded:glyphs:{r}", space) for r in ("painted", "engraved+painted")]
  assert len({s.digest for s in (source, *others)}) == 3
  assert open_source("embedded:glyphs:typed", None).labels is None
  fails(lambda: open_source("embedded:glyphs:typed", LABELS), "is none of the glyphs, 0 to 9 and A to Z")


def test_glyphs_to_learn_from_are_no_test_s():
  test, learn = (open_source(f"embedded:glyphs:typed:30{use}", load("digits")) for use in ("", ":learn"))
  assert test.keys == learn.keys and test.digest != learn.digest  # classes and numbers are the same
  tested = {test.image(i).tobytes() for i in range(300)}
  assert len(tested) == 300 and not tested & {learn.image(i).tobytes() for i in range(300)}


# --- faults ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
  ("reference", "said"),
  [
    ("foldr:x", "(did you mean 'folder'?)"),
    ("/data/birds", "a source is embedded:digits:second, folder:PATH"),
    ("embedded:digit:first", "no embedded images 'digit' (did you mean 'digits'?)"),
    ("embedded:digits:secnd", "no split 'secnd' (did you mean 'second'?)"),
    (
      "embedded:glyphs:painted+stampd",
      "no style 'stampd' (did you mean 'stamped'?); it is one or more of printed",
    ),
    ("embedded:glyphs:typed:30:train", "'train'; STYLES:N is to test on, and STYLES:N:learn to learn from"),
    ("embedded:digits", "no split '' (known: first, second, all)"),
    ("folder:", "names no folder; expected folder:PATH"),
    ("folder:/nowhere/at/all", "there is no such folder"),
  ],
)
def test_a_reference_that_names_nothing(reference, said):
  fails(lambda: open_source(reference, load("digits")), reference, said)


def test_folders_that_do_not_fit_the_labels(tmp_path):
  fails(lambda: open_source(f"folder:{tmp_path}", LABELS), "there is no image below it")
  write(tmp_path, ["a1/1.png", "n3/1.png"])
  fails(lambda: open_source(f"folder:{tmp_path}", LABELS), "no class 'n3' (did you mean 'n03'?)")
  os.rename(tmp_path / "n3", tmp_path / "n03")
  write(tmp_path, ["lost.png"])
  fails(lambda: open_source(f"folder:{tmp_path}", LABELS), "lost.png is in no class folder")
