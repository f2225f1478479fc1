"""`synthjax completion bash|zsh`: a script by which the shell completes commands, flags, stages, config files and fields.

All that there is to complete stands in the script, so nothing of Python starts while somebody types.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from synthjax.runtime.errors import UserError, nearest
from synthjax.spec import group, reference

SHELLS = ("bash", "zsh")
# In order, then those on request; study/kinds.py has them with what makes them, which takes seconds to import.
STAGES = (
  *("train", "prompts", "sample", "import", "embed", "keep", "measure", "tune"),
  *("learn", "report", "benchmark"),
  *("verify", "predict", "export"),
)
FLAGS = ("--config=", "--workdir=", "--plan", "--stages=", "--distributed=", "--help")
# Of `synthjax fit`; cli/fit.py has them with what they do, and imports scipy.
FIT_FLAGS = (
  *(
    "--x=",
    "--y=",
    "--by=",
    "--seed=",
    "--n=",
    "--where=",
    "--law=",
    "--range=",
    "--delta=",
    "--level=",
    "--against=",
    "--json=",
  ),
  "--help",
)
DOCTOR_FLAGS = (
  "--config=",
  "--workdir=",
  "--distributed=",
  "--wait=",
  "--help",
)  # cli/doctor.py, which imports jax
FIT_LAWS = ("power", "floor", "broken", "joint", "all")
_MEASURES = ("loss", "error", "top1")
_DISTRIBUTED = ("auto", "on", "off")
_OF_STUDY = ("labels=", "seeds=", "study=", "tests.", "studies.")


def completion(words: Sequence[str], runs: Iterable[str], others: Iterable[str]) -> str:
  """The script of a shell; `runs` are the commands that take the flags of a study."""
  shell = words[0] if words else ""
  if len(words) != 1 or shell not in SHELLS:
    raise UserError(
      f"synthjax completion takes a shell: {' or '.join(SHELLS)}{nearest(shell, SHELLS) if shell else ''}"
    )
  values = {
    "@SHELL@": shell,
    "@RUNS@": "|".join(runs),
    "@COMMANDS@": " ".join([*runs, *others]),
    "@FLAGS@": " ".join(FLAGS),
    "@STAGES@": " ".join(STAGES),
    "@DISTRIBUTED@": " ".join(_DISTRIBUTED),
    "@GROUPS@": " ".join(reference.GROUPS),
    "@SHELLS@": " ".join(SHELLS),
    "@DOCTOR_FLAGS@": " ".join(DOCTOR_FLAGS),
    "@FIT_FLAGS@": " ".join(FIT_FLAGS),
    "@FIT_LAWS@": " ".join(FIT_LAWS),
    "@MEASURES@": " ".join(_MEASURES),
    "@FIELDS@": "\n".join(_case(path, words) for path, words in fields().items()),
    "@COMPLETE@": _COMPLETE[shell],
  }
  text = _SCRIPT
  for mark, value in values.items():
    text = text.replace(mark, value)
  return text.strip()


def fields() -> dict[str, list[str]]:
  """What may follow a part of a field's path, by that part; `*` stands for the name of an entry. What ends with a dot goes on."""
  found: dict[str, set[str]] = {"config": {*_OF_STUDY}}
  for of, where in reference.GROUPS.values():
    places = re.findall(r"config\.[\w.]+", where)
    for place in (place.replace("NAME", "*") for place in places):
      found.setdefault(place, set()).update(f"{name}=" for name in group.fields(of))
      while not place.endswith("config"):
        place, _, name = place.rpartition(".")
        if name != "*":
          found.setdefault(place, set()).add(f"{name}.")
  # A shell takes the first pattern that fits: the most special ones go before.
  order = sorted(found, key=lambda place: (-place.count("."), "*" in place, place))
  return {place: sorted(found[place]) for place in order}


def _case(path: str, words: Sequence[str]) -> str:
  return f'    --{path}.*) _synthjax_offer "${{1%.*}}." "${{1##*.}}" {" ".join(words)} ;;'


