"""A workdir that an older commit made is found done, and the same study makes the same products today."""

import os
import shutil

import pytest

from synthjax.study.kinds import KINDS, STAGES
from tests.golden import made

COMMAND = "python -m tests.golden.write workdir"
# How far what is rounded may be off: grey levels, and shares.
SLACK = {"means": dict(abs=1), "losses": dict(rel=2e-3), "norms": dict(rel=1e-2)}
NEVER_DONE = ("Benchmark", "Bookkeeping")  # they are measured anew whenever they are asked for
# Kinds that the archive is older than; their own tests hold that what they made is found done.
YOUNGER = ("AskedList", "CaptionedList", "MeaningsList", "MixedList", "Scaling", "SetMetrics")


@pytest.fixture
def unpacked(tmp_path, monkeypatch):
  made.unpack(tmp_path)
  monkeypatch.chdir(tmp_path)
  return tmp_path


def compare(was: list[str], now: list[str]) -> None:
  lines = [f"was {line}" for line in was if line not in now] + [
    f"is  {line}" for line in now if line not in was
  ]
  lines.sort(key=lambda line: line.split()[1:3])  # what was beside what is
  assert was == now, "\n".join(["", *lines[:40], f"if this is meant: {COMMAND}"])


def golden(*kinds: str) -> list[str]:
  lines = made.TOLD.read_text().splitlines()
  return [line for line in lines if not kinds or line.partition(" ")[0] in kinds]


def exact(lines: list[str]) -> list[str]:
  return [line for line in lines if line not in rounded(lines)]


def rounded(lines: list[str]) -> list[str]:
  """What differs in the last digits from processor to processor."""
  return [line for line in lines if line.partition(" ")[0] in SLACK]


def test_a_workdir_of_every_kind_of_product_is_found_done(unpacked, capsys):
  files = {path: path.lstat().st_mtime_ns for path in unpacked.rglob("*") if path.is_file()}
  code = made.run("--plan")
  said, refused = capsys.readouterr()
  assert code == 0, refused
  if said.splitlines()[-1] != "nothing is missing":
    pytest.fail("\n".join(["", *made.unfinished()]))
  compare(golden("product", "prompts", "kept", "rows"), made.told(with_images=False))
  assert made.export() == 0  # of what lies there already
  assert files == {path: path.lstat().st_mtime_ns for path in unpacked.rglob("*") if path.is_file()}


def test_every_stage_and_every_class_of_products_is_in_it(unpacked):
  products = made.designed().products
  missing = {kind.__name__ for kind in KINDS} - {type(p).__name__ for p in products} - {*NEVER_DONE, *YOUNGER}
  assert not missing, f"products that tests/golden/study.py does not ask for: {missing}"
  assert {*STAGES} - {p.stage for p in products} == {"benchmark", "measure"}


@pytest.mark.slow
def test_the_same_study_made_today_gives_the_same_products(unpacked):
  """But for its networks, whose training alone takes as long: they lie in the archive, as zeros."""
  shutil.move("w/learn/networks", "networks")
  shutil.rmtree(made.ROOT)
  os.makedirs("w/learn")
  shutil.move("networks", "w/learn/networks")
  assert made.run() == 0
  now = made.told(with_images=True)
  compare(exact(golden()), exact(now))
  for was, new in zip(rounded(golden()), rounded(now), strict=True):
    before, after = ([float(x) for x in line.split()[2:]] for line in (was, new))
    assert after == pytest.approx(before, **SLACK[was.partition(" ")[0]]), (
      f"was {was}\nis  {new}\nif this is meant: {COMMAND}"
    )
