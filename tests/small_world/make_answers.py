"""Writes `synthjax/small_world/answers/`, which configs/diversify.py replays: `python -m tests.small_world.make_answers`.

No language model knows the words that the small world's towers know. So the answers are this script's, and their model is called
so. It says the wrong meaning of a name first in four of seven. What it answers is in the words of `small_world/looks.py`, within
the 32 tokens of the text towers; SD's styles leave out the three that the study is tested on.
"""

import itertools
import json
import re
import shutil
import tempfile
from pathlib import Path

from ml_collections import ConfigDict

from synthjax import small_world, study
from synthjax.cli.command_line import load_config_file
from synthjax.prompts import language_models
from synthjax.prompts.requests import Answer
from synthjax.runtime.registry import Registry
from synthjax.small_world import looks
from synthjax.spec import validation
from synthjax.spec.command import Command

ROOT = Path(__file__).parents[2]
FOLDER = Path(small_world.__file__).parent / "answers" / "solfege"
LISTS = ("LAR", "CD", "SD")
WRONG_FIRST = ("do", "mi", "sol", "ti")
HELD_OUT = ("painted", "stamped", "engraved")
_LETTERS = {"do": "C", "re": "D", "mi": "E", "fa": "F", "sol": "G", "la": "A", "ti": "B"}
_DIGITS = {"do": 1, "re": 2, "mi": 3, "fa": 4, "sol": 5, "la": 6, "ti": 7}
_VIEWS = tuple(v for slot in ("slant", "view") for v in looks.SLOTS[slot] if v)


def meanings(name: str) -> list[str]:
  if name not in _DIGITS:
    return [f"a {name}", "a blue wall"]
  digit, letter = f"a digit {_DIGITS[name]}", f"a letter {_LETTERS[name]}"
  return [*((letter, digit) if name in WRONG_FIRST else (digit, letter)), "a blue wall"]


def contexts() -> dict[str, list[str]]:
  """What stands "beside" a glyph is ink; strokes, here, are its light."""
  return {
    "foreground": [f"in {ink}" for ink in looks.SLOTS["ink"]],
    "background": list(looks.SLOTS["ground"]),
    "lighting": [w for w in looks.SLOTS["weight"] if w],
    "camera": list(_VIEWS),
  }


def styles(n: int) -> list[str]:
  """The known styles in turn, at first as the real digits look, then with an ink and a ground of their own."""
  known = itertools.cycle([s for s in looks.STYLES if s not in HELD_OUT])
  colours = zip(itertools.cycle(looks.SLOTS["ink"]), itertools.cycle(looks.SLOTS["ground"][1:]), strict=False)
  own = (f"{next(known)}, in {ink} on {ground}" for ink, ground in colours)
  negatives = [f"{style}, in white on a dark board" for style in itertools.islice(known, 4)]
  found = dict.fromkeys(negatives)
  while len(found) < n:
    found[next(own)] = None
  return list(found)


def context_caption(what: str, line: str) -> str:
  beside, background, lighting, camera = re.fullmatch(
    r"beside: (.*); background: (.*); lighting: (.*); camera: (.*)", line
  ).groups()
  return f"a photo of a {lighting} {what}, {beside} on {background}, {camera}"


def style_caption(what: str, line: str) -> str:
  style, _, rest = line.partition(", ")
  return f"a {style} {what}, {rest}"


def answer(request) -> dict[str, list[str]]:
  """To a question of prompts/asked.py."""
  (wanted,) = {tuple(request.schema["properties"])}
  text = request.messages[1].text
  if wanted == ("meanings",):
    return {"meanings": meanings(re.findall(r'The name "(.*?)"', text)[0])}
  if wanted == ("styles",):
    return {"styles": styles(int(re.findall(r"List (\d+)", text)[0]))}
  if wanted != ("prompts",):
    return contexts()
  name, meaning = re.findall(r"(?:photograph of|depicts) (.*?) \((.*?)\)", text)[0]
  what = name if meaning == f"a {name}" else f"{name}, {meaning}"
  lines = re.findall(r"^\d+\. (.*)$", text, re.MULTILINE)
  caption = context_caption if lines[0].startswith("beside: ") else style_caption
  return {"prompts": [caption(what, line) for line in lines]}


class Script:
  """A language model, by its protocol."""

  identity, capacity = {"model": "tests/small_world/make_answers.py"}, 64

  def __init__(self):
    self._queue = []

  def check(self, where):
    pass

  def open(self):
    return self

  def ask(self, request):
    self._queue.append(request)

  def answers(self, stop):
    while self._queue:
      request = self._queue.pop(0)
      yield request, Answer(json.dumps(answer(request)))

  def close(self):
    self._queue.clear()


def with_script() -> Registry:
  return Registry("language model", dict(language_models.MODELS) | {"script": lambda *_: Script()})


def make(folder: Path) -> None:
  """Asks all that configs/diversify.py asks, and leaves the answers in a folder."""
  config = load_config_file(f"{ROOT / 'configs/diversify.py'}")
  for group in ("sets", "learners", "networks"):
    config[group] = ConfigDict()
  for name in LISTS:
    config.prompts[name].writer = "script:solfege"
  validation.check(config)
  folder.mkdir(parents=True, exist_ok=True)
  with tempfile.TemporaryDirectory() as work:
    study.run(Command(config, work, line="", stages=("embed", "prompts")))
    for name in LISTS:
      (file,) = (Path(work) / "prompts" / name / "answers").glob("*.jsonl")
      lines = file.read_text().splitlines()
      (folder / f"{name}.jsonl").write_text("\n".join([lines[0], *sorted(lines[1:])]) + "\n")


if __name__ == "__main__":
  language_models.MODELS = with_script()
  shutil.rmtree(FOLDER, ignore_errors=True)
  make(FOLDER)
