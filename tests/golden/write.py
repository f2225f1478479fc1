"""Writes the golden files anew, after a change that is meant: `python -m tests.golden.write configs` or `...
workdir`.

A new workdir takes minutes, and what is packed is only what the code of today makes: keep the old archive too
where products of older releases must still be found done.
"""

import contextlib
import os
import sys
import tempfile
from pathlib import Path

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"  # as the tests have several
os.environ["JAX_PLATFORMS"] = "cpu"

from tests.golden import made, resolved


def write_workdir() -> None:
  with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
    made.write_pictures(Path("pictures"))
    made.make()
    made.TOLD.write_text("\n".join(made.told(with_images=True)) + "\n")
    made.pack(Path())


if __name__ == "__main__":
  {"configs": resolved.write, "workdir": write_workdir}[sys.argv[1]]()
