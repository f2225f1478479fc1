"""What documents say is held against the code: configs in them are built, error messages exist, the map has every folder."""

import ast
import re
import struct
from pathlib import Path

import pytest
from _pytest.mark.structures import ParameterSet

import synthjax.config
from synthjax.runtime.errors import UserError
from synthjax.spec import validation

TOP = Path(__file__).parent.parent
PAGES = [TOP / "README.md", TOP / "CONTRIBUTING.md", *sorted((TOP / "docs").rglob("*.md"))]
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[ParameterSet]:
  """Code of every page, named by page and place."""
  return [
    pytest.param(
      match[2], id=f"{page.relative_to(TOP)}:{page.read_text()[: match.start()].count(chr(10)) + 1}"
    )
    for page in PAGES
    for match in _BLOCK.finditer(page.read_text())
    if match[1] == language
  ]


def test_readme_is_short_and_shows_the_report():
  lines = (TOP / "README.md").read_text().splitlines()
  assert len(lines) < 200
  assert any("docs/images/report.png" in line for line in lines)


@pytest.mark.parametrize("code", blocks("python"))
def test_configs_in_documents_can_be_written_so(code, tmp_path, monkeypatch):
  """A whole one is checked as the command checks it. Of a fragment, every constructor and field exists."""
  names = {name: getattr(synthjax.config, name) for name in synthjax.config.__all__}
  if "config" not in code:
    ast.parse(code)  # for readers of data sets
    return
  config = synthjax.config.study_config()
  exec(code, names | {"config": config}, own := {"config": config})
  if "get_config" not in own:
    for group in ("prompts", "sets", "real", "encoders", "filters", "metrics", "arms", "learners"):
      for name in config[group]:
        validation.check_name(name, f"config.{group}:")
    return
  validation.check(own["get_config"]())


@pytest.mark.parametrize("code", blocks("bash"))
def test_commands_in_documents_name_what_is_there(code):
  for path in re.findall(r"\b(?:configs/(?!birds)\w+\.py|launch/\w+\.sh|tests/[\w/]+\.py)", code):
    assert (TOP / path).is_file(), path
  for module in re.findall(r"python -m (synthjax[\w.]*)", code):
    path = TOP / module.replace(".", "/")
    assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module
  for field in re.findall(r"--config\.([\w.+]+)=", code):
    node = synthjax.config.study_config()
    for part in field.split("."):
      assert part in node or not len(node), f"--config.{field}"  # an entry that the study names
      node = node.get(part, {})


def _messages() -> list[re.Pattern[str]]:
  """Any text of the package that has words of its own: whatever an f-string puts in may be anything."""
  found = set()
  for file in (TOP / "synthjax").rglob("*.py"):
    for node in ast.walk(ast.parse(file.read_text())):
      parts = node.values if isinstance(node, ast.JoinedStr) else [node]
      words = [p.value if isinstance(p, ast.Constant) and isinstance(p.value, str) else "" for p in parts]
      if len("".join(words)) >= 12:  # more than a join of values
        found.add(
          "".join(map(re.escape, words)) if len(words) == 1 else "".join(re.escape(w) or ".*" for w in words)
        )
  return [re.compile(f"(.*: )?{pattern}") for pattern in found]


def test_messages_in_troubleshooting_are_the_package_s_own():
  known = _messages()
  page = (TOP / "docs" / "troubleshooting.md").read_text()
  shown = [line.removeprefix("synthjax: ") for line in page.splitlines() if line.startswith("synthjax: ")]
  assert len(shown) > 40

  def is_said(message: str) -> bool:
    return any(pattern.fullmatch(message) for pattern in known)

  assert [message for message in shown if not is_said(message)] == []
  assert not is_said("config.sampling.steps has been eaten by the dog; feed it before you start")


def test_the_map_has_every_folder_of_the_package():
  page = (TOP / "docs" / "architecture.md").read_text()
  on_it = set(re.findall(r"^  (\w+)/ ", page, re.MULTILINE))
  there = {folder.parent.name for folder in (TOP / "synthjax").glob("*/__init__.py")}
  assert on_it == there
  table = page.partition("| floor | rooms |")[2]
  assert there | {"main", "config"} == set(re.findall(r"`(\w+)`", table.partition("\n\n")[0]))


def test_files_that_documents_name_are_there():
  """`a/b.py` of the checkout or of the package; links between pages are mkdocs' to check, and here those of the README."""
  lost = []
  for page in PAGES:
    text = _BLOCK.sub("", page.read_text())
    for path in re.findall(r"`([\w/]+/[\w/]+\.(?:py|pyi|md|sh))`", text):
      if not any((root / path).exists() for root in (TOP, TOP / "synthjax")) and not path.startswith("runs/"):
        lost.append(f"{page.name}: {path}")
    for link in re.findall(r"\]\(((?!http)[^)#\s]+)[^)]*\)", text):
      if not (page.parent / link).exists():
        lost.append(f"{page.name}: {link}")
  assert lost == []


def test_pictures_are_small():
  for picture in (TOP / "docs" / "images").glob("*"):
    data = picture.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n" and len(data) <= 300_000, picture
    assert struct.unpack(">I", data[16:20])[0] <= 1200, picture


def test_a_field_that_is_not_there_would_be_seen():
  with pytest.raises(UserError, match="guidence"):
    synthjax.config.image_set("T", guidence=4.0)
