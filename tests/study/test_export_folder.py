"""Where an export may go: nobody's files are lost to it, and a death leaves the older export or the new one."""

import json
import os
import shutil
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from synthjax.disk import workdir as disk
from synthjax.runtime.errors import UserError
from synthjax.study import export as stage
from tests.study.test_export import exported, files_of, made, run  # noqa: F401  a fixture

NOT_OURS = "holds something that is no export of ours; give another folder"


def text_of(folder: Path) -> dict[str, bytes]:
  return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def hidden(folder: Path) -> list[str]:
  return sorted(name for name in os.listdir(folder) if name.startswith("."))


def refused(made, out: Path, said: str, kind: str = "folder", **fields) -> None:  # noqa: F811
  """One line, and not a file is touched."""
  before = files_of(out.parent)
  with pytest.raises(UserError) as e:
    exported(made, out, kind, **fields)
  assert said in str(e.value) and "\n" not in str(e.value)
  assert files_of(out.parent) == before


@pytest.fixture
def grown(made, tmp_path_factory):  # noqa: F811
  """(config and workdir of a smaller quota, what makes them grow)."""
  config, workdir = made[0].copy_and_resolve_references(), tmp_path_factory.mktemp("growing") / "study"
  shutil.copytree(made[1], workdir)
  config.filters.CF.kept_per_class = 1
  run(config, workdir, stages=("prompts", "sample", "embed", "keep"))

  def grow() -> None:
    config.filters.CF.kept_per_class = 2
    run(config, workdir, stages=("prompts", "sample", "embed", "keep"))

  return (config, workdir), grow


def images(out: Path) -> int:
  return len((out / "metadata.jsonl").read_text().splitlines())


# --- somebody's files --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["thesis.tex", "export.json", ".git/HEAD"])
def test_a_folder_of_somebody_elses_is_left_alone(made, tmp_path, name):  # noqa: F811
  (tmp_path / "out" / name).parent.mkdir(parents=True)
  (tmp_path / "out" / name).write_text("{}")
  refused(made, tmp_path / "out", NOT_OURS)


def test_a_users_file_named_like_our_record_saves_what_lies_beside_it(made, tmp_path):  # noqa: F811
  (tmp_path / "out").mkdir()
  (tmp_path / "out/export.json").write_text(json.dumps({"format": "mp4", "n": 3}))
  (tmp_path / "out/thesis.tex").write_text("x")
  refused(made, tmp_path / "out", NOT_OURS)
  assert (tmp_path / "out/thesis.tex").read_text() == "x"


def test_a_file_is_no_folder(made, tmp_path):  # noqa: F811
  (tmp_path / "out").write_text("x")
  refused(made, tmp_path / "out", "is a file; give another folder")


@pytest.mark.parametrize(
  ("kind", "fields", "said"),
  [
    ("webdataset", {}, "whose format is another one ('folder', not 'webdataset')"),
    ("folder", dict(images="LE"), "whose images is another one ('LE/CF', not 'LE')"),
    ("folder", dict(licence="cc0"), "whose licence is another one ('cc-by-4.0', not 'cc0')"),
  ],
)
def test_another_export_is_left_alone(made, tmp_path, kind, fields, said):  # noqa: F811
  exported(made, tmp_path / "out", "folder")
  refused(made, tmp_path / "out", said, kind, **fields)


def test_the_export_of_another_filter_of_the_same_name_is_left_alone(made, grown, tmp_path):  # noqa: F811
  (config, workdir), _ = grown
  out = exported((config, workdir), tmp_path / "out", "folder")
  shutil.rmtree(workdir / "keep")
  config.filters.CF.threshold = 0.05
  run(config, workdir, stages=("prompts", "sample", "embed", "keep"))
  refused((config, workdir), out, "whose keep is another one;")


@pytest.mark.parametrize("change", ["added", "edited", "in a class"])
def test_an_older_export_is_kept_where_somebody_worked_in_it(grown, tmp_path, change):
  study, grow = grown
  out = exported(study, tmp_path / "out", "folder")
  names = {"added": "notes.txt", "edited": "README.md", "in a class": "3/mine.jpg"}
  with (out / names[change]).open("ab") as file:
    file.write(b"mine")
  grow()
  refused(study, out, "holds an older export, and files may have been added or changed since")


