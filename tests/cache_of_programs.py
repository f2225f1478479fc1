"""The compile cache of the tests: one folder for all processes of a session, in which none meets half an entry."""

import os
import uuid

import jax
from jax._src import lru_cache

SECONDS = 0.1  # what is compiled sooner is not worth a file


def use(folder: str) -> None:
  """From now on this process reads and writes programs there, and its entries appear whole."""
  jax.config.update("jax_compilation_cache_dir", folder)
  jax.config.update("jax_persistent_cache_min_compile_time_secs", SECONDS)
  lru_cache.LRUCache.put = _put  # jax writes in place, and another process may read meanwhile


def _put(self: lru_cache.LRUCache, key: str, value: bytes) -> None:
  entry = self.path / f"{key}-cache"
  if not entry.exists():
    part = self.path / f".{uuid.uuid4().hex}"
    part.write_bytes(value)
    os.replace(part, entry)
