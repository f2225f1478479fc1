"""A torchvision that does not fit the torch beside it fails on import; none of the classes used here need it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.slow
def test_the_libraries_are_imported_without_it(tmp_path):
  (tmp_path / "torchvision").mkdir()
  (tmp_path / "torchvision/__init__.py").write_text(
    "raise RuntimeError('operator torchvision::nms does not exist')\n"
  )
  about = tmp_path / "torchvision-0.9.0.dist-info"
  about.mkdir()
  (about / "METADATA").write_text("Metadata-Version: 2.1\nName: torchvision\nVersion: 0.9.0\n")
  done = subprocess.run(
    [sys.executable, "-c", "import synthjax.models.flax_classes"],
    env=os.environ | {"PYTHONPATH": f"{ROOT}:{tmp_path}"},
    capture_output=True,
    text=True,
    timeout=200,
  )
  assert done.returncode == 0, done.stderr[-2000:]
