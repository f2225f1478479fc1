import io

import numpy as np
import PIL.Image

from synthjax.store import schema


def test_the_mark_is_in_the_jpeg_and_can_be_left_out():
  pixels = np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8)
  marked, plain = (schema.encode_jpeg(pixels, 90, mark) for mark in (True, False))
  with PIL.Image.open(io.BytesIO(marked)) as image:
    assert b"trainedAlgorithmicMedia" in image.info["xmp"]
    a = np.asarray(image)
  assert b"Algorithmic" not in plain
  np.testing.assert_array_equal(a, np.asarray(PIL.Image.open(io.BytesIO(plain))))


def test_quality_is_what_was_asked():
  pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
  assert len(schema.encode_jpeg(pixels, 95, False)) > 1.5 * len(schema.encode_jpeg(pixels, 60, False))
