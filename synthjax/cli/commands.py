"""`synthjax COMMAND`: the same work as `python -m synthjax.main`, by names, and what can be looked up without a study.

synthjax run --config FILE.py[:arg] --workdir FOLDER [--stages a,b] [--config.a.b=value]
synthjax plan | verify | predict | export | report    the same flags: what is missing; every byte read; those stages alone
synthjax preview [N]                                  N images a class (8) of every set, and their contact sheets
synthjax fields [GROUP] [WORD]                        every field of a config, or those of a group, or that a word is in;
                                                      with --config FILE.py those too of the tasks that it registers
synthjax configs [FOLDER]                             the config files of a folder (configs), and what each is for
synthjax fit FILE [--x COLUMN] [--y loss|error|top1]  scaling laws of the curves in a CSV or a results.jsonl; --help has more
synthjax doctor --workdir FOLDER [--config FILE.py]   whether this machine, and this folder that machines share, are fit
synthjax completion bash|zsh                          a script by which the shell completes all of these: eval it
"""

from __future__ import annotations

import ast
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path

import synthjax
from synthjax.cli.command_line import load_config_file
from synthjax.cli.completion import completion
from synthjax.runtime import processes
from synthjax.runtime.errors import UserError, nearest, one_line
from synthjax.spec import group, reference, tasks

# Commands that are `run` with flags of their own.
_RUNS = {
  "run": (),
  "plan": ("--plan",),
  "verify": ("--stages=verify",),
  "predict": ("--stages=predict",),
  "export": ("--stages=export",),
  "report": ("--stages=report",),
}


def flags_or_exit(argv: Sequence[str]) -> list[str]:
  """The flags of `python -m synthjax.main` that a command stands for. One that makes nothing prints, and ends here."""
  if (flags := run_flags(argv or ["--help"])) is not None:
    return flags
  try:
    if argv[0] == "doctor":
      from synthjax.cli import doctor  # jax, where it is needed

      processes.leave(doctor.doctor(argv[1:]))
    print(look_up(argv), flush=True)
  except UserError as e:
    print(f"synthjax: {one_line(e)}", file=sys.stderr)
    processes.leave(2)
  except BrokenPipeError:  # who reads has seen enough
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
  sys.exit(0)


def run_flags(argv: Sequence[str]) -> list[str] | None:
  """None of a command that makes nothing."""
  command, *rest = argv
  if command in _RUNS:
    return [*_RUNS[command], *rest]
  if command == "preview":
    many, rest = (rest[0], rest[1:]) if rest and rest[0].isdigit() else ("8", rest)
    return ["--stages=prompts,sample", f"--config.sampling.preview={many}", *rest]
  return None


def look_up(argv: Sequence[str]) -> str:
  """What a command that makes nothing prints."""
  command, *rest = argv or ["--help"]
  if command in ("--help", "-h", "help"):
    return (__doc__ or "").strip()
  if command == "--version":
    return f"synthjax {synthjax.__version__}"
  known: dict[str, Callable[[Sequence[str]], str]] = {
    "fields": fields,
    "configs": configs,
    "fit": fit,
    "completion": lambda words: completion(
      words, [*_RUNS, "preview"], [*known, "doctor", "--version", "--help"]
    ),
  }
  if command not in known:
    near = nearest(command, [*_RUNS, "preview", *known, "doctor"])
    raise UserError(f"no command {command!r}{near}; see synthjax --help")
  return known[command](rest)


def fields(words: Sequence[str]) -> str:
  known, words = _groups(words)
  groups = list(known)
  if words and words[0] in groups:
    groups, words = [words[0]], words[1:]
  width, found = shutil.get_terminal_size().columns if sys.stdout.isatty() else 160, []
  for name in groups:
    of, where = known[name]
    rows = [row for row in reference.rows(of) if all(w.lower() in str(row).lower() for w in words)]
    if rows:
      found += [f"{name}: {where}", *(line for row in rows for line in _line(row, width)), ""]
  if not found:
    raise UserError(f"no field holds {' '.join(words)!r}{nearest(words[0], known)}")
  return "\n".join(found).rstrip()


def _groups(words: Sequence[str]) -> tuple[dict[str, tuple[type[group.Group], str]], Sequence[str]]:
  """(the groups that there are, the words without a config file's)."""
  flag, equals, file = words[0].partition("=") if words else ("", "", "")
  if flag != "--config":
    return dict(reference.GROUPS), words
  if not equals and len(words) == 1:
    raise UserError("fields --config takes a config file: synthjax fields --config FILE.py")
  file, words = (file, words[1:]) if equals else (words[1], words[2:])
  load_config_file(*file.split(":", 1))
  return dict(reference.GROUPS) | {
    f"learning.{task}": reference.of_task(task) for task in tasks.GROUPS
  }, words


def _line(row: reference.Row, width: int) -> list[str]:
  about = f"{row.values}; {row.about}" if row.about else row.values
  lines = textwrap.wrap(about, max(width - 50, 30)) or [""]
  first = f"  {row.name:<18} {row.kind:<9} {row.default:<18} {lines[0]}"
  return [first, *(f"{'':50}{line}" for line in lines[1:])]


def configs(words: Sequence[str]) -> str:
  folder = Path(words[0] if words else "configs")
  files = sorted(folder.glob("*.py"))
  if not files:
    raise UserError(f"{folder} holds no config files; name a folder that does: synthjax configs FOLDER")
  return "\n".join(f"{file}  {_summary(file)}" for file in files)


def fit(words: Sequence[str]) -> str:
  from synthjax.cli import fit as command  # scipy, where it is needed

  return command.fit(words)


def _summary(file: Path) -> str:
  try:
    docstring = ast.get_docstring(ast.parse(file.read_text())) or ""
  except (SyntaxError, UnicodeDecodeError):
    return "(cannot be read as Python)"
  return docstring.partition("\n\n")[0].replace("\n", " ")
