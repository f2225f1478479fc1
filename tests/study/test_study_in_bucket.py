"""A whole study whose workdir is a bucket makes what it makes on a disk, and touches no path of this machine by mistake."""

import os
import sys

import pytest
from etils import epath

from synthjax import study
from synthjax.disk import bucket, mirrored
from synthjax.disk.bucket import BucketPath
from synthjax.products.learner import Learner
from synthjax.runtime import devices
from synthjax.runtime.errors import UserError
from synthjax.spec import config as fields_of
from synthjax.spec import validation
from synthjax.spec.command import Command
from tests.golden import made

URL = "s3://birds/study"
# Of other times, or of a session: their contents differ between any two runs. A bucket has no links for people.
DIFFER = (
  "/sessions/",
  "timing.json",
  "events.out",
  "/.checksums/",
  "/report/",
  "/checkpoints",
  "mirror.json",
  "/record.json",
)


def run(config, workdir, **kwargs) -> None:
  validation.check(config)
  study.run(Command(config, str(workdir), line="python -m synthjax.main ...", **kwargs))


@pytest.fixture
def config(digits):
  found = digits()
  found.learning.update(dict(model="resnet-mini", size=8, batch=20, steps=6))
  found.learners.own = fields_of.learner("LE")
  return found


@pytest.fixture
def touched(monkeypatch):
  """What was asked of this machine's file system under the name of the bucket."""
  found: list[tuple[str, object]] = []

  def note(event: str, args: tuple) -> None:
    if event == "open" or event.startswith(("os.", "shutil.")):
      found.extend((event, a) for a in args if isinstance(a, (str, os.PathLike)) and "s3:/" in str(a))

  def watched(name: str, real):
    def ask(path, *args, **kwargs):
      note(f"os.{name}", (path,))
      return real(path, *args, **kwargs)

    return ask

  for name in ("stat", "lstat", "statvfs"):  # which no hook hears of
    monkeypatch.setattr(os, name, watched(name, getattr(os, name)))
  is_watched = [True]
  sys.addaudithook(lambda event, args: note(event, args) if is_watched[0] else None)
  yield found
  is_watched[0] = False


def files(root) -> dict[str, bytes]:
  """By name below the workdir."""
  found = {}
  for place, _, names in root.walk():
    for path in (place / name for name in names):
      name = str(path.relative_to(root))
      if (isinstance(path, BucketPath) or not os.path.islink(path)) and not any(
        part in f"/{name}" for part in DIFFER
      ):
        found[name] = path.read_bytes()
  return found


def test_it_makes_what_it_makes_on_a_disk(config, in_memory, tmp_path, touched, capsys, monkeypatch):
  monkeypatch.setenv("SYNTHJAX_DATA", str(tmp_path / "cache"))
  run(config, URL)
  assert touched == []
  run(config, tmp_path / "w")
  there, here = files(in_memory), files(epath.Path(tmp_path / "w"))
  assert len(here) > 30 and there.keys() == here.keys()
  assert [name for name in here if here[name] != there[name]] == []
  capsys.readouterr()

  bucket.counts.clear()
  run(config, URL, plan=True)
  assert "nothing is missing" in capsys.readouterr().out
  assert bucket.counts["list"] == 1 and not bucket.counts["head"]
  run(config, URL, stages=("verify",))
  assert "nothing wrong" in capsys.readouterr().out
  config.export.images = "LE"
  with pytest.raises(UserError, match=r"config\.export\.out: .* name a folder of this machine"):
    run(config, URL, stages=("export",))
  config.export.out = str(tmp_path / "out")
  run(config, URL, stages=("export",))
  assert list((tmp_path / "out").rglob("*.tar")) and touched == []

  for name, found in bucket.below(in_memory).items():  # taken home
    (tmp_path / "home" / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "home" / name).write_bytes((in_memory / name).read_bytes() if found.size else b"")
  run(config, tmp_path / "home", plan=True)
  assert "nothing is missing" in capsys.readouterr().out


def test_a_workdir_of_every_kind_that_was_copied_from_a_disk_is_found_done(
  in_memory, tmp_path, monkeypatch, capsys, touched
):
  monkeypatch.setenv("SYNTHJAX_DATA", str(tmp_path / "cache"))
  made.unpack(tmp_path)
  monkeypatch.chdir(tmp_path)
  for path in (p for p in (tmp_path / made.ROOT).rglob("*") if p.is_file() and not p.is_symlink()):
    (in_memory / path.relative_to(tmp_path / made.ROOT)).write_bytes(path.read_bytes())
  monkeypatch.setattr(made, "ROOT", URL)
  bucket.counts.clear()
  assert made.run("--plan") == 0
  assert capsys.readouterr().out.splitlines()[-1] == "nothing is missing", made.unfinished()
  assert bucket.counts["list"] == 1
  assert touched == []


def test_joined_processes_are_refused_before_anything_is_made(config, in_memory, monkeypatch):
  monkeypatch.setattr(devices, "is_joined", lambda: True)
  with pytest.raises(UserError, match="joined processes write one checkpoint together"):
    mirrored.check(in_memory)
  designed = study.design(config, in_memory)
  learner = next(p for p in designed.products if isinstance(p, Learner))
  with pytest.raises(UserError, match="give a folder as --workdir"):
    learner.check_devices()
