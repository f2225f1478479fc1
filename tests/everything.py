"""Imports all that a command may import, and touches no device: tests/forked_commands.py forks from here."""

import gc
import importlib
import os
import pkgutil

import PIL.Image
import transformers.models.auto  # noqa: F401

import synthjax
from tests import cache_of_programs

for _module in pkgutil.walk_packages(synthjax.__path__, "synthjax."):
  if _module.name not in ("synthjax.__main__", "synthjax.benchmark.pytorch"):
    importlib.import_module(_module.name)
PIL.Image.init()
cache_of_programs.use(os.environ["JAX_COMPILATION_CACHE_DIR"])
gc.collect()
gc.freeze()  # a child that looks for garbage would copy all of these pages
