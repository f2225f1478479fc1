"""The flags of the command. Nothing slow is imported here: `--help` and a misspelt flag answer at once."""

from __future__ import annotations

import argparse
import re
from typing import NoReturn

from synthjax.disk.documents import is_writable
from synthjax.runtime.errors import UserError, nearest


class Parser(argparse.ArgumentParser):
  """Whose mistakes are a UserError."""

  def error(self, message: str) -> NoReturn:
    raise UserError(f"{message}; see --help")


def read(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
  """(the flags, the overrides of fields, unread). `--help` prints and exits."""
  parser = Parser(prog="python -m synthjax.main", allow_abbrev=False, epilog="Any field: --config.a.b=value")
  parser.add_argument("--config", required=True, metavar="FILE.py[:arg]", help="the study")
  parser.add_argument(
    "--workdir",
    required=True,
    help="folder of the study's products, or the URL of one in a bucket (s3://, gs://, az://)",
  )
  parser.add_argument(
    "--plan", action="store_true", help="print what is missing, stale, refused or done, and exit"
  )
  parser.add_argument(
    "--stages",
    default="",
    metavar="a,b",
    help="only these stages (default: all; on request: verify, predict, export)",
  )
  parser.add_argument(
    "--distributed",
    default="auto",
    choices=("auto", "on", "off"),
    help="auto: share work through the workdir; on: join processes with jax.distributed; off: ignore the launcher",
  )
  for arg in argv:
    if not is_writable(arg):
      raise UserError(f"argument {arg[:200]!a} is not UTF-8; rename the file, or write the value otherwise")
  known, rest = parser.parse_known_args(argv)
  for arg in rest:
    if arg.startswith("--") and not re.match(r"--(no)?config\.", arg):
      flag = arg.split("=")[0].lstrip("-")
      raise UserError(f"unknown flag --{flag}{nearest(flag, [a.dest for a in parser._actions])}")
  return known, rest
