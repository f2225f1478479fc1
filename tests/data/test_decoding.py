"""Pictures whose bytes are easily read wrong, against values known beforehand."""

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, ImageDraw

from synthjax.data.decoding import Unreadable, decode, plain_jpeg


def stored(image: Image.Image, suffix: str = "PNG", **how) -> bytes:
  buffer = io.BytesIO()
  image.save(buffer, suffix, **how)
  return buffer.getvalue()


def rgb(data: bytes) -> np.ndarray:
  return np.asarray(decode(data, "x").convert("RGB"))


@pytest.mark.parametrize("suffix", ["PNG", "TIFF"])
def test_16_bits_are_scaled_and_not_cut_off(suffix):
  values = np.array([[0, 128, 129, 257, 32768, 65407, 65535]], np.uint16)
  found = rgb(stored(Image.fromarray(np.repeat(values, 4, 0)), suffix))
  assert found[0, :, 0].tolist() == [0, 0, 1, 1, 128, 255, 255]  # a 257th, rounded


def test_16_bits_big_endian():
  """As microscopes write them."""
  ramp = np.linspace(0, 65535, 64).astype(np.uint16)
  image = Image.frombytes("I;16B", (64, 1), ramp.astype(">u2").tobytes())
  found = rgb(stored(image.resize((64, 8)) if image.mode == "I;16" else image, "TIFF"))
  np.testing.assert_allclose(found[0, :, 0], ramp / 257, atol=0.51)


@pytest.mark.parametrize("suffix", ["JPEG", "TIFF"])
@pytest.mark.parametrize(
  ("inks", "seen"),
  [
    ((255, 0, 0, 0), (0, 255, 255)),
    ((0, 0, 0, 0), (255,) * 3),
    ((0, 0, 0, 255), (0,) * 3),
    ((0, 255, 255, 0), (255, 0, 0)),
  ],
)
def test_cmyk(suffix, inks, seen):
  """JPEGs hold it inverted, as Adobe began to."""
  data = stored(Image.new("CMYK", (16, 16), inks), suffix)
  np.testing.assert_allclose(rgb(data)[8, 8], seen, atol=3)


def photograph(size=(67, 41)) -> Image.Image:
  rng = np.random.default_rng(0)
  small = Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8))
  return small.resize(size, Image.Resampling.BICUBIC)


@pytest.mark.parametrize("how", [{}, dict(quality=30), dict(subsampling=0), dict(subsampling=1), dict(progressive=True)])  # fmt: skip
@pytest.mark.parametrize("size", [(67, 41), (16, 16), (1, 1)])
def test_a_plain_jpeg_has_the_same_pixels_the_quick_way(how, size):
  data = stored(photograph(size), "JPEG", **how)
  np.testing.assert_array_equal(plain_jpeg(data), rgb(data))


