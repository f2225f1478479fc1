"""Incomplete entries of the compile cache are removed, whole ones stay; jax then compiles and keeps its program again."""

import os
import time
import warnings
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

from synthjax.runtime import devices
from synthjax.runtime.compile_cache import is_complete, remove_incomplete

LARGE = np.random.default_rng(0).bytes(3 * 10**5)
_BLOCK = 2**17


def zstandard(data: bytes, checksum: bool = False) -> bytes:
  """A frame of RFC 8878 with its content's size: raw blocks, and one that repeats a byte."""
  parts = [data[i : i + _BLOCK] for i in range(0, len(data), _BLOCK)]
  blocks = [(len(part) << 3).to_bytes(3, "little") + part for part in parts]
  last = (1000 << 3 | 1 << 1 | 1).to_bytes(3, "little") + b"a"
  head = bytes([2 << 6 | 1 << 5 | checksum << 2]) + (len(data) + 1000).to_bytes(4, "little")
  return b"\x28\xb5\x2f\xfd" + head + b"".join(blocks) + last + bytes(4 * checksum)


WHOLE = {
  "zlib": zlib.compress(LARGE),
  "zlib, small": zlib.compress(b"program"),
  "zstandard": zstandard(LARGE),
  "zstandard with a checksum": zstandard(LARGE, checksum=True),
  "zstandard, small": zstandard(b""),
}


def old(path):
  os.utime(path, (time.time() - 3600,) * 2)
  return path


@pytest.mark.parametrize("name", WHOLE)
def test_an_entry_is_complete_at_its_whole_length_alone(tmp_path, name):
  whole, file = WHOLE[name], tmp_path / "x-cache"
  for n in sorted(
    {*range(min(len(whole), 20)), len(whole) // 3, len(whole) // 2, *range(len(whole) - 6, len(whole))}
  ):
    file.write_bytes(whole[:n])
    assert not is_complete(file), n
  file.write_bytes(whole)
  assert is_complete(file)
  file.write_bytes(
    whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2)
  )  # as a loss of power leaves it
  assert not is_complete(file)


def test_what_may_still_be_in_the_writing_stays_and_what_was_whole_is_not_read_again(tmp_path):
  whole = zlib.compress(LARGE)
  young, torn, kept = (tmp_path / f"{name}-cache" for name in ("young", "torn", "kept"))
  young.write_bytes(whole[:100])
  torn.write_bytes(whole[:100])
  kept.write_bytes(whole)
  old(torn), old(kept)
  assert remove_incomplete(tmp_path) == [torn] and young.exists() and kept.exists()
  kept.write_bytes(whole[:100])  # older than the check: as if nothing had been written
  old(kept)
  assert remove_incomplete(tmp_path) == [] and kept.exists()
  assert remove_incomplete(tmp_path / "nowhere") == []


@pytest.fixture
def cache(tmp_path):
  names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
  before = {name: jax.config.values[name] for name in names}
  compilation_cache.reset_cache()
  yield tmp_path / "xla"
  for name, value in before.items():
    jax.config.update(name, value)
  compilation_cache.reset_cache()


def test_a_torn_entry_is_compiled_once_more_and_kept(cache, monkeypatch):
  monkeypatch.setattr(devices, "_LEAST_SECONDS", 0.0)

  def process() -> list[str]:
    """As a new one would: what it warns of."""
    compilation_cache.reset_cache()
    devices.start("off", str(cache), jax.local_device_count())
    with warnings.catch_warnings(record=True) as seen:
      warnings.simplefilter("always")
      assert jax.jit(lambda x: jnp.sin(x) * 3)(0.0) == 0
    return [str(w.message) for w in seen if "compilation cache" in str(w.message)]

  assert process() == []
  (entry,) = cache.glob("jit__lambda*-cache")
  whole = entry.read_bytes()
  entry.write_bytes(whole[: len(whole) // 2])
  assert process()  # a young one may still be in the writing
  os.utime(entry, (time.time() - 90,) * 2)
  os.utime(cache / ".checked", (time.time() - 3600,) * 2)
  assert process() == [] and is_complete(entry)
