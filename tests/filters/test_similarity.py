"""Copies of real digits against other digits; and the search itself against one pair at a time."""

import io

import numpy as np
import pytest
from PIL import Image

from synthjax.encoders.thumbnail import Thumbnail, embed
from synthjax.filters import similarity as search
from synthjax.runtime import devices
from synthjax.small_world import digits


def encoded_again(image: Image.Image, quality: int = 80) -> Image.Image:
  buffer = io.BytesIO()
  image.save(buffer, "JPEG", quality=quality)
  return Image.open(buffer).convert("RGB")


def shifted(image: Image.Image, down: int, right: int) -> Image.Image:
  moved = np.pad(np.asarray(image), ((2, 2), (2, 2), (0, 0)), mode="edge")
  return Image.fromarray(moved[2 - down : 2 - down + image.height, 2 - right : 2 - right + image.width])


def resized(image: Image.Image, by: float) -> Image.Image:
  return image.resize([round(n * by) for n in image.size], Image.Resampling.BICUBIC)


COPIES = {
  "encoded again": lambda i: encoded_again(i, 60),
  "shifted": lambda i: shifted(i, 2, -2),
  "smaller": lambda i: resized(i, 0.75),
  "larger": lambda i: resized(i, 7),
  "darker, of less contrast": lambda i: i.point(lambda v: 40 + v // 2),
  "all of it": lambda i: encoded_again(resized(shifted(i, 2, 1), 1.5)),
}


@pytest.fixture(scope="module")
def real():
  """Every third digit of the second half, as pictures."""
  return [Image.fromarray(pixels) for pixels in digits.load("second")[0][::3]]


def thumbnails(images) -> np.ndarray:
  return embed(map(Thumbnail().pixels, images))


@pytest.mark.parametrize("how", COPIES)
def test_copies_are_found(real, how):
  similarity, which = search.nearest(thumbnails(COPIES[how](i) for i in real), thumbnails(real))
  assert (which == np.arange(len(real))).all() and similarity.min() > 0.99


def test_other_digits_are_not(real):
  """Of other writers, and of the same."""
  others = [Image.fromarray(pixels) for pixels in digits.load("first")[0]]
  similarity, _ = search.nearest(thumbnails(others), thumbnails(real))
  assert similarity.max() < 0.98
  similarity, _ = search.nearest_earlier(thumbnails(real))
  assert similarity.max() < 0.99


def test_the_first_of_equals_stays(real):
  images = [real[0], real[1], shifted(real[0], 1, 1), real[1], real[2]]
  similarity, which = search.nearest_earlier(thumbnails(images))
  assert (similarity > 0.99).tolist() == [False, False, True, True, False]
  assert which[2:4].tolist() == [0, 1] and (similarity[0], which[0]) == (-1, -1)


@pytest.fixture
def small_blocks(monkeypatch):
  """That end in odd places."""
  for name, n in {"_ROWS": 7, "_OF_A_DEVICE": 3, "_OTHERS": 5}.items():
    monkeypatch.setattr(search, name, n)


@pytest.mark.parametrize("platform", ["cpu", "gpu"])
def test_the_search_against_one_pair_at_a_time(small_blocks, monkeypatch, platform):
  monkeypatch.setattr(search.devices, "platform", lambda: platform)
  rng = np.random.default_rng(0)
  own, others = rng.normal(size=(20, 5)), rng.normal(size=(17, 5))

  def cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

  want = np.array([[cosine(a, b) for b in others] for a in own])
  similarity, which = search.nearest(own, others)
  np.testing.assert_allclose(similarity, want.max(1), atol=1e-6)
  assert which.tolist() == want.argmax(1).tolist()
  similarity, which = search.nearest_earlier(own)
  assert (similarity[0], which[0]) == (-1, -1)
  for i in range(1, 20):
    want = [cosine(own[i], own[j]) for j in range(i)]
    assert which[i] == np.argmax(want) and similarity[i] == pytest.approx(max(want), abs=1e-6)


@pytest.mark.parametrize("mirrored", [False, True])
def test_devices_find_what_the_host_finds(real, small_blocks, mirrored):
  thumbs, mesh = thumbnails(real[:50]), devices.local_mesh()
  others = thumbs[:, :, ::-1] if mirrored else thumbs
  for earlier in (False, True):
    want, which = search.search_on_host(thumbs, others, earlier)
    found, at = search.search_on_devices(thumbs, others, earlier, mesh)
    np.testing.assert_allclose(found, want, atol=1e-6)
    assert at.tolist() == which.tolist()


def test_growth_changes_nothing(real):
  features = thumbnails(real[:60])
  for n in (1, 10, 59):
    for whole, part in zip(
      search.nearest_earlier(features), search.nearest_earlier(features[:n]), strict=True
    ):
      np.testing.assert_allclose(whole[:n], part, atol=1e-6)


def test_pictures_of_one_shade_are_like_nothing():
  flat = np.full((2, 32, 32), 9, np.uint8)
  assert search.nearest(flat, flat)[0].max() == 0


def test_mirror_images(real):
  """An image is not its own mirror image among the earlier ones."""
  thumbs = thumbnails(real)
  flipped = thumbs[:, :, ::-1]
  similarity, which = search.nearest(flipped, thumbs, mirrored=True)
  assert (which == np.arange(len(real))).all() and similarity.min() > 0.999
  plain, _ = search.nearest(flipped, thumbs)
  assert np.median(plain) < 0.9
  similarity, which = search.nearest_earlier(np.stack([thumbs[0], thumbs[1], flipped[0]]), mirrored=True)
  assert which[2] == 0 and similarity[2] > 0.999 and similarity[:2].max() < 0.99


@pytest.mark.parametrize(("threshold", "onto"), [(0.95, 0.8), (0.3, 0.95), (0.8, 0.8), (0.7, 0.1)])
def test_two_scales_have_one_threshold(threshold, onto):
  seen = np.sort(np.append(np.linspace(-1, 1, 401), [threshold, np.nextafter(threshold, -1)]))
  scaled = search.rescaled(seen, threshold, onto)
  assert ((scaled >= onto) == (seen >= threshold)).all()
  assert (np.diff(scaled) >= 0).all() and scaled[[0, -1]].tolist() == pytest.approx([-1, 1])