def test_what_asks_for_care_is_not_read_the_quick_way(monkeypatch):
  whole = stored(photograph(), "JPEG")
  turned = Image.Exif()
  turned[0x0112] = 6
  assert plain_jpeg(stored(photograph(), "JPEG", exif=turned)) is None
  assert plain_jpeg(stored(photograph(), "JPEG", xmp=b'<x tiff:Orientation="6"/>')) is None
  assert plain_jpeg(stored(Image.new("CMYK", (16, 16)), "JPEG")) is None
  assert plain_jpeg(stored(Image.new("L", (16, 16)), "JPEG")) is None
  assert plain_jpeg(stored(photograph())) is None  # a PNG
  assert plain_jpeg(whole[: len(whole) // 2]) is None and plain_jpeg(b"\xff\xd8\xff") is None
  assert plain_jpeg(stored(photograph((2000, 2)), "JPEG")) is None  # a strip
  monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
  assert plain_jpeg(whole) is None


def test_transparency_lies_on_white():
  """Clear pixels show white whatever lies below, half-clear ones half of it; so in every way to store it."""
  picture = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
  ImageDraw.Draw(picture).rectangle((4, 0, 7, 7), (200, 0, 0, 255))
  for data in (stored(picture), stored(picture, "WEBP", lossless=True), stored(picture, "TIFF")):
    found = rgb(data)
    assert found[3, 2].tolist() == [255, 255, 255] and found[3, 6].tolist() == [200, 0, 0]
  assert rgb(stored(Image.new("RGBA", (8, 8), (0, 100, 200, 128))))[0, 0].tolist() == [127, 177, 227]
  assert rgb(stored(Image.new("LA", (8, 8), (0, 0))))[0, 0].tolist() == [255, 255, 255]
  grey = Image.new("L", (8, 8), 7)
  assert rgb(stored(grey, transparency=7))[0, 0].tolist() == [255, 255, 255]
  assert rgb(stored(grey, transparency=8))[0, 0].tolist() == [7, 7, 7]


def test_palettes():
  colours = Image.new("RGB", (8, 8), (10, 20, 30))
  colours.paste((240, 130, 20), (4, 0, 8, 8))
  palette = colours.quantize(4)
  np.testing.assert_array_equal(rgb(stored(palette)), np.asarray(colours))
  np.testing.assert_array_equal(rgb(stored(palette, "GIF")), np.asarray(colours))
  clear = rgb(stored(palette, transparency=palette.getpixel((0, 0))))
  assert clear[0, 0].tolist() == [255, 255, 255] and clear[0, 7].tolist() == [240, 130, 20]


def test_one_bit_and_grey():
  assert rgb(stored(Image.new("1", (8, 8), 1)))[0, 0].tolist() == [255, 255, 255]
  assert rgb(stored(Image.new("L", (8, 8), 99), "JPEG"))[0, 0].tolist() == [99, 99, 99]


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_pixels_that_do_not_say_what_is_white(kind):
  with pytest.raises(Unreadable, match="do not say what is white"):
    decode(stored(Image.fromarray(np.ones((8, 8), kind)), "TIFF"), "x")


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_broken_exif_costs_no_picture():
  image = Image.new("RGB", (16, 8), (50, 60, 70))
  data = stored(image, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x05\0garbage")
  assert decode(data, "x").size == (16, 8)


def test_a_strip_is_no_picture():
  with pytest.raises(Unreadable, match="1 x 101 pixels: a strip"):
    decode(stored(Image.new("L", (1, 101))), "x")


@pytest.mark.parametrize("data", [b"", b"<html>404</html>", b"%!PS-Adobe-3.0\n"])
def test_what_is_no_image_is_called_by_its_name(data):
  with pytest.raises(Unreadable, match=r"photos/a.png: cannot identify image file") as e:
    decode(data, "photos/a.png")
  assert "BytesIO" not in str(e.value)


def test_netpbm():
  """What GTSRB and many robots store; 16 bits and any brightest value too, as text or as bytes."""
  assert rgb(b"P6\n2 1\n255\n\x01\x02\x03\x04\x05\x06").tolist() == [[[1, 2, 3], [4, 5, 6]]]
  assert rgb(b"P3\n1 1\n255\n1 2 3\n").tolist() == [[[1, 2, 3]]]
  assert rgb(b"P5\n3 1\n65535\n\x00\x00\x80\x00\xff\xff")[0, :, 0].tolist() == [0, 128, 255]
  assert rgb(b"P5\n2 1\n15\n\x00\x0f")[0, :, 0].tolist() == [0, 255]
  assert rgb(b"P4\n8 1\n\x0f")[0, :, 0].tolist() == [255] * 4 + [0] * 4
  with pytest.raises(Unreadable, match="x: "):
    decode(b"P6\n1000 1000\n255\n\x01", "x")


def test_an_animation_is_its_first_picture():
  frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
  assert rgb(stored(frames[0], "GIF", save_all=True, append_images=frames[1:]))[0, 0].tolist() == [255, 0, 0]


def test_no_warning_of_pils_beside_the_line():
  """It names no file, and what matters is said by the line."""
  program = (
    "import warnings; from synthjax.data import decoding; from PIL import Image; Image.MAX_IMAGE_PIXELS = 10\n"
    "try: decoding.decode(b'P5\\n4 4\\n255\\n' + bytes(16), 'x')\nexcept decoding.Unreadable as e: print(e)"
  )
  done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
  assert done.stdout == "x: 4 x 4 pixels, more than PIL decodes safely\n" and done.stderr == ""