_COMPLETE = {
  "bash": "complete -F _synthjax synthjax",
  "zsh": "autoload -Uz bashcompinit && bashcompinit\ncomplete -o nospace -F _synthjax synthjax",
}
_SCRIPT = r"""
# Completes the words of synthjax. For every shell to come: eval "$(synthjax completion @SHELL@)" in ~/.@SHELL@rc

# What stands before, how the word begins, the words that there are.
_synthjax_offer() {
  local before=$1 begin=$2 word
  shift 2
  for word in "$@"; do
    [[ $word == "$begin"* ]] && COMPREPLY+=("$before$word")
  done
  return 0
}

_synthjax_files() {
  local before=$1 begin=$2 kind=$3 file
  for file in "$begin"*; do
    if [[ -d $file ]]; then
      COMPREPLY+=("$before$file/")
    elif [[ $kind == config && $file == *.py || $kind == table && $file == *.@(csv|jsonl) ]]; then
      COMPREPLY+=("$before$file")
    fi
  done
}

_synthjax_flags() {
  local value=${1#*=}
  case $1 in
    --config=)
      if [[ -d configs ]]; then _synthjax_files --config= configs/ config; else _synthjax_files --config= "" config; fi ;;
    --config=*) _synthjax_files --config= "$value" config ;;
    --workdir=*) _synthjax_files --workdir= "$value" folder ;;
    --distributed=*) _synthjax_offer --distributed= "$value" @DISTRIBUTED@ ;;
    --stages=*) _synthjax_offer "${1%"${value##*,}"}" "${value##*,}" @STAGES@ ;;
    --config.*=*) ;;
@FIELDS@
    *) _synthjax_offer "" "$1" @FLAGS@ --config. ;;
  esac
}

_synthjax_doctor() {
  case $1 in
    --*=* | --config.*) _synthjax_flags "$1" ;;
    *) _synthjax_offer "" "$1" @DOCTOR_FLAGS@ ;;
  esac
}

_synthjax_fit() {
  local value=${1#*=}
  case $1 in
    --y=*) _synthjax_offer --y= "$value" @MEASURES@ ;;
    --law=*) _synthjax_offer --law= "$value" @FIT_LAWS@ ;;
    --range=*) _synthjax_offer --range= "$value" auto all ;;
    --*=*) ;;
    -*) _synthjax_offer "" "$1" @FIT_FLAGS@ ;;
    *) _synthjax_files "" "$1" table ;;
  esac
}

_synthjax() {
  local cur=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} whole
  whole=$cur
  COMPREPLY=()
  if [[ $COMP_CWORD -eq 1 ]]; then
    _synthjax_offer "" "$cur" @COMMANDS@
    return 0
  fi
  # bash breaks words at =, and replaces the last part alone.
  if [[ $cur == "=" ]]; then
    cur=""
    whole=$before=
  elif [[ $before == "=" ]]; then
    whole=${COMP_WORDS[COMP_CWORD-2]}=$cur
  elif [[ $before == --config || $before == --workdir || $before == --stages || $before == --distributed || $before == --y || $before == --law || $before == --range ]]; then
    whole=$before=$cur
  fi
  case ${COMP_WORDS[1]} in
    @RUNS@) _synthjax_flags "$whole" ;;
    doctor) _synthjax_doctor "$whole" ;;
    fields) [[ $COMP_CWORD -eq 2 ]] && _synthjax_offer "" "$cur" @GROUPS@ ;;
    completion) [[ $COMP_CWORD -eq 2 ]] && _synthjax_offer "" "$cur" @SHELLS@ ;;
    fit) _synthjax_fit "$whole" ;;
    configs) _synthjax_files "" "$cur" folder ;;
  esac
  if [[ $whole != "$cur" ]]; then
    COMPREPLY=("${COMPREPLY[@]#*=}")
  fi
  if [[ ${COMPREPLY[0]-} == *[=./] ]]; then  # more will follow
    compopt -o nospace 2>/dev/null
  fi
  return 0
}

@COMPLETE@
"""
