"""Copies of photographs, by the default and by the preset: how many are found, and what is found that is no copy.

The slow test measures it on the photographs that scikit-image and scikit-learn ship, where both are installed, and prints
the table of docs/guides/own-data.md: pytest tests/filters/test_photographs.py -m slow -s
"""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from etils import epath
from PIL import Image, ImageOps

from synthjax.encoders.encoder import encoder_of
from synthjax.encoders.thumbnail import Thumbnail, embed
from synthjax.filters import similarity as search
from synthjax.labels.spaces import load
from synthjax.spec import config as fields_of

Array = np.ndarray


def encoded_again(image: Image.Image) -> Image.Image:
  buffer = io.BytesIO()
  image.save(buffer, "JPEG", quality=50)
  return Image.open(buffer).convert("RGB")


def cropped(image: Image.Image, share: float) -> Image.Image:
  """So much of each side is gone, half of it at either end."""
  across, down = round(image.width * share / 2), round(image.height * share / 2)
  return image.crop((across, down, image.width - across, image.height - down))


def shifted(image: Image.Image, share: float) -> Image.Image:
  """Down and to the right."""
  down, right = round(image.height * share), round(image.width * share)
  moved = np.pad(np.asarray(image), ((down, 0), (right, 0), (0, 0)), mode="edge")
  return Image.fromarray(moved[: image.height, : image.width])


def framed(image: Image.Image, share: float) -> Image.Image:
  """White, so wide at each end."""
  return ImageOps.expand(image, (round(image.width * share), round(image.height * share)), fill="white")


def rotated(image: Image.Image, degrees: float) -> Image.Image:
  return image.rotate(degrees, Image.Resampling.BICUBIC)


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
  "the same": lambda i: i,
  "JPEG, quality 50": encoded_again,
  "half the size": lambda i: i.resize((i.width // 2, i.height // 2), Image.Resampling.BICUBIC),
  "darker, of half the contrast": lambda i: i.point(lambda v: 40 + v // 2),
  "brighter by 40 %, some of it white": lambda i: i.point(lambda v: min(255, round(1.4 * v))),
  "grey": lambda i: ImageOps.grayscale(i).convert("RGB"),
  "mirrored": ImageOps.mirror,
  "mirrored, JPEG": lambda i: encoded_again(ImageOps.mirror(i)),
  **{f"cropped by {p} %": lambda i, p=p: cropped(i, p / 100) for p in (5, 10, 20)},
  **{f"shifted by {p} %": lambda i, p=p: shifted(i, p / 100) for p in (3, 5, 10)},
  **{f"framed by {p} %": lambda i, p=p: framed(i, p / 100) for p in (2, 5, 10)},
  **{f"rotated by {d} degrees": lambda i, d=d: rotated(i, d) for d in (2, 5, 10)},
}


def scenes(n: int, side: int = 96) -> list[Image.Image]:
  """Pictures with structure at every scale and no symmetry, as most photographs have."""
  rng = np.random.default_rng(0)
  found = []
  for _ in range(n):
    layers = np.zeros((side, side, 3))
    for cells in (3, 6, 12, 24, 48):
      noise = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), np.uint8))
      layers += np.asarray(noise.resize((side, side), Image.Resampling.BICUBIC)) / cells**0.5
    centred = layers - layers.mean()
    found.append(Image.fromarray(np.clip(128 + 80 * centred / layers.std(), 0, 255).astype(np.uint8)))
  return found


def thumbnails(images) -> Array:
  return embed(map(Thumbnail().pixels, images))


def by_rule(fields) -> tuple[float, tuple[bool, ...]]:
  """The threshold of a filter, and whether pictures are compared as they are and mirrored."""
  return fields.threshold or search.SIMILAR, (False, True) if fields.mirrored else (False,)


DEFAULT = by_rule(fields_of.image_filter("unlike"))
PRESET = by_rule(fields_of.photograph_copies())


def found(rule, copies: Array, originals: Array) -> Array:
  """bool: of each copy, whether the most similar original is similar enough, and is its own."""
  threshold, passes = rule
  similarity, which = zip(*(search.nearest(copies, originals, mirrored) for mirrored in passes), strict=True)
  best, n = np.argmax(similarity, axis=0), np.arange(len(copies))
  return (np.array(similarity)[best, n] >= threshold) & (np.array(which)[best, n] == n)


def strangers(rule, images: Array) -> int:
  """Of images that are no copies of one another, those that are found."""
  threshold, passes = rule
  similarity = [search.nearest_earlier(images, mirrored)[0] for mirrored in passes]
  return int((np.max(similarity, axis=0) >= threshold).sum())


@pytest.fixture(scope="module")
def made() -> list[Image.Image]:
  return scenes(30)


