"""The house keeps its storeys: imports go down or stay, and no file outgrows its thought."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "synthjax"
STOREYS = [
  {"main"},
  {"study"},
  {"scheduler"},
  {"stages"},
  {
    "prompts",
    "generators",
    "encoders",
    "sampling",
    "store",
    "filters",
    "data",
    "tasks",
    "training",
    "evaluation",
    "scaling",
    "speed",
    "pages",
  },
  {
    "models",
    "weights",
    "labels",
    "embedded",
    "devices",
    "config",
    "fields",
    "validation",
    "documents",
    "checks",
    "checks_filters",
    "checks_adapter",
    "checks_learners",
    "checks_limits",
    "checks_networks",
    "command",
    "processes",
    "workdir",
    "residents",
    "records",
    "regular_files",
    "checksums",
    "corrections",
    "errors",
    "progress",
    "stopping",
  },
]


def storey(part: str) -> int:
  return next(i for i, parts in enumerate(STOREYS) if part in parts)


def imports(file: Path) -> set[str]:
  found = set()
  for node in ast.walk(ast.parse(file.read_text())):
    if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "synthjax":
      parts = node.module.split(".")
      found |= {parts[1]} if len(parts) > 1 else {a.name for a in node.names}
    elif isinstance(node, ast.Import):
      found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("synthjax.")}
  return found


def part_of(file: Path) -> str:
  return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_imports_never_go_up():
  up = [
    f"{file.relative_to(PACKAGE)} imports {other}"
    for file in PACKAGE.rglob("*.py")
    if file.name != "__init__.py"
    for other in imports(file)
    if storey(other) < storey(part_of(file))
  ]
  assert not up


def test_files_stay_readable():
  long = {
    str(f.relative_to(PACKAGE)): n
    for f in PACKAGE.rglob("*.py")
    if (n := len(f.read_text().splitlines())) > 400
  }
  assert not long
  assert len((PACKAGE / "main.py").read_text().splitlines()) <= 80
