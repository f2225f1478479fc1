import contextlib
import os
import subprocess

import pytest
from etils import epath

from synthjax.disk import drafts, workdir
from synthjax.runtime.errors import UserError


def test_publish_never_replaces(tmp_path):
  folder = epath.Path(tmp_path)
  assert workdir.publish_bytes(folder / "a", b"first")
  assert not workdir.publish_bytes(folder / "a", b"second")
  assert (folder / "a").read_bytes() == b"first"
  assert workdir.names(folder) == ["a"]  # nothing is left of the second


def test_replace_is_whole(tmp_path):
  folder = epath.Path(tmp_path)
  workdir.replace_bytes(folder / "a", b"first")
  workdir.replace_bytes(folder / "a", b"second")
  assert (folder / "a").read_bytes() == b"second" and workdir.names(folder) == ["a"]


def test_publish_without_hard_links(tmp_path, monkeypatch):
  def no_links(*_):
    raise OSError(95, "Operation not supported")

  monkeypatch.setattr(os, "link", no_links)
  folder = epath.Path(tmp_path)
  assert workdir.publish_bytes(folder / "a", b"first")
  assert not workdir.publish_bytes(folder / "a", b"second")
  assert (folder / "a").read_bytes() == b"first" and workdir.names(folder) == ["a"]


def test_only_one_creates(tmp_path):
  assert workdir.create_exclusive(epath.Path(tmp_path / "claim"), "me")
  assert not workdir.create_exclusive(epath.Path(tmp_path / "claim"), "you")
  assert (tmp_path / "claim").read_text() == "me"


def test_a_workdir_that_cannot_be_written_is_one_line(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(UserError, match=r"cannot be written: .*; give another --workdir"):
    workdir.open_workdir(str(tmp_path / "file" / "w"))
  with pytest.raises(UserError, match="file is a file; give a folder as --workdir"):
    workdir.open_workdir(str(tmp_path / "file"))
  with pytest.raises(UserError, match="begins with s3://, gs://, az://"):
    workdir.open_workdir("hdfs://host/w")


def test_a_read_only_workdir_is_one_line(tmp_path):
  """Root may write anywhere but on a read-only file system."""
  if subprocess.run(
    ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(tmp_path)], capture_output=True
  ).returncode:
    tmp_path.chmod(0o500)
    if os.access(tmp_path, os.W_OK):
      pytest.skip("cannot make a folder that this user may not write")
    with pytest.raises(UserError, match="cannot be written"):
      workdir.open_workdir(str(tmp_path / "w"))
    return
  try:
    with pytest.raises(UserError, match="cannot be written: Read-only file system"):
      workdir.open_workdir(str(tmp_path / "w"))
  finally:
    subprocess.run(["umount", str(tmp_path)], check=True)


def test_names_in_a_folder_with_brackets(tmp_path):
  folder = epath.Path(tmp_path / "runs[1]*")
  folder.mkdir()
  (folder / "a.json").write_text("")
  assert workdir.names(folder, "*.json") == ["a.json"] and workdir.names(folder / "none") == []


@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_death_while_a_folder_is_replaced_costs_neither_the_old_nor_the_new(
  tmp_path, monkeypatch, is_replaced
):
  """Killed between the old one's move aside and the new one's, or just after."""
  folder = epath.Path(tmp_path)
  old, new = folder / "dataset", drafts.draft_of(folder / "dataset")
  for place, text in ((old, "old"), (new, "new")):
    place.mkdir()
    (place / "words").write_text(text)
  monkeypatch.setattr(workdir.shutil, "rmtree", lambda *a, **k: None)
  if not is_replaced:
    rename, calls = os.rename, []

    def killed(made, final):
      calls.append(final)
      if len(calls) > 1:
        raise KeyboardInterrupt
      rename(made, final)

    monkeypatch.setattr(os, "rename", killed)
  with contextlib.nullcontext() if is_replaced else pytest.raises(KeyboardInterrupt):
    workdir.replace_folder(new, old)
  monkeypatch.undo()
  monkeypatch.setattr(drafts.processes, "is_dead", lambda tag: True)
  drafts.sweep_drafts(folder, 0.0)
  assert workdir.names(folder) == ["dataset"]
  assert (old / "words").read_text() == ("new" if is_replaced else "old")
