"""The command line: flags, a config file, overrides. Whatever is wrong in them is one line."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import io
import operator
import re
import shlex
import sys
import traceback
from pathlib import Path
from typing import Any

from absl import flags as absl_flags
from ml_collections import ConfigDict, config_flags

from synthjax.cli import flags
from synthjax.runtime.errors import UserError, nearest, one_line
from synthjax.spec import renamed, tasks
from synthjax.spec.command import Command
from synthjax.spec.config import Config
from synthjax.spec.validation import check


def parse(argv: list[str]) -> Command:
  """The command line without the program's name. Whatever is wrong in it is a UserError."""
  known, rest = flags.read(argv)
  path, _, arg = known.config.partition(":")
  config, notes = read_config_file(path, arg)
  rest, more = renamed.rename_overrides(config, rest)
  tasks.complete(config)  # so that an override finds its field
  config = _apply_overrides(config, rest)
  check(config)
  return Command(
    config,
    known.workdir,
    known.plan,
    tuple(s for s in known.stages.split(",") if s),
    known.distributed,
    (*notes, *more),
    line=shlex.join(["python", "-m", "synthjax.main", *argv]),
  )


def load_config_file(path: str, arg: str = "") -> Config:
  """Runs `get_config(arg)` of a Python file."""
  return read_config_file(path, arg)[0]


def read_config_file(path: str, arg: str = "") -> tuple[Config, list[str]]:
  """(what `get_config(arg)` of a Python file returns, notes on older names of fields in it)."""
  file = Path(path)
  if not file.is_file():
    siblings = [str(p) for p in file.parent.glob("*.py")] if file.parent.is_dir() else []
    raise UserError(f"config file {path} does not exist{nearest(path, siblings)}")
  spec = importlib.util.spec_from_file_location(f"synthjax_config_{file.stem}", file)
  if spec is None or spec.loader is None:
    raise UserError(f"config file {path} is not a Python file; it must end with .py")
  module = importlib.util.module_from_spec(spec)
  sys.modules[spec.name] = module  # where dataclasses, and what is registered, look for their file
  try:
    spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
      raise UserError(
        f"config file {path} has no get_config(arg=''): it must define one that returns a ConfigDict"
      )
    config = module.get_config(arg) if arg else module.get_config()
  except UserError as e:
    raise UserError(f"{path}: {e}" if path not in str(e) else str(e)) from e
  except (Exception, SystemExit) as e:  # the user's code may raise anything
    raise UserError(f"{path}{_line_in(e, file)}: {type(e).__name__}: {_said(e)}") from e
  if not isinstance(config, ConfigDict):
    raise UserError(
      f"{path}: get_config returned a {type(config).__name__}; end it with `return config`, made by study_config()"
    )
  if config.get("study") == "":
    config.study = file.stem
  try:
    return config, list(renamed.rename(config))
  except UserError as e:
    raise UserError(f"{path}: {e}") from e


def _line_in(error: BaseException, file: Path) -> str:
  """` line 12`: where in the user's file it happened."""
  frames = traceback.extract_tb(error.__traceback__)
  places = [(f.filename, f.lineno) for f in frames]
  if isinstance(error, SyntaxError):  # of the file itself, or of one that it imports
    places.append((error.filename or "", error.lineno))
  # A frame's path is absolute, whatever the command line says.
  lines = [line for place, line in places if line and Path(place).resolve() == file.resolve()]
  return f" line {lines[-1]}" if lines else ""


def _said(error: BaseException) -> str:
  if isinstance(error, SyntaxError) and error.args:
    return one_line(Exception(error.args[0]))
  return one_line(error)


def _apply_overrides(config: Config, overrides: list[str]) -> Config:
  """Sets `--config.a.b=value` by ml_collections' own parsers, and phrases its errors."""
  for override in overrides:
    if override.startswith("--"):
      _check_field(config, re.sub(r"^--(no)?config\.", "", override.split("=")[0]))
  overrides = [_subscripted(override) for override in overrides]
  values = absl_flags.FlagValues()
  try:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
      config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=["main", *overrides])
      stray = values(["main", *overrides])[1:]
  except (absl_flags.Error, ValueError, TypeError) as e:
    raise UserError(_bad_value(config, str(e))) from None
  if stray:
    raise UserError(f"unexpected argument {stray[0]!r}: fields are set as --config.a.b=value")
  return config


def _subscripted(override: str) -> str:
  """`--config.arms.LE+CE.loss=SCE` as ml_collections reads it, which takes names for Python's: `--config.arms["LE+CE"].loss=SCE`."""
  path, equals, value = override.partition("=")
  first, *names = path.split(".")
  return first + "".join(f".{n}" if n.isidentifier() else f'["{n}"]' for n in names) + equals + value


def _check_field(config: Config, path: str) -> None:
  """Walks an override down the config to the first name that is not there."""
  node: Any = config
  for i, part in enumerate(path.split(".")):
    if not part:
      raise UserError(
        f"--config.{path}: a name is missing between two dots, or at an end; expected --config.a.b=value"
      )
    if not isinstance(node, ConfigDict) or part not in node:
      where = ".".join(["config", *path.split(".")[:i]])
      raise UserError(
        f"{where} has no field {part!r}{nearest(part, node if isinstance(node, ConfigDict) else ())}"
      )
    node = node[part]
  if isinstance(node, ConfigDict):
    raise UserError(
      f"config.{path} is a group of fields; set one of them, as --config.{path}.{next(iter(node), 'NAME')}=..."
    )


def _bad_value(config: Config, message: str) -> str:
  match = re.match(r"flag --(config\.[^=]+)=([^:]*): ", message)
  if not match:
    return " ".join(message.split())
  path, value = re.sub(r'\["([^"]*)"\]', r".\1", match[1]), match[2]
  *groups, field = path.split(".")[1:]
  group = functools.reduce(operator.getitem, groups, config)
  kind = group.get_type(field)  # of a field that is None, as a set's own are, too
  wanted = {bool: "true or false", int: "a whole number", float: "a number"}.get(kind, kind.__name__)
  shown = value if len(value) <= 80 else f"{value[:80]}..."
  return f"{path} takes {wanted} (now {group[field]!r}), not {shown!r}"
