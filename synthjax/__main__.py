"""`python -m synthjax COMMAND`, as the console script `synthjax`."""

from synthjax.main import script

if __name__ == "__main__":
  script()
