"""JPEGs that are decoded at less than their size, against the same picture decoded whole and resized with care."""

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from synthjax.data.decoding import decode
from synthjax.data.pictures import Pictures
from synthjax.data.sources import open_source
from synthjax.data.squares import put_jpeg
from synthjax.labels.spaces import LabelSpace
from synthjax.runtime.errors import UserError

LABELS = LabelSpace(("a", "b"), ("ant", "bee"))


def jpeg(width: int, height: int, mode: str = "RGB", **how) -> bytes:
  """Smooth: what differs is the place and the size, and not how sharp a filter is."""
  y, x = np.mgrid[:height, :width] / min(width, height)
  waves = [np.sin(a * x + b * y + c) for a, b, c in ((20, 6, 0), (-6, 17, 1), (12, 12, 2))]
  pixels = 127 + 120 * np.stack(waves, -1)
  buffer = io.BytesIO()
  Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).convert(mode).save(buffer, "JPEG", quality=95, **how)
  return buffer.getvalue()


def whole(data: bytes, size: int) -> np.ndarray:
  rgb = decode(data, "x").convert("RGB")
  return np.asarray(ImageOps.fit(rgb, (size, size), Image.Resampling.BICUBIC)).astype(int)


@pytest.mark.parametrize("how", [{}, dict(subsampling=0), dict(progressive=True)])
@pytest.mark.parametrize(
  ("width", "height"), [(125, 93), (93, 125), (99, 101), (257, 193), (300, 511), (1201, 1399), (7000, 80)]
)
def test_the_same_picture(width, height, how):
  """To a level in the mean: half a pixel off would be nine, and PIL's box and bicubic filters are two apart."""
  data, out = jpeg(width, height, **how), np.zeros((56, 56, 3), np.uint8)
  assert put_jpeg(data, out, scaled=True)
  off = out - whole(data, 56)
  assert np.abs(off).mean() < 1 and np.abs(off.mean((0, 1))).max() < 0.5


@pytest.mark.parametrize(("width", "height"), [(64, 64), (112, 112), (64, 80), (73, 64), (128, 64)])
def test_a_size_that_is_just_an_eighth_is_not_resized(width, height):
  """7/8 of 64 is 56: the decoder alone makes it small. Nearer to the bicubic filter's than that of a box is."""
  data, out = jpeg(width, height), np.zeros((56, 56, 3), np.uint8)
  assert put_jpeg(data, out, scaled=True)
  off = out - whole(data, 56)
  assert np.abs(off).mean() < 3 and np.abs(off.mean((0, 1))).max() < 0.5


@pytest.mark.parametrize("data", [jpeg(40, 40), jpeg(90, 20), jpeg(56, 56)])
def test_what_is_not_larger_is_made_as_ever(data):
  out = np.zeros((56, 56, 3), np.uint8)
  assert put_jpeg(data, out, scaled=True)
  np.testing.assert_array_equal(out, whole(data, 56))


def test_what_is_not_scaled_is_as_pil_makes_it():
  for width, height in ((56, 56), (64, 64), (93, 125), (300, 211)):
    data, out = jpeg(width, height), np.zeros((56, 56, 3), np.uint8)
    assert put_jpeg(data, out)
    np.testing.assert_array_equal(out, whole(data, 56))


def test_files_that_ask_for_care_are_made_as_ever(tmp_path):
  """Upright, grey, of inks, and no JPEG at all."""
  (tmp_path / "a").mkdir()
  turned = Image.Exif()
  turned[0x0112] = 6
  files = [jpeg(125, 93, exif=turned), jpeg(125, 93, "L"), jpeg(125, 93, "CMYK")]
  png = io.BytesIO()
  Image.open(io.BytesIO(jpeg(125, 93))).save(png, "PNG")
  for i, data in enumerate([*files, png.getvalue()]):
    (tmp_path / "a" / f"{i}.jpg").write_bytes(data)
  scaled = Pictures(open_source(f"folder:{tmp_path}", LABELS), 56, held=0, scaled=True).at(np.arange(4))
  np.testing.assert_array_equal(scaled, [whole(data, 56) for data in [*files, png.getvalue()]])


def test_threads_do_not_mix_pictures_up(tmp_path):
  """Each thread has arrays of its own, which are used again for pictures of other sizes."""
  (tmp_path / "a").mkdir()
  files = [jpeg(70 + 9 * (i % 7), 60 + 5 * (i % 11)) for i in range(40)]
  for i, data in enumerate(files):
    (tmp_path / "a" / f"{i:02}.jpg").write_bytes(data)
  wanted = np.zeros((40, 32, 32, 3), np.uint8)
  for data, out in zip(files, wanted, strict=True):
    assert put_jpeg(data, out, scaled=True)
  pictures = Pictures(open_source(f"folder:{tmp_path}", LABELS), 32, held=0, scaled=True)
  for _ in range(5):
    np.testing.assert_array_equal(pictures.at(np.arange(40)), wanted)


def test_a_file_that_is_cut_is_named(tmp_path):
  (tmp_path / "a").mkdir()
  data = jpeg(125, 93)
  (tmp_path / "a" / "1.jpg").write_bytes(data[: len(data) // 2])
  with pytest.raises(UserError, match=r"a/1.jpg: .*truncated.*; fix or remove it"):
    Pictures(open_source(f"folder:{tmp_path}", LABELS), 56, scaled=True)