def test_a_missing_file_of_an_export_is_said(made, tmp_path, capsys):  # noqa: F811
  out = exported(made, tmp_path / "out", "folder")
  exported(made, out, "folder")
  assert "note:" not in capsys.readouterr().err
  next(out.glob("*/*.jpg")).unlink()
  exported(made, out, "folder")
  assert "were added, changed or removed since it was exported" in capsys.readouterr().err


# --- our own -------------------------------------------------------------------------------------------


def test_an_export_follows_its_set(grown, tmp_path):
  study, grow = grown
  out = exported(study, tmp_path / "out", "folder")
  assert images(out) == 10
  grow()
  exported(study, out, "folder")
  assert images(out) == 20 and len(list(out.glob("*/*.jpg"))) == 20
  assert hidden(tmp_path) == []


def test_an_older_releases_export_is_found_done_and_not_replaced(grown, tmp_path):
  """It wrote neither the filter's identity nor what the folder holds."""
  study, grow = grown
  out = exported(study, tmp_path / "out", "folder")
  record = json.loads((out / "export.json").read_text())
  del record["keep"], record["files"]
  (out / "export.json").write_text(json.dumps(record))
  before = files_of(out)
  exported(study, out, "folder")
  assert files_of(out) == before
  grow()
  refused(study, out, "holds an older export, and files may have been added or changed since")


def test_an_empty_folder_is_filled(made, tmp_path):  # noqa: F811
  (tmp_path / "out").mkdir()
  assert images(exported(made, tmp_path / "out", "folder")) == 20


# --- interrupted ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["writing", "moving in"])
def test_an_interrupted_export_leaves_the_older_one(grown, tmp_path, monkeypatch, where):
  study, grow = grown
  out = exported(study, tmp_path / "out", "folder")
  before = text_of(out)
  grow()

  def interrupted(*_):
    raise KeyboardInterrupt

  def moved(source, target, rename=os.rename):
    if str(target) == str(out) and (Path(source) / "metadata.jsonl").read_bytes() != before["metadata.jsonl"]:
      raise KeyboardInterrupt
    rename(source, target)

  with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
    if where == "writing":
      patch.setitem(stage._WRITERS, "folder", interrupted)
    else:
      patch.setattr(disk.os, "rename", moved)
    exported(study, out, "folder")
  assert text_of(out) == before and hidden(tmp_path) == []
  exported(study, out, "folder")
  assert images(out) == 20


def test_no_half_export_bears_the_name(grown, tmp_path, monkeypatch):
  """Before and after every rename and every removal the folder is whole or absent, and one of the two is there."""
  study, grow = grown
  out = exported(study, tmp_path / "out", "folder")
  grow()
  seen = []

  def look() -> None:
    files = {p.name: len(list(p.rglob("*.jpg"))) + len(list(p.glob("*.json*"))) for p in tmp_path.iterdir()}
    seen.append((files.get("out"), max(files.values())))

  def watched(function):
    def call(*args, **kwargs):
      look()
      found = function(*args, **kwargs)
      look()
      return found

    return call

  for name in ("rename", "rmdir", "unlink", "replace"):
    monkeypatch.setattr(os, name, watched(getattr(os, name)))
  exported(study, out, "folder")
  older, newer = 10 + 2, 20 + 2  # images, metadata and record
  assert len(seen) > 4 and {name for name, _ in seen} <= {older, None, newer}
  assert min(most for _, most in seen) >= older


def test_drafts_of_the_dead_go_and_others_stay(made, tmp_path):  # noqa: F811
  dead, alive, other, file = (
    tmp_path / f".{name}" for name in ("out." + "a" * 32, "out." + "b" * 32, "notes", "out." + "c" * 32)
  )
  for folder in (dead, alive, other):
    (folder / "train").mkdir(parents=True)
    (folder / "train/0.tar").write_text("half")
  file.write_text("x")
  old = time.time() - 7200
  for path in (*dead.rglob("*"), dead, *other.rglob("*"), other, file):
    os.utime(path, (old, old))
  exported(made, tmp_path / "out", "folder")
  assert hidden(tmp_path) == sorted(p.name for p in (alive, other, file))


def test_of_two_at_once_the_first_ones_stays(made, tmp_path, monkeypatch):  # noqa: F811
  out, before = tmp_path / "out", {}
  write = stage._WRITERS["folder"]

  def slow(*args):
    monkeypatch.setitem(stage._WRITERS, "folder", write)
    exported(made, out, "folder")
    before.update(files_of(out))
    write(*args)

  monkeypatch.setitem(stage._WRITERS, "folder", slow)
  exported(made, out, "folder")
  assert before and files_of(out) == before and hidden(tmp_path) == []


