"""Writes the golden files anew, after a change that is meant: `python -m tests.golden.write configs` or `... workdir`."""

import sys

from tests.golden import resolved

if __name__ == "__main__":
  if sys.argv[1:] == ["configs"]:
    resolved.write()
