"""Augmentation by known cases: what cannot change, what must, and pictures whose answer is known."""

import colorsys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageFilter, ImageOps

from synthjax.data import augment, randaugment
from synthjax.data.augment import Augment

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (6, 16, 16, 3), np.uint8)
X = jnp.asarray(PIXELS / 255.0, jnp.float32)


def test_nothing_asked_for_nothing_done():
  np.testing.assert_allclose(augment.pictures(Augment(), KEY, PIXELS), X, atol=1e-7)


def test_flips_are_whole_and_some():
  done = np.asarray(augment.pictures(Augment(flip=True), KEY, PIXELS))
  flipped = [np.allclose(a, b[:, ::-1]) for a, b in zip(done, X, strict=True)]
  kept = [np.allclose(a, b) for a, b in zip(done, X, strict=True)]
  assert all(f != k for f, k in zip(flipped, kept, strict=True)) and 0 < sum(flipped) < 6


def test_the_crop_of_a_ramp_is_a_ramp_inside_it():
  """On x = column, a window from c of w columns shows values from c to c + w, in order."""
  ramp = jnp.broadcast_to(jnp.arange(16.0)[None, None, :, None], (50, 16, 16, 3))
  done = np.asarray(augment.resized_crop(KEY, ramp, 0.2))[:, 8, :, 0]
  assert (np.diff(done[:, 2:-2], axis=1) > 0).all() and done.min() >= -1e-3 and done.max() <= 15 + 1e-3
  spans = (done[:, 12] - done[:, 3]) / 9 * 16
  assert spans.min() >= 0.35 * 16 and spans.max() <= 16.1 and spans.std() > 1
  whole = augment.resized_crop(KEY, ramp[:1], 1.0 - 1e-9, size=16)
  assert abs(float(whole.mean()) - 7.5) < 0.5
  assert augment.resized_crop(KEY, ramp, 0.5, size=8).shape == (50, 8, 8, 3)


def test_a_turn_of_ninety_degrees_is_a_transpose_and_a_flip():
  turn = jnp.broadcast_to(jnp.array([[0.0, -1.0], [1.0, 0.0]]), (6, 2, 2))
  done = randaugment.warp(X, turn, jnp.zeros((6, 2)))
  np.testing.assert_allclose(done, np.rot90(X, k=-1, axes=(1, 2)), atol=1e-6)


def test_a_shift_by_whole_pixels_moves_them():
  done = randaugment.warp(X, jnp.broadcast_to(jnp.eye(2), (6, 2, 2)), jnp.array([[2.0, 0.0]] * 6))
  np.testing.assert_allclose(done[:, :-2], X[:, 2:], atol=1e-6)