@pytest.mark.parametrize("is_there", [False, True])
def test_three_at_once_end_well_and_leave_one_export(grown, tmp_path, monkeypatch, is_there):
  """All three put theirs in place in the same moment, where nothing lies or an older export does."""
  (study, grow), out, write = grown, tmp_path / "out", stage._WRITERS["folder"]
  if is_there:
    exported(study, out, "folder")
  grow()
  all_written, rename = threading.Barrier(3), os.rename

  def writes(*args):
    write(*args)
    all_written.wait(60)

  def renames(old, new):
    found = rename(old, new)
    if str(old) == str(out):  # moved aside: nothing lies there, and the others come
      time.sleep(0.2)
    return found

  monkeypatch.setitem(stage._WRITERS, "folder", writes)
  monkeypatch.setattr(os, "rename", renames)
  monkeypatch.setattr(signal, "signal", lambda *_: None)  # threads stand for processes
  with ThreadPoolExecutor(3) as pool:
    ends = [pool.submit(exported, study, out, "folder") for _ in range(3)]
  assert [end.result() for end in ends] == [out] * 3
  assert images(out) == 20 and hidden(tmp_path) == []
  assert exported(study, out, "folder") == out


# --- links and workdirs --------------------------------------------------------------------------------


def test_a_link_leads_to_the_folder_that_is_looked_at(made, tmp_path):  # noqa: F811
  (tmp_path / "real").mkdir()
  (tmp_path / "out").symlink_to(tmp_path / "real")
  exported(made, tmp_path / "out", "folder")
  assert (tmp_path / "out").is_symlink() and images(tmp_path / "real") == 20
  exported(made, tmp_path / "out", "folder")
  (tmp_path / "theirs").mkdir()
  (tmp_path / "theirs/thesis.tex").write_text("x")
  (tmp_path / "link").symlink_to(tmp_path / "theirs")
  refused(made, tmp_path / "link", NOT_OURS)
  (tmp_path / "nowhere").symlink_to(tmp_path / "new")
  exported(made, tmp_path / "nowhere", "folder")
  assert (tmp_path / "nowhere").is_symlink() and images(tmp_path / "new") == 20
  (tmp_path / "loop").symlink_to(tmp_path / "loop")
  refused(made, tmp_path / "loop", "cannot be followed")


def test_what_a_link_inside_leads_to_is_not_ours(grown, tmp_path):
  study, grow = grown
  out = exported(study, tmp_path / "out", "folder")
  (tmp_path / "theirs").mkdir()
  (tmp_path / "theirs/thesis.tex").write_text("x")
  (out / "link").symlink_to(tmp_path / "theirs")
  grow()
  refused(study, out, "files may have been added")
  assert (tmp_path / "theirs/thesis.tex").exists()


@pytest.mark.parametrize(
  ("where", "said"),
  [
    (".", NOT_OURS),
    ("images/LE", NOT_OURS),
    ("images/new", "is among the products of the workdir; give a folder outside of it"),
    ("images/LE/new", "is among the products of the workdir"),
    ("exports", "is among the products of the workdir"),
    ("..", NOT_OURS),
  ],
)
def test_the_products_of_a_study_are_no_place_for_exports(made, where, said):  # noqa: F811
  workdir = made[1]
  before = files_of(workdir)
  with pytest.raises(UserError) as e:
    exported(made, workdir / where, "folder")
  assert said in str(e.value) and "\n" not in str(e.value) and files_of(workdir) == before


def test_the_exports_of_a_study_are(made, capsys):  # noqa: F811
  for out in ("", made[1] / "exports/other"):
    exported(made, out, "folder")
    assert images(made[1] / ("exports/other" if out else "exports/LE-CF-folder")) == 20
  assert "exports/other" in capsys.readouterr().out


def test_a_folder_that_cannot_be_made_is_one_line(made, tmp_path):  # noqa: F811
  (tmp_path / "file").write_text("x")
  refused(made, tmp_path / "file/out", "cannot be made: Not a directory; give another folder")
  with pytest.raises(UserError, match="object stores are not supported yet"):
    exported(made, "gs://bucket/out", "folder")
