"""Pixels equal those of transformers' slow processor to the bit."""

import io
import json

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from transformers.models.clip.image_processing_clip import CLIPImageProcessor  # runs without torch

from synthjax.encoders.preprocess import FILE, Preprocess, of_openclip
from synthjax.models.pixels import MEAN, STD
from synthjax.runtime.errors import UserError


def picture(width: int, height: int, mode: str = "RGB") -> Image.Image:
  """Blocks of noise, and a gradient: resampling shows in both."""
  rng = np.random.default_rng([width, height])
  noise = rng.integers(0, 256, (height, width, 4), np.uint8)
  noise[..., 0] = np.linspace(0, 255, width).astype(np.uint8)
  image = Image.fromarray(noise, "RGBA") if mode in ("RGBA", "LA") else Image.fromarray(noise[..., :3])
  return image.convert(mode)


def processors(tmp_path, **body):
  """Ours and theirs, from one file."""
  (tmp_path / FILE).write_text(json.dumps(body))
  return Preprocess.read(tmp_path), CLIPImageProcessor(**body)


def theirs_uint8(processor, image) -> np.ndarray:
  # Of an image of 1 or 3 rows it would take the rows for colours.
  formats = dict(data_format="channels_last", input_data_format="channels_last")
  out = processor(image, do_rescale=False, do_normalize=False, return_tensors="np", **formats)
  assert out.pixel_values.dtype == np.uint8
  return out.pixel_values[0]


SIZES = [(224, 224), (640, 480), (333, 501), (225, 224), (37, 53), (32, 32), (700, 31), (9, 200), (999, 1000)]


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "LA", "1", "CMYK"])
def test_every_mode(tmp_path, mode):
  ours, theirs = processors(tmp_path, size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64})
  for width, height in ((97, 61), (61, 97)):
    image = picture(width, height, mode)
    np.testing.assert_array_equal(ours.pixels(image), theirs_uint8(theirs, image))


@pytest.mark.parametrize("resample", [0, 1, 2, 3])
@pytest.mark.parametrize("side", [224, 63])
def test_every_size(tmp_path, side, resample):
  ours, theirs = processors(tmp_path, size=side, crop_size=side, resample=resample)
  for width, height in SIZES:
    image = picture(width, height)
    np.testing.assert_array_equal(ours.pixels(image), theirs_uint8(theirs, image))
    assert ours.pixels(image).shape == (side, side, 3)


@pytest.mark.parametrize(
  "body",
  [
    dict(size=40, crop_size=51),  # black all around, by an odd difference
    dict(size={"shortest_edge": 40}, crop_size={"height": 50, "width": 50}),
    dict(do_resize=False, crop_size=64),
    dict(size={"height": 48, "width": 48}, do_center_crop=False),
    dict(size={"height": 60, "width": 50}, crop_size=55),
  ],
)
def test_every_way_to_a_square(tmp_path, body):
  ours, theirs = processors(tmp_path, **body)
  for width, height in ((63, 40), (40, 63), (100, 31), (31, 101), (64, 64)):
    image = picture(width, height)
    np.testing.assert_array_equal(ours.pixels(image), theirs_uint8(theirs, image))


@pytest.mark.parametrize("own", [{}, {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.5, 0.25, 0.125]}])
def test_normalisation(tmp_path, own):
  ours, theirs = processors(tmp_path, size=64, crop_size=64, **own)
  image = picture(301, 200)
  want = theirs(image, data_format="channels_last", return_tensors="np").pixel_values
  got = np.asarray(ours.normalise(jnp.asarray(ours.pixels(image))[None]))
  assert got.dtype == np.float32
  assert np.abs(got - want).max() <= 1e-6


def test_an_empty_file_is_clips(tmp_path):
  (tmp_path / FILE).write_text("{}")
  assert Preprocess.read(tmp_path) == Preprocess(224, 224, True, 3, MEAN, STD)


@pytest.mark.parametrize(
  ("orientation", "turn"),
  [
    (2, Image.Transpose.FLIP_LEFT_RIGHT),
    (3, Image.Transpose.ROTATE_180),
    (5, Image.Transpose.TRANSPOSE),
    (6, Image.Transpose.ROTATE_270),
    (8, Image.Transpose.ROTATE_90),
  ],
)
@pytest.mark.parametrize("torchvision", [False, True])
def test_bytes_are_turned_as_their_exif_says(orientation, turn, torchvision):
  image, data = picture(64, 31), io.BytesIO()
  exif = Image.Exif()
  exif[0x0112] = orientation
  image.save(data, "PNG", exif=exif)
  ours = Preprocess(side=32, size=32, torchvision=torchvision)
  np.testing.assert_array_equal(ours.decode(data.getvalue()), ours.pixels(image.transpose(turn)))