@pytest.mark.parametrize(
  ("how", "by_default", "by_preset"),
  [
    ("JPEG, quality 50", 30, 30),
    ("half the size", 30, 30),
    ("grey", 30, 30),
    ("shifted by 3 %", 30, 30),
    ("mirrored", 0, 30),
    ("mirrored, JPEG", 0, 30),
    ("cropped by 5 %", 0, 30),
    ("shifted by 5 %", 0, 30),
    ("framed by 2 %", 0, 30),
    ("rotated by 2 degrees", 0, 30),
    ("cropped by 20 %", 0, 0),
    ("rotated by 10 degrees", 0, 0),
  ],
)
def test_what_each_finds(made, how, by_default, by_preset):
  copies, originals = thumbnails(map(COPIES[how], made)), thumbnails(made)
  assert found(DEFAULT, copies, originals).sum() == by_default
  assert found(PRESET, copies, originals).sum() == by_preset


def test_no_stranger_is_found(made):
  assert strangers(DEFAULT, thumbnails(made)) == strangers(PRESET, thumbnails(made)) == 0


def test_the_preset_is_short_for_two_fields():
  own, plain = fields_of.photograph_copies(encoder="small").to_dict(), fields_of.image_filter("unlike")
  assert own == plain.to_dict() | {"encoder": "small", "threshold": 0.8, "mirrored": True}
  assert fields_of.photograph_copies(threshold=0.9).threshold == 0.9


# Photographs that the two packages ship, and into how many pieces across and down each is cut: 30 that share nothing.
_SHIPPED = {
  "scikit-image": {
    **dict.fromkeys(
      [
        "astronaut",
        "brick",
        "camera",
        "cell",
        "chelsea",
        "clock_motion",
        "coins",
        "grass",
        "gravel",
        "moon",
        "page",
      ],
      (1, 1),
    ),
    "retina": (1, 1),
    "hubble_deep_field": (2, 2),
    "ihc": (2, 2),
    **dict.fromkeys(("motorcycle_left", "rocket", "coffee"), (2, 1)),
  },
  "scikit-learn": dict.fromkeys(("china", "flower"), (2, 1)),
}


def pieces(image: Image.Image, across: int, down: int) -> list[Image.Image]:
  width, height = image.width // across, image.height // down
  corners = [(x * width, y * height) for y in range(down) for x in range(across)]
  return [image.crop((x, y, x + width, y + height)) for x, y in corners]


@pytest.fixture(scope="module")
def shipped() -> dict[str, Image.Image]:
  folders = {
    "scikit-image": Path(pytest.importorskip("skimage.data").__file__).parent,
    "scikit-learn": Path(pytest.importorskip("sklearn.datasets").__file__).parent / "images",
  }
  files = {name: next(folders[of].glob(f"{name}.*")) for of, names in _SHIPPED.items() for name in names}
  return {name: Image.open(file).convert("RGB") for name, file in files.items()}


@pytest.mark.slow
def test_photographs_that_packages_ship(shipped, encoded_by_clip):
  cut = {name: grid for names in _SHIPPED.values() for name, grid in names.items()}
  images = [piece for name, image in shipped.items() for piece in pieces(image, *cut[name])]
  assert len(images) == 30
  originals, clip_of_originals = thumbnails(images), encoded_by_clip(images)
  counts = {}
  for how, copy in COPIES.items():
    copies = [copy(image) for image in images]
    default, preset = (found(rule, thumbnails(copies), originals) for rule in (DEFAULT, PRESET))
    second = found(CLIP, encoded_by_clip(copies), clip_of_originals)
    counts[how] = [int(hits.sum()) for hits in (default, preset, preset | second)]
  wrong = [strangers(DEFAULT, originals), strangers(PRESET, originals), strangers(CLIP, clip_of_originals)]
  for how, row in (counts | {"no copies": wrong}).items():
    print(f"{how:<36}" + "".join(f"{n:>8}" for n in row))
  small = thumbnails([piece for image in shipped.values() for piece in pieces(image, 4, 4)])
  print(f"{len(small)} smaller pieces: {strangers(DEFAULT, small)}, {strangers(PRESET, small)} found")
  assert wrong == [0, 0, 0]
  for how in ("the same", "JPEG, quality 50", "half the size", "darker, of half the contrast", "grey"):
    assert counts[how] == [30, 30, 30]
  for how in ("mirrored", "mirrored, JPEG"):
    assert counts[how] == [0, 30, 30]
  for how in ("framed by 2 %", "rotated by 2 degrees"):
    assert counts[how][0] <= 4 and counts[how][1] >= 24


CLIP = (search.SIMILAR, (False,))


@pytest.fixture(scope="module")
def encoded_by_clip(tmp_path_factory) -> Callable[[list[Image.Image]], Array]:
  """By the CLIP that ships with synthjax, which knows digits and letters."""
  config = fields_of.study_config()
  config.encoders.clip = fields_of.encoder()
  encoder = encoder_of(config, epath.Path(tmp_path_factory.mktemp("w")), "clip", load("digits"))
  return lambda images: encoder.embed(map(encoder.preprocess.pixels, images))