@pytest.mark.parametrize(
  "ours, theirs",
  [
    (randaugment.autocontrast, ImageOps.autocontrast),
    (randaugment.equalize, ImageOps.equalize),
    (lambda x: randaugment.solarize(x, 128 / 255), lambda image: ImageOps.solarize(image, 128)),
    (lambda x: randaugment._posterize(x, 3.0), lambda image: ImageOps.posterize(image, 3)),
    (randaugment._smooth, lambda image: image.filter(ImageFilter.SMOOTH)),
  ],
  ids=["autocontrast", "equalize", "solarize", "posterize", "smooth"],
)
def test_colour_operations_are_those_of_pil(ours, theirs):
  for pixels in (PIXELS[0], (PIXELS[1] // 3 + 40).astype(np.uint8)):
    expected = np.asarray(theirs(Image.fromarray(pixels)), float)
    got = np.asarray(ours(jnp.asarray(pixels / 255.0, jnp.float32))) * 255
    assert np.abs(got - expected).max() <= 1.01  # a grey level, by rounding


def test_a_hue_turned_is_the_one_of_colorsys():
  turns = RNG.uniform(-0.5, 0.5, 6)
  done = np.asarray(augment.turn_hue(X, jnp.asarray(turns)[:, None, None]))
  for before, turn, after in zip(PIXELS[:, 3, :8] / 255, turns, done[:, 3, :8], strict=True):
    hsv = [colorsys.rgb_to_hsv(*pixel) for pixel in before]
    np.testing.assert_allclose(
      after, [colorsys.hsv_to_rgb((h + turn) % 1, s, v) for h, s, v in hsv], atol=1e-5
    )
  shades = jnp.broadcast_to(X[..., :1], X.shape)
  np.testing.assert_allclose(augment.turn_hue(shades, jnp.full((6, 1, 1), 0.3)), shades, atol=1e-6)


def test_a_blur_is_the_gaussian_of_scipy():
  ndimage = pytest.importorskip("scipy.ndimage")
  for sigma in (0.1, 1.0, 2.0):
    expected = ndimage.gaussian_filter(
      np.asarray(X, float), (0, sigma, sigma, 0), mode="nearest", radius=(0, 6, 6, 0)
    )
    np.testing.assert_allclose(augment.blurred(X, jnp.full(6, sigma)), expected, atol=1e-5)


def test_grey_and_blur_are_done_as_often_as_asked():
  many = np.broadcast_to(PIXELS[:1], (400, 16, 16, 3))
  colourless = np.ptp(np.asarray(augment.pictures(Augment(grey=0.2), KEY, many)), -1).max((1, 2)) < 1e-6
  assert 0.14 < colourless.mean() < 0.26
  done = np.asarray(augment.pictures(Augment(blur=0.5), KEY, many))
  assert 0.4 < (np.abs(done - X[0]).max((1, 2, 3)) > 1e-3).mean() < 0.6
  assert len({x.std().round(5) for x in done}) > 100  # by a width of its own each


def test_randaugment_draws_for_each_picture_and_repeats():
  a, b = (np.asarray(randaugment.apply(KEY, X, 9.0)) for _ in range(2))
  np.testing.assert_array_equal(a, b)
  assert a.min() >= 0 and a.max() <= 1
  same = np.asarray(randaugment.apply(KEY, jnp.broadcast_to(X[:1], (64, 16, 16, 3)), 9.0))
  changed = np.abs(same - X[0]).max((1, 2, 3)) > 1e-3
  assert 0.4 < changed.mean() < 0.95  # a quarter stay as they are: neither operation is done


def test_mixup_mixes_pictures_and_targets_in_one_share():
  targets = jnp.eye(6)
  mixed, soft = augment.mix(Augment(mixup=0.8), KEY, X, targets, jnp.zeros(6, jnp.int32))
  np.testing.assert_allclose(soft.sum(1), 1, atol=1e-6)
  np.testing.assert_allclose(mixed, jnp.einsum("bk,kxyc->bxyc", soft, X), atol=1e-5)


def test_cutmix_shares_are_areas():
  shades = jnp.broadcast_to((jnp.arange(6.0) / 10)[:, None, None, None], (6, 16, 16, 3))
  mixed, soft = augment.mix(Augment(cutmix=1.0), KEY, shades, jnp.eye(6), jnp.zeros(6, jnp.int32))
  np.testing.assert_allclose(mixed.mean((1, 2, 3)), soft @ (jnp.arange(6.0) / 10), atol=1e-5)
  assert len(np.unique(np.asarray(mixed[0]).round(4))) <= 2


def test_mixing_never_leaves_a_domain():
  domain = jnp.asarray(RNG.integers(0, 2, 32), jnp.int32)
  seen = set()
  for i in range(20):
    partner = np.asarray(augment.partners(jax.random.key(i), domain))
    assert sorted(partner) == list(range(32))
    assert (domain[partner] == domain).all()
    seen.add(tuple(partner))
  assert len(seen) == 20


def test_erasing_leaves_a_rectangle_of_noise():
  x = jnp.full((200, 32, 32, 3), 5.0)
  gone = np.asarray(augment.erase(KEY, x, 0.25) != 5.0).all(-1)
  touched = gone.any((1, 2))
  assert 0.15 < touched.mean() < 0.35
  for mask in gone[touched]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    assert mask.sum() == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
  assert gone[touched].mean((1, 2)).min() >= 0.01 and gone[touched].mean((1, 2)).max() <= 0.4


def test_a_batch_is_augmented_alike_however_it_is_split():
  config = Augment(
    crop=0.5, flip=True, jitter=0.4, hue=0.1, grey=0.2, blur=0.5, randaugment=9.0, rotate=10, elastic=1.0
  )
  batch = np.concatenate([PIXELS, PIXELS[:2]])
  run = jax.jit(lambda x: augment.pictures(config, KEY, x))
  mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
  split = jax.device_put(batch, jax.NamedSharding(mesh, jax.P("data")))
  np.testing.assert_allclose(run(batch), run(split), atol=1e-5)
