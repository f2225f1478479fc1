"""The house keeps its floors: imports go down, or one way along a floor; nothing goes in a circle; no file outgrows its thought."""

import ast
import graphlib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "synthjax"
FLOORS = [  # from the top
  {"__main__"},
  {"main", "config"},
  {"cli", "benchmark", "doctor", "study"},
  {"products", "pages"},
  {"prompts", "filters", "sampling", "learning", "evaluation", "scaling"},
  {"data", "encoders", "generators", "language"},
  {"spec", "store"},
  {"models", "weights", "labels", "small_world"},
  {"disk"},
  {"runtime"},
]
FILES = {
  ".".join(file.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): file
  for file in PACKAGE.rglob("*.py")
}


def room(module: str) -> str:
  return module.partition(".")[0]


def floor(module: str) -> int:
  return next(i for i, rooms in enumerate(FLOORS) if room(module) in rooms)


def imports(file: Path) -> set[str]:
  """Modules of the package, wherever in the file they are imported."""
  found = set()
  for node in ast.walk(ast.parse(file.read_text())):
    if isinstance(node, ast.ImportFrom) and node.module and room(node.module) == "synthjax":
      base = node.module.removeprefix("synthjax").lstrip(".")
      inside = {name for alias in node.names if (name := f"{base}.{alias.name}".lstrip(".")) in FILES}
      found |= inside or {base}
    elif isinstance(node, ast.Import):
      found |= {a.name.removeprefix("synthjax.") for a in node.names if a.name.startswith("synthjax.")}
  return found


@pytest.fixture(scope="module")
def graph() -> dict[str, set[str]]:
  """What each file imports. `__init__` stands for its room's surface: of it, only what others ask for counts."""
  return {module: imports(file) - {module} for module, file in FILES.items() if module != "__init__"}


def test_imports_never_go_up(graph):
  up = [f"{a} imports {b}" for a, others in graph.items() for b in others if floor(b) < floor(a)]
  assert not up


def test_no_circle_exists_between_files_or_rooms(graph):
  rooms: dict[str, set[str]] = {}
  for module, others in graph.items():
    rooms.setdefault(room(module), set()).update({room(other) for other in others} - {room(module)})
  for edges in (graph, rooms):
    list(graphlib.TopologicalSorter(edges).static_order())  # raises CycleError, with the circle


def test_the_house_stays_a_house(graph):
  """At most 25 rooms, each with a line that says what it is for."""
  rooms = {room(module) for module in graph} - {"__main__", "main", "config"}
  assert len(rooms) <= 25 and rooms <= set().union(*FLOORS)
  assert [r for r in sorted(rooms) if not ast.get_docstring(ast.parse(FILES[r].read_text()))] == []


def test_no_room_outgrows_the_others():
  lines: dict[str, int] = {}
  for module, file in FILES.items():
    lines[room(module)] = lines.get(room(module), 0) + len(file.read_text().splitlines())
  share = {name: n / sum(lines.values()) for name, n in lines.items()}
  assert {name: round(s, 3) for name, s in share.items() if s >= 0.12} == {}


def test_files_stay_readable():
  long = {
    str(f.relative_to(PACKAGE)): n
    for f in PACKAGE.rglob("*.py")
    if (n := len(f.read_text().splitlines())) > 400
  }
  assert not long
  assert len((PACKAGE / "main.py").read_text().splitlines()) <= 60
