import io
import subprocess
import sys

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


def test_an_example_has_the_same_bytes_in_every_process():
  """A protobuf map is written in an order that differs from process to process, unless one asks."""
  code = """
import hashlib
from synthjax.store.plan import Image
from synthjax.store import schema
image = Image("i" * 32, "n" * 32, 1, "a photo", "p", 7, 2.0)
print(hashlib.sha256(schema.serializer(["a", "b"])(image, b"jpeg")).hexdigest())
"""
  runs = [
    subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(4)
  ]
  assert len({run.stdout for run in runs}) == 1
