"""Each probe of a folder: what it says of a healthy one, and what of one that lies, lags or is full."""

import errno
import os
import time
from pathlib import Path

import pytest
from etils import epath

from synthjax.disk import workdir
from synthjax.doctor import finding, folder, second


@pytest.fixture
def place(tmp_path) -> epath.Path:
  return epath.Path(tmp_path)


def test_one_process_wins_each_name_of_a_healthy_folder(place):
  found = folder.exclusive_creation(place)
  assert not found.fix and "50 names, 2 processes: one winner each" in found.figure
  assert len(workdir.names(place, "race-*")) == second.NAMES


def test_a_file_system_that_ignores_exclusive_creation_is_found(place):
  def replaces(path: epath.Path, text: str) -> bool:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o644))  # as if O_EXCL were not there
    return True

  found = folder.exclusive_creation(place, replaces)
  assert found.fails and "a file that was there was created once more" in found.figure
  assert "honours O_EXCL" in found.fix


def test_two_winners_of_a_race_are_found_and_names_that_nobody_won(place):
  """Of a file system that is right for files of long ago, and wrong in the same moment."""

  def racy(path: epath.Path, text: str) -> bool:
    if path.name == "taken":
      return workdir.create_exclusive(path, text)
    return int(path.name.removeprefix("race-")) >= 5

  found = folder.exclusive_creation(place, racy)
  assert found.fails and "created once more" not in found.figure
  assert "45 had two winners and 0 none" in found.figure  # the other process won each
  (place / "later").mkdir()
  found = folder.exclusive_creation(place / "later", lambda path, text: False)
  assert not found.fix  # the other won all
  (place / "fails").mkdir()
  for number in range(3):
    (place / "fails" / f"race-{number}").touch()
  found = folder.exclusive_creation(place / "fails", lambda path, text: False)
  assert found.fails and "0 had two winners and 3 none" in found.figure


def test_listings_that_lag_are_measured(place, monkeypatch):
  assert not folder.listings(place).fix
  names, first = workdir.names, {}

  def cached(path, pattern="*"):
    """Shows a name 1.2 s after it first could."""
    now = time.monotonic()
    return [n for n in names(path, pattern) if now - first.setdefault((path, n), now) > 1.2]

  (place / "lags").mkdir()
  monkeypatch.setattr(workdir, "names", cached)
  monkeypatch.setattr(folder, "_LISTED", 1)
  found = folder.listings(place / "lags")
  assert found.fix and not found.fails and "actimeo" in found.fix
  assert 1.2 <= float(found.figure.split("after ")[1].split(" s ")[0]) < 5
  monkeypatch.setattr(folder, "_LIMIT", 0.3)
  (place / "blind").mkdir()
  found = folder.listings(place / "blind")
  assert found.fails and "not seen by another process for 0.3 s" in found.figure


def test_the_clocks_are_compared(place, monkeypatch):
  assert not folder.clock(place).fix
  monkeypatch.setattr(workdir, "now", lambda _: time.time() + 100)
  found = folder.clock(place)
  assert not found.fails and "NTP" in found.fix and "100.00 s ahead of" in found.figure
  monkeypatch.setattr(workdir, "now", lambda _: time.time() - 100)
  assert "100.00 s behind" in folder.clock(place).figure


def test_room_and_inodes(place, monkeypatch):
  assert "inodes" in folder.room(place).figure
  real = os.statvfs(place)
  fields = list(real)
  fields[5:9] = 10**6, 10**6, 5000, 5000  # f_files, f_ffree, f_favail of a disk with few inodes
  monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result(fields))
  found = folder.room(place)
  assert "inodes" in found.fix and not found.fails


def test_what_is_measured_is_removed_even_where_the_disk_is_full(place, monkeypatch):
  assert not folder.rates(place).essential and not folder.publications(place).essential
  for file in place.iterdir():
    assert file.name.startswith("small-")
  monkeypatch.setattr(
    os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device"))
  )
  found = finding.probed("rate", lambda: folder.rates(place))
  assert found.fails and "No space left" in found.figure and "free some room" in found.fix
  assert not (place / "rate").exists()


def test_a_fault_in_the_second_process_is_a_finding(place):
  found = finding.probed("listings", lambda: folder.listings(place / "gone"))
  assert found.fails and "No such file" in found.figure and "\n" not in found.line()


def test_a_second_process_that_dies_is_a_finding(place, monkeypatch):
  monkeypatch.setattr(second.sys, "executable", "/bin/false")
  found = finding.probed("listings", lambda: folder.listings(place))
  assert found.fails and "ended with exit code 1" in found.figure
  assert Path("/bin/false").exists()
