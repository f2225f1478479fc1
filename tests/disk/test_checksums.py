"""A changed byte is noticed, a file of an older release is not called damaged, and no race or death raises an alarm."""

import subprocess

import pytest
from etils import epath

from synthjax.disk import checksums, workdir
from synthjax.runtime.errors import UserError


def test_every_changed_cut_or_missing_file_is_noticed(tmp_path):
  file = tmp_path / "a.json"
  assert checksums.publish(file, b"[1, 2]") and not checksums.publish(file, b"[3]")
  assert checksums.read_json(file, "list") == [1, 2] and checksums.fault(file) == ""
  for damage in (b"[1, 3]", b"[1, 2", b""):
    file.write_bytes(damage)
    assert "damaged" in checksums.fault(file)
    with pytest.raises(UserError, match=r"list: .*a\.json is damaged.*remove it and run again"):
      checksums.read(file, "list")
  file.unlink()
  assert list(checksums.files(tmp_path)) == [file] and "missing" in checksums.fault(file)
  with pytest.raises(UserError, match="is missing"):
    checksums.read(file, "list")


def test_a_file_that_nobody_covered_was_made_before(tmp_path):
  file = tmp_path / "old.json"
  workdir.publish_bytes(file, b"[]")
  assert (
    checksums.read(file, "list") == b"[]" and not checksums.is_covered(file) and not checksums.fault(file)
  )


def test_the_checksum_comes_before_the_file_and_every_writer_keeps_its_own(tmp_path, monkeypatch):
  file = tmp_path / "a"
  monkeypatch.setattr(workdir, "replace_bytes", lambda *_: None)  # a death between the two
  checksums.replace(file, b"new")
  monkeypatch.undo()
  checksums.replace(file, b"other")  # another process, which then sees the first one's file arrive late
  workdir.replace_bytes(file, b"new")
  assert checksums.read(file, "file") == b"new"


def test_what_is_replaced_often_leaves_few_checksums(tmp_path):
  for i in range(30):
    checksums.replace(tmp_path / "a", str(i).encode())
  assert checksums.read(tmp_path / "a", "file") == b"29"
  assert len(workdir.names(tmp_path / checksums.FOLDER)) == 8
  checksums.forget(tmp_path / "a")
  assert not list(checksums.files(tmp_path))


def test_who_comes_second_leaves_no_checksum_on_anothers_file(tmp_path):
  file = tmp_path / "a"
  workdir.publish_bytes(file, b"an older release's")
  assert not checksums.publish(file, b"ours") and not checksums.fault(file)
  checksums.publish(other := tmp_path / "b", b"ours")
  other.write_bytes(b"damaged")
  assert not checksums.publish(other, b"ours") and "damaged" in checksums.fault(other)


def test_the_command_of_a_fault_removes_the_file_and_its_checksums(tmp_path):
  folder = tmp_path / "it's a set"
  folder.mkdir()
  for name in ("a.json", "b.json"):
    checksums.publish(folder / name, name.encode())
  subprocess.run(checksums.Fault("a.json is damaged", folder / "a.json").command, shell=True, check=True)
  assert list(checksums.files(folder)) == [folder / "b.json"]


def test_a_second_run_changes_no_time_of_what_is_there(tmp_path):
  checksums.replace(tmp_path / "a", b"same")
  before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
  checksums.replace(tmp_path / "a", b"same")
  assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_death_while_a_file_is_removed_leaves_nothing_that_is_missed(tmp_path, monkeypatch):
  file, remove = epath.Path(tmp_path) / "state.json", workdir.remove
  for deadly in (1, 2):
    checksums.replace(file, b"{}")
    seen = []

    def dies(path, deadly=deadly, seen=seen):
      seen.append(path)
      if len(seen) == deadly:
        raise KeyboardInterrupt
      remove(path)

    monkeypatch.setattr(workdir, "remove", dies)
    with pytest.raises(KeyboardInterrupt):
      checksums.forget(file)
    monkeypatch.setattr(workdir, "remove", remove)
    assert not any(map(checksums.fault, checksums.files(epath.Path(tmp_path))))
    checksums.forget(file)
  assert not file.exists() and not list((tmp_path / checksums.FOLDER).iterdir())


def test_checksums_of_files_that_nobody_makes_anew_go_with_them(tmp_path):
  folder = epath.Path(tmp_path)
  for name in ("1.json", "2.json", "notes.txt"):
    checksums.replace(folder / name, b"{}")
    (folder / name).unlink() if name != "2.json" else None
  checksums.uncover_missing(folder, "*.json")
  assert {name.rsplit(".", 1)[0] for name in workdir.names(folder / checksums.FOLDER)} == {
    "2.json",
    "notes.txt",
  }