def test_the_record_is_json(tmp_path):
  ours, _ = processors(tmp_path, size=32, crop_size=32)
  assert json.loads(json.dumps(ours.to_json())) == ours.to_json()
  assert ours.to_json()["mean"] == list(MEAN)


# --- OpenCLIP, which takes torchvision's transforms ---------------------------------------------------

ODD = [(1, 1000), (1000, 1), (223, 225), (225, 223), (3, 3), (1, 1), (227, 224), (224, 227), (501, 334)]


def transforms(image: Image.Image, side: int) -> np.ndarray:
  """What torchvision's Resize, CenterCrop and a conversion to RGB do to a PIL image, written down again with PIL alone."""
  width, height = image.size
  short, long = sorted((width, height))
  long = int(side * long / short)
  image = image.resize((side, long) if width <= height else (long, side), Image.Resampling.BICUBIC)
  left, top = (round((n - side) / 2.0) for n in image.size)
  return np.asarray(image.crop((left, top, left + side, top + side)).convert("RGB"))


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "LA", "1", "CMYK"])
def test_openclips_every_mode_and_odd_size(tmp_path, mode):
  ours = of_openclip(tmp_path, {}, 64)
  for width, height in ODD:
    image = picture(width, height, mode)
    np.testing.assert_array_equal(ours.pixels(image), transforms(image, 64))


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA"])
def test_odd_sizes(tmp_path, mode):
  ours, theirs = processors(tmp_path, size=64, crop_size=64)
  for width, height in ODD:
    image = picture(width, height, mode)
    np.testing.assert_array_equal(ours.pixels(image), theirs_uint8(theirs, image))


def test_the_two_crop_apart_by_a_pixel(tmp_path):
  """67 columns into 64: torchvision leaves out two at the left, transformers one."""
  image = picture(67, 64)
  one, two = Preprocess(64, 64), of_openclip(tmp_path, {}, 64)
  np.testing.assert_array_equal(one.pixels(image), np.asarray(image)[:, 1:65])
  np.testing.assert_array_equal(two.pixels(image), np.asarray(image)[:, 2:66])


@pytest.mark.parity
@pytest.mark.parametrize(
  ("width", "height"), [(640, 480), (301, 499), (97, 61), (37, 53), (223, 225), (1, 40)]
)
def test_resizing_is_bicubic_with_antialiasing(torch, width, height):
  """Against PyTorch's own resampling, at most one grey level; without antialiasing it would be dozens."""
  image = picture(width, height)
  ours = Preprocess(side=64, size=(64, 64), crop=False).pixels(image)
  planes = torch.tensor(np.asarray(image)).permute(2, 0, 1)[
    None
  ]  # in 8 bits: what overshoots is cut in between too

  def resized(antialias: bool) -> np.ndarray:
    out = torch.nn.functional.interpolate(planes, (64, 64), mode="bicubic", antialias=antialias)
    return out[0].permute(1, 2, 0).numpy().astype(int)

  assert np.abs(ours - resized(True)).max() <= 1
  if min(width, height) > 128:
    assert np.abs(ours - resized(False)).max() > 12


@pytest.mark.parametrize(
  ("body", "said"),
  [
    ({"size": {"longest_edge": 224}}, "size={'longest_edge': 224}; expected pixels, shortest_edge"),
    ({"size": 0}, "size=0"),
    ({"crop_size": "224"}, "crop_size='224'; expected pixels"),
    ({"crop_size": {"height": 224, "width": 200}}, "makes images of 224 x 200; CLIP's are square"),
    ({"do_center_crop": False}, "neither crops nor gives height and width"),
    ({"resample": 9}, "resample=9; known are 0 nearest"),
    ({"image_mean": [0.5, 0.5]}, "image_mean=[0.5, 0.5]; expected three numbers"),
    ({"image_std": [0.5, 0.5, 0]}, "image_std=[0.5, 0.5, 0]"),
    ({"image_std": [0.5, float("nan"), 0.5]}, "image_std=[0.5, nan, 0.5]"),
    ({"image_std": [0.5, 0.5, 1e-60]}, "image_std=[0.5, 0.5, 1e-60]"),
    ({"image_std": [0.5, 0.5, 10**400]}, "image_std="),
    ({"image_mean": [float("nan"), 0.5, 0.5]}, "image_mean=[nan, 0.5, 0.5]"),
    ({"image_mean": [float("inf"), 0.5, 0.5]}, "image_mean=[inf, 0.5, 0.5]"),
    ({"rescale_factor": float("nan")}, "rescale_factor=nan; only 1/255"),
    ({"do_normalize": False}, "do_normalize=False"),
    ({"rescale_factor": 1}, "only 1/255"),
  ],
)
def test_what_cannot_be_followed_is_refused(tmp_path, body, said):
  (tmp_path / FILE).write_text(json.dumps(body))
  with pytest.raises(UserError) as e:
    Preprocess.read(tmp_path)
  assert said in str(e.value) and FILE in str(e.value) and "\n" not in str(e.value)
