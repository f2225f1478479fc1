"""What the dead left in a workdir goes, and nothing that the living hold or a user has put there."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from etils import epath
from ml_collections import ConfigDict

from synthjax.disk import drafts, workdir
from synthjax.runtime import processes
from synthjax.store import leftovers
from synthjax.store.claims import Owner

ANOTHER_MACHINE = "0" * 31


def in_another_process(code: str) -> str:
  """What a process that has ended says; nothing slow is imported."""
  return subprocess.run(
    [sys.executable, "-c", code], check=True, capture_output=True, text=True
  ).stdout.strip()


@pytest.fixture
def dead() -> str:
  return in_another_process("from synthjax.runtime import processes; print(processes.tag())")


@pytest.fixture
def root(tmp_path) -> epath.Path:
  return epath.Path(tmp_path)


def sweep(root: epath.Path) -> None:
  leftovers.sweep([root], ConfigDict(dict(heartbeat_seconds=0.1, stale_seconds=60)))


def make(root: epath.Path, name: str, is_folder: bool = False, age: float = 0.0) -> epath.Path:
  path = root / name
  path.parent.mkdir(parents=True, exist_ok=True)
  path.mkdir() if is_folder else path.write_text("half")
  os.utime(path, (time.time() - age,) * 2)
  return path


PLACES = (
  "prompts/LE",
  "images/LE",
  "images/LE/segments",
  "embeddings/LE/clip",
  "keep/LE/CF",
  "runs/0/groups",
)
PLACES += ("networks/vae", "generators", "weights", "report", "runs/0/seed-0", "exports", "benchmark")


@pytest.mark.parametrize("place", PLACES)
def test_what_the_dead_were_making_goes_at_once(root, dead, place):
  file, folder = make(root, f"{place}/.one.json.{dead}"), make(root, f"{place}/.whole.{dead}", is_folder=True)
  make(root, f"{place}/.whole.{dead}/file")
  sweep(root)
  assert not file.exists() and not folder.exists()


def test_what_the_living_make_stays_however_old_it_is(root):
  made = [
    drafts.draft_of(root / name) for name in ("prompts/LE/prompts.jsonl", "exports/LE", "results.jsonl")
  ]
  for draft in made:
    make(root, str(draft.relative_to(root)), is_folder=draft == made[1], age=1e6)
  sweep(root)
  assert all(draft.exists() for draft in made)


def test_of_another_machine_goes_what_was_not_touched_for_long(root):
  names = [
    (".a.json.", 61, False, True),
    (".b.json.", 1, False, False),
    (".c.", 61, True, False),
    (".d.", 4000, True, True),
  ]
  made = [
    (make(root, f"report/{n}{ANOTHER_MACHINE}{i}", folder, age), goes)
    for i, (n, age, folder, goes) in enumerate(names)
  ]
  sweep(root)
  assert [not path.exists() for path, _ in made] == [goes for _, goes in made]


def test_a_users_files_stay(root, dead):
  kept = [
    f".notes.{dead}",
    "thesis/.draft." + dead,
    "report/.notes",
    f"report/notes.{dead}",
    "images/LE/.x." + "g" * 32,
  ]
  kept += [f"exports/LE/.hidden.{dead}"]
  paths = [make(root, name, age=1e6) for name in kept]
  sweep(root)
  assert all(path.exists() for path in paths)


def test_the_root_holds_drafts_of_known_files_alone(root, dead):
  gone = [make(root, f".{name}.{dead}") for name in leftovers.ROOT_FILES]
  sweep(root)
  assert not any(path.exists() for path in gone)


OWN = "from synthjax.store.claims import Owner; from etils import epath; o = Owner(epath.Path({!r})); o._begin(); "
OWN += "o.take('run'); o.scratch('00001').write_text('half'); import os; os._exit(0)"


def test_the_claims_of_the_dead_on_a_finished_product_go(root):
  product = root / "runs/0123"
  product.mkdir(parents=True)
  in_another_process(OWN.format(str(product)))
  assert len(list((product / workdir.WORKING).iterdir())) == 3
  sweep(root)
  assert not (product / workdir.WORKING).exists()


def test_the_claims_of_the_living_stay(root):
  product = root / "images/LE"
  product.mkdir(parents=True)
  in_another_process(OWN.format(str(product)))
  with Owner(product) as owner:
    owner.take("00007")
    owner.scratch("00007").write_text("half")
    sweep(root)
    assert owner.holds("00007") and owner.scratch("00007").exists()
    assert not any("run" in path.name for path in (product / workdir.WORKING).iterdir())


@pytest.mark.parametrize("is_alive", [False, True])
def test_checkpoints_that_were_begun_go_with_who_wrote_them(root, is_alive):
  begun = make(root, "runs/0/seed-0/checkpoints/3.orbax-checkpoint-tmp-17", is_folder=True)
  whole = make(root, "runs/0/seed-0/checkpoints/2", is_folder=True)
  if is_alive:
    with Owner(root / "runs/0"):
      sweep(root)
  else:
    sweep(root)
  assert whole.exists() and begun.exists() == is_alive


def test_a_tag_tells_the_living_from_the_dead(dead):
  own = processes.tag()
  assert len(own) == len(dead) == 32 and own != processes.tag()
  assert processes.is_dead(own) is False and processes.is_dead(dead) is True
  assert processes.is_dead("0" * 32) is None


def test_a_process_that_nobody_has_asked_for_is_over():
  process = subprocess.Popen([sys.executable, "-c", "pass"])
  stat = Path(f"/proc/{process.pid}/stat")
  deadline = time.monotonic() + 30
  while stat.read_text().rsplit(")", 1)[1].split()[0] != "Z" and time.monotonic() < deadline:
    time.sleep(0.01)
  assert processes.start_of(process.pid) == ""
  process.wait()


def test_nothing_that_cannot_be_removed_ends_a_study(root, dead, monkeypatch):
  make(root, f"report/.one.json.{dead}")
  gone = make(root, f"weights/.two.json.{dead}")

  def refuse(path):
    if "report" in str(path):
      raise PermissionError(13, "Permission denied", str(path))
    path.unlink(missing_ok=True)

  monkeypatch.setattr(workdir, "remove", refuse)
  sweep(root)
  assert not gone.exists()
